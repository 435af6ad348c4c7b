package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// commandGrace is how long a ProxyCommand may take to end by itself.
const commandGrace = 500 * time.Millisecond

// CommandDialer dials by a command that connects its stdin and stdout with a
// host and port. All fields but the last three are needed.
type CommandDialer struct {
	Name string // for messages
	// Prepare makes the command. background is as of now what Background says.
	Prepare func(host string, port int, background bool) (*exec.Cmd, error)
	Stderr  *os.File // the command's; under Background until its host has said something

	// Background says that nobody waits for a connection: the user is at
	// something else, perhaps on this terminal. Then a command gets no terminal,
	// and what it says is logged. nil means that there will be no background.
	Background func() bool
	// Patience is how long a command that was started in the background may ask
	// its user, by means of its own, until its host says something. It is not
	// taken from the budget. 0: it asks nothing.
	Patience time.Duration
	Log      *slog.Logger // of what was said in the background; needed with that
}

// ErrIgnored says that a command was not answered within Patience.
var ErrIgnored = errors.New("not answered in time")

// Dial is a DialFunc. Its errors, and those of the connection's Read before the
// host has said anything, are *CommandError.
func (d *CommandDialer) Dial(ctx context.Context, host string, port int) (net.Conn, error) {
	background := d.Background != nil && d.Background()
	cmd, err := d.Prepare(host, port, background)
	if err != nil {
		return nil, err
	}
	c := &command{name: d.Name, cmd: cmd, alone: background, log: d.Log}
	switch {
	case background:
		leaveTerminal(cmd)
		c.said, err = listen(cmd, nil)
	case d.Background != nil:
		c.said, err = listen(cmd, d.Stderr)
	default:
		cmd.Stderr = d.Stderr
	}
	if err == nil {
		err = c.start()
	}
	if err != nil {
		return nil, &CommandError{Command: d.Name, Err: err}
	}
	if background && d.Patience > 0 {
		c.await(Pause(ctx), d.Patience)
	}
	return c, nil
}

// command is a running command as a net.Conn. Close ends the process and waits.
type command struct {
	name    string
	cmd     *exec.Cmd
	in, out *os.File // our ends of its stdin and stdout
	got     bool     // a byte came from it; of the reading goroutine alone
	alone   bool     // it leads a session of its own
	said    *speech  // nil: its stderr is none of ours
	log     *slog.Logger

	answered func()      // nil: it asks nothing
	ignored  atomic.Bool // nobody answered

	close sync.Once
	wait  sync.Once
	err   error // what Wait returned
}

// CommandError says that a command did not start, or ended before its host said
// anything.
type CommandError struct {
	Command string
	Err     error
	Said    string // the end of what it wrote to stderr that nobody saw; not fit for a terminal
}

func (e *CommandError) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("%s: %v", e.Command, e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", e.Command, e.Err, e.Said)
}
func (e *CommandError) Unwrap() error { return e.Err }

// Denied says that an ssh was refused, or refused a host, and would be again:
// only of a command that was started in the background. Ssh has one exit status
// for all that can go wrong, so its words must do: they are those of 6.6 to 10.3.
// The bracket, before the methods left, tells them from "Permission denied" for
// a file or a route.
func (e *CommandError) Denied() bool {
	for _, words := range []string{"Permission denied (", "Host key verification failed", "Too many authentication failures"} {
		if strings.Contains(e.Said, words) {
			return true
		}
	}
	return false
}

// start starts the process; if it cannot, all files are closed.
func (c *command) start() error {
	defer c.said.started()
	childIn, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer childIn.Close()
	out, childOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return err
	}
	defer childOut.Close()
	c.in, c.out = in, out
	c.cmd.Stdin, c.cmd.Stdout = childIn, childOut
	if err := c.cmd.Start(); err != nil {
		in.Close()
		out.Close()
		return err
	}
	return nil
}

// await ends a command that has connected to nothing after d, and resumes the
// budget before.
func (c *command) await(resume func(), d time.Duration) {
	timer := time.AfterFunc(d, func() {
		c.ignored.Store(true)
		c.end(true)
	})
	c.answered = sync.OnceFunc(func() {
		timer.Stop()
		resume()
	})
}

// ShellCommand runs a line as ssh runs a ProxyCommand: by $SHELL, which it
// replaces. The names in it must have been checked.
func ShellCommand(line string) *exec.Cmd {
	if runtime.GOOS == "windows" {
		return exec.Command(cmp.Or(os.Getenv("ComSpec"), "cmd.exe"), "/c", line)
	}
	return exec.Command(cmp.Or(os.Getenv("SHELL"), "/bin/sh"), "-c", "exec "+line)
}

// Read tells a command that failed before a byte came from a host that has
// nothing to say.
func (c *command) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	if n > 0 && !c.got {
		c.got = true
		c.said.hush()
		c.settle()
	}
	if errors.Is(err, io.EOF) && !c.got {
		failed := c.end(false)
		if c.ignored.Load() {
			failed = ErrIgnored
		}
		if failed != nil {
			return 0, &CommandError{c.name, failed, c.said.text()}
		}
	}
	return n, err
}

// settle says that nobody is asked any more.
func (c *command) settle() {
	if c.answered != nil {
		c.answered()
	}
}

// end waits for the process, which has closed its stdout or is asked to end, and
// kills it if it does not end. What is left of a session of its own dies with
// it; the number of an empty one is not given out again that soon.
func (c *command) end(ask bool) error {
	c.wait.Do(func() {
		c.settle()
		if ask {
			hangUpCommand(c.cmd.Process, c.alone)
		}
		kill := time.AfterFunc(commandGrace, func() { c.cmd.Process.Kill() })
		defer kill.Stop()
		c.err = c.cmd.Wait()
		if c.alone {
			killSession(c.cmd.Process)
		}
		c.said.end()
		if text := c.said.text(); text != "" {
			c.log.Info("command said", "command", c.name, "text", text)
		}
	})
	return c.err
}

func (c *command) Write(p []byte) (int, error) { return c.in.Write(p) }
func (c *command) CloseWrite() error           { return c.in.Close() }

// Close closes both pipes and asks the process to end, as ssh does by SIGHUP;
// one that does not is killed.
func (c *command) Close() error {
	c.close.Do(func() {
		c.in.Close()
		c.out.Close()
		c.end(true)
	})
	return nil
}

func (c *command) LocalAddr() net.Addr  { return commandAddr{} }
func (c *command) RemoteAddr() net.Addr { return commandAddr{} }

func (c *command) SetReadDeadline(t time.Time) error  { return c.out.SetReadDeadline(t) }
func (c *command) SetWriteDeadline(t time.Time) error { return c.in.SetWriteDeadline(t) }
func (c *command) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

type commandAddr struct{}

func (commandAddr) Network() string { return "command" }
func (commandAddr) String() string  { return "ProxyCommand" }
