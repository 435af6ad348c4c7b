//go:build linux

package sshtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Agent is a running ssh-agent.
type Agent struct {
	Socket string

	dir string
	cmd *exec.Cmd
}

// StartAgent starts an ssh-agent that holds the keys. The caller closes it.
func StartAgent(keys ...*Key) (*Agent, error) {
	program, err := Peer("ssh-agent")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sst-agent")
	if err != nil {
		return nil, err
	}
	a := &Agent{Socket: filepath.Join(dir, "socket"), dir: dir}
	a.cmd = exec.Command(program, "-D", "-a", a.Socket)
	// Pdeathsig: a test killed by its time limit runs no Cleanup.
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := a.cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	if err := a.add(keys); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (a *Agent) add(keys []*Key) error {
	// The socket is there a moment before the agent listens on it.
	up := poll(5*time.Second, func() bool {
		c, err := net.Dial("unix", a.Socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	if !up {
		return errors.New("ssh-agent does not listen after 5 s")
	}
	program, err := Peer("ssh-add")
	if err != nil {
		return err
	}
	for _, key := range keys {
		cmd := exec.Command(program, "-q", key.Path)
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+a.Socket)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ssh-add: %w: %s", err, out)
		}
	}
	return nil
}

// Close ends the agent.
func (a *Agent) Close() error {
	a.cmd.Process.Kill()
	a.cmd.Wait()
	return os.RemoveAll(a.dir)
}

// Agent starts an agent.
func (r Rig) Agent(keys ...*Key) *Agent {
	r.Helper()
	a, err := StartAgent(keys...)
	r.must(err)
	r.end(a)
	return a
}
