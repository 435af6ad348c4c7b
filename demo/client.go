package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// answer is one line from the target, with the time its last byte arrived.
type answer struct {
	text string
	at   time.Time
}

// client is one running ssh.
type client struct {
	cmd     *exec.Cmd
	stdin   io.Writer
	answers chan answer
	stderr  tail          // read only after done
	done    chan struct{} // closed once ssh and what it started have ended
}

// startClient runs ssh to alias. It and its ProxyCommand are killed when ctx
// ends; wait for done before dir goes.
//
// It runs inside dir and names the config relative to it, since ssh hands a
// -F PATH on to the ssh it starts for ProxyJump without quotes (ssh.c, 10.5).
func startClient(ctx context.Context, ssh, dir, alias string) (*client, error) {
	c := &client{answers: make(chan answer, 8), done: make(chan struct{})}
	c.cmd = exec.CommandContext(ctx, ssh, "-T", "-F", configFile, alias, "repeat-lines")
	c.cmd.Args[0] = argv0(ssh)
	c.cmd.Dir, c.cmd.Env = dir, environ(ssh, dir)
	c.cmd.Stdout, c.cmd.Stderr = &lineWriter{to: c.answers}, &c.stderr
	// ssh's ProxyCommand holds our end of stderr, so that Wait returns when
	// it has ended too; a descendant that escaped the kill is not waited for.
	c.cmd.WaitDelay = time.Second
	killGroup(c.cmd)
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ended by ssh, which ctx kills; the owner waits for done
		_ = c.cmd.Wait() // the state tells more, and ours is to kill it
		close(c.done)
	}()
	return c, nil
}

// state says how ssh ended. Only after done.
func (c *client) state() string { return c.cmd.ProcessState.String() }

// argv0 is the name ssh runs itself by for ProxyJump, again without quotes:
// where the path would not survive a shell, let it look in PATH.
func argv0(ssh string) string {
	if strings.ContainsAny(ssh, " \t'\"$&;()<>|*?`") {
		return "ssh"
	}
	return ssh
}

// environ is ours, less the user's agent and shell (a csh reads quotes its own
// way; ssh falls back to /bin/sh), and with ssh-stay's state inside dir.
func environ(ssh, dir string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "SSH_AUTH_SOCK=") || strings.HasPrefix(kv, "SHELL=")
	})
	return append(env,
		"PATH="+filepath.Dir(ssh)+string(os.PathListSeparator)+os.Getenv("PATH"),
		"XDG_STATE_HOME="+dir, "XDG_RUNTIME_DIR="+dir, "XDG_CACHE_HOME="+dir)
}

var errTooMuch = errors.New("more output than asked for")

// lineWriter stamps each line and passes it on. It never blocks, so that ssh's
// end is never missed: a target that says more than asked is an error.
type lineWriter struct {
	to   chan<- answer
	part []byte // of a line
}

func (w *lineWriter) Write(p []byte) (int, error) {
	at := time.Now()
	w.part = append(w.part, p...)
	for {
		line, rest, ok := bytes.Cut(w.part, []byte("\n"))
		if !ok {
			break
		}
		select {
		case w.to <- answer{strings.TrimSuffix(string(line), "\r"), at}:
		default:
			return 0, errTooMuch
		}
		w.part = rest
	}
	if len(w.part) > 4<<10 {
		return 0, errTooMuch
	}
	return len(p), nil
}

// tail keeps the last 4 KiB written to it.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - 4<<10; over > 0 {
		t.buf = slices.Delete(t.buf, 0, over)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.buf) }
