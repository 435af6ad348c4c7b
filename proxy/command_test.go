//go:build linux

package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"ssh-stay/internal/sshtest"
)

// dialCommand dials by a command; its host and port are of no interest.
func dialCommand(t *testing.T, background bool, stderr *os.File, argv ...string) (net.Conn, error) {
	t.Helper()
	d := &CommandDialer{Name: argv[0], Stderr: stderr, Log: discard,
		Prepare:    func(string, int, bool) (*exec.Cmd, error) { return exec.Command(argv[0], argv[1:]...), nil },
		Background: func() bool { return background }}
	c, err := d.Dial(t.Context(), "host", 22)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// TestCommandDenied: what ssh says is told apart by its words, those of the ssh
// that is there.
func TestCommandDenied(t *testing.T) {
	rig := sshtest.For(t)
	client := rig.Client()
	target := rig.Host(client, "good")
	bad, once := rig.Sshd(sshtest.SshdConfig{}), rig.Sshd(sshtest.SshdConfig{Lines: []string{"MaxAuthTries 1"}})
	for alias, s := range map[string]*sshtest.Sshd{"bad": bad, "once": once} {
		if err := client.AddHost(alias, s); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.Dir, "authorized_keys"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stderr, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args   []string
		said   string
		denied bool
	}{
		"key":      {[]string{"bad"}, "Permission denied (publickey", true},
		"failures": {[]string{"once"}, "Too many authentication failures", true},
		"new host": {[]string{"-oHostKeyAlias=new", "good"}, "Host key verification failed.", true},
		"refused":  {[]string{"-p", "1", "good"}, "Connection refused", false},
		"no host":  {[]string{"-oHostName=.invalid.", "good"}, "resolve hostname", false},
		"no file":  {[]string{"-oProxyCommand=sh -c 'echo known: Permission denied >&2'", "good"}, "Permission denied", false},
	} {
		argv := append([]string{"ssh", "-F", client.Config, "-W", target.HostPort()}, tc.args...)
		c, err := dialCommand(t, true, stderr, argv...)
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		failed := (*CommandError)(nil)
		if !errors.As(err, &failed) || failed.Denied() != tc.denied || !strings.Contains(failed.Error(), tc.said) {
			t.Errorf("%s: got %v, want %q, denied %v", name, err, tc.said, tc.denied)
		}
	}
	if shown, _ := os.ReadFile(stderr.Name()); len(shown) > 0 {
		t.Errorf("got %q on stderr, want nothing", shown)
	}
}

// TestCommandSpeech: the user sees what a command says until its host has said
// something, on a terminal if it is one, and nothing of one in the background.
func TestCommandSpeech(t *testing.T) {
	const script = `test -t 2 && echo touch >&2; echo one >&2; read x; echo banner; read x
		i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo later >&2; done; echo last >&2; exit 3`
	for _, terminal := range []bool{true, false} {
		for _, background := range []bool{true, false} {
			master, screen, err := os.Pipe()
			if terminal {
				master, screen, err = pty.Open()
			}
			if err != nil {
				t.Fatal(err)
			}
			c, err := dialCommand(t, background, screen, "sh", "-c", script)
			if err != nil {
				t.Fatal(err)
			}
			want := "one\n"
			switch {
			case background:
				want = ""
			case terminal:
				want = "touch\r\none\r\n"
			}
			shown := ""
			for buf := make([]byte, 64); want != "" && err == nil && !strings.HasSuffix(shown, "one\r\n") && !strings.HasSuffix(shown, "one\n"); {
				var n int
				n, err = master.Read(buf)
				shown += string(buf[:n])
			}
			fmt.Fprintln(c, "go on")
			io.ReadFull(c, make([]byte, len("banner\n")))
			fmt.Fprintln(c, "go on")
			io.Copy(io.Discard, c)
			c.Close()
			said := c.(*command).said.text()
			screen.Close()
			rest, _ := io.ReadAll(master)
			master.Close()
			if got := shown + string(rest); got != want {
				t.Errorf("terminal %v, background %v: got %q shown, want %q", terminal, background, got, want)
			}
			if len(said) > maxSpeech || !strings.HasSuffix(said, "later\nlast") {
				t.Errorf("terminal %v, background %v: got %q kept, want the end of it", terminal, background, said)
			}
		}
	}
}

// TestCommandSession: a command in the background has no terminal, and nothing
// that it started outlives it.
func TestCommandSession(t *testing.T) {
	for _, last := range []string{"wait", "exit"} {
		c, err := dialCommand(t, true, nil, "sh", "-c",
			`trap '' HUP; sleep 1000 & echo $! $(cut -d' ' -f6,7 /proc/self/stat) $$; `+last)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64)
		n, err := c.Read(buf)
		var child, session, tty, pid int
		if _, bad := fmt.Fscan(bytes.NewReader(buf[:n]), &child, &session, &tty, &pid); err != nil || bad != nil {
			t.Fatalf("got %q, %v, %v", buf[:n], err, bad)
		}
		if session != pid || tty != 0 {
			t.Errorf("got session %d with terminal %d, want one of its own, %d, and none", session, tty, pid)
		}
		c.Close()
		for _, p := range []int{pid, child} {
			if err := sshtest.WaitGone(p, 2*time.Second); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestCommandIgnored: a user who is asked in the background has time beyond the
// budget, and one who does not answer is told from a dead network.
func TestCommandIgnored(t *testing.T) {
	const budget = 500 * time.Millisecond
	d := &CommandDialer{Name: "asking", Log: discard, Background: func() bool { return true }, Patience: time.Second,
		Prepare: func(string, int, bool) (*exec.Cmd, error) { return exec.Command("sleep", "1000"), nil }}
	ctx, cancel := withBudget(t.Context(), budget)
	defer cancel()
	c, err := d.Dial(ctx, "host", 22)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pid := c.(*command).cmd.Process.Pid
	_, err = c.Read(make([]byte, 1))
	failed := (*CommandError)(nil)
	if !errors.As(err, &failed) || !errors.Is(err, ErrIgnored) {
		t.Errorf("got %v, want it ignored", err)
	}
	if err := sshtest.WaitGone(pid, time.Second); err != nil {
		t.Error(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
		t.Error("the budget stands still for ever")
	}

	d.Prepare = func(string, int, bool) (*exec.Cmd, error) {
		return exec.Command("sh", "-c", "sleep 0.8; echo hi; cat"), nil
	}
	d.Patience = 10 * time.Second
	ctx, cancel = withBudget(t.Context(), budget)
	defer cancel()
	if c, err = d.Dial(ctx, "host", 22); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err != nil || ctx.Err() != nil {
		t.Errorf("got %v, and the budget's %v, want an answer within it", err, ctx.Err())
	}
}
