package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// commandGrace is how long a ProxyCommand may take to end by itself.
const commandGrace = 500 * time.Millisecond

// CommandDialer dials through a user's ProxyCommand. expand makes the command
// line for a host and port; the names in it must have been checked, since it
// goes to the user's shell as ssh does it.
// env is added to its environment.
func CommandDialer(expand func(host string, port int) (string, error), stderr *os.File, env string) DialFunc {
	return func(_ context.Context, host string, port int) (net.Conn, error) {
		line, err := expand(host, port)
		if err != nil {
			return nil, err
		}
		conn, err := startCommand(line, stderr, env)
		if err != nil {
			return nil, fmt.Errorf("start ProxyCommand %q: %w", line, err)
		}
		return conn, nil
	}
}

// command is a ProxyCommand as a net.Conn. Close ends the process and waits.
type command struct {
	cmd     *exec.Cmd
	in, out *os.File // our ends of its stdin and stdout
	close   sync.Once
}

func startCommand(line string, stderr *os.File, env string) (*command, error) {
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
	c := &command{cmd: shell(line), in: in, out: out}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = childIn, childOut, stderr
	c.cmd.Env = append(os.Environ(), env)
	if err := c.cmd.Start(); err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	return c, nil
}

// shell runs a line as ssh runs a ProxyCommand: by $SHELL, which it replaces.
func shell(line string) *exec.Cmd {
	if runtime.GOOS == "windows" {
		return exec.Command(cmp.Or(os.Getenv("ComSpec"), "cmd.exe"), "/c", line)
	}
	return exec.Command(cmp.Or(os.Getenv("SHELL"), "/bin/sh"), "-c", "exec "+line)
}

func (c *command) Read(p []byte) (int, error)  { return c.out.Read(p) }
func (c *command) Write(p []byte) (int, error) { return c.in.Write(p) }
func (c *command) CloseWrite() error           { return c.in.Close() }

// Close closes both pipes and asks the process to end, as ssh does by SIGHUP;
// one that does not is killed.
func (c *command) Close() error {
	c.close.Do(func() {
		c.in.Close()
		c.out.Close()
		hangUp(c.cmd.Process)
		kill := time.AfterFunc(commandGrace, func() { c.cmd.Process.Kill() })
		defer kill.Stop()
		c.cmd.Wait()
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
