package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// commandGrace is how long a ProxyCommand may take to end by itself.
const commandGrace = 500 * time.Millisecond

// CommandDialer dials by a command that connects its stdin and stdout with a
// host and port, and that prepare makes; messages call it by name. env is added
// to its environment.
func CommandDialer(name string, prepare func(host string, port int) (*exec.Cmd, error), stderr *os.File, env ...string) DialFunc {
	return func(_ context.Context, host string, port int) (net.Conn, error) {
		cmd, err := prepare(host, port)
		if err != nil {
			return nil, err
		}
		cmd.Env = append(os.Environ(), env...)
		cmd.Stderr = stderr
		conn, err := startCommand(name, cmd)
		if err != nil {
			return nil, &CommandError{name, err}
		}
		return conn, nil
	}
}

// command is a running command as a net.Conn. Close ends the process and waits.
type command struct {
	name    string
	cmd     *exec.Cmd
	in, out *os.File // our ends of its stdin and stdout
	got     bool     // a byte came from it; of the reading goroutine alone

	close sync.Once
	wait  sync.Once
	err   error // what Wait returned
}

// CommandError says that a command did not start, or ended before its host said
// anything.
type CommandError struct {
	Command string
	Err     error
}

func (e *CommandError) Error() string { return fmt.Sprintf("%s: %v", e.Command, e.Err) }
func (e *CommandError) Unwrap() error { return e.Err }

func startCommand(name string, cmd *exec.Cmd) (*command, error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer childIn.Close()
	out, childOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer childOut.Close()
	c := &command{name: name, cmd: cmd, in: in, out: out}
	c.cmd.Stdin, c.cmd.Stdout = childIn, childOut
	if err := c.cmd.Start(); err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	return c, nil
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
	c.got = c.got || n > 0
	if errors.Is(err, io.EOF) && !c.got {
		if failed := c.end(); failed != nil {
			return 0, &CommandError{c.name, failed}
		}
	}
	return n, err
}

// end waits for the process, which has closed its stdout, and kills it if it
// does not end.
func (c *command) end() error {
	c.wait.Do(func() {
		kill := time.AfterFunc(commandGrace, func() { c.cmd.Process.Kill() })
		defer kill.Stop()
		c.err = c.cmd.Wait()
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
		hangUp(c.cmd.Process)
		c.end()
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
