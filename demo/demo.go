// Package demo shows on one machine, in some ten seconds, what ssh-stay is
// for: the real ssh runs twice through a firewall that silently forgets idle
// connections, once stock and once through ssh-stay.
//
// Every line it prints is an event or a measurement of this run. The package
// knows nothing of how ssh-stay works: that is an executable it is given.
package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// Demo says what to run and where to show it. Out and Self must be set.
type Demo struct {
	Out      io.Writer // one line per event; written from one goroutine
	Terminal bool      // Out is a terminal: also keep a status line up to date
	SSH      string    // the real ssh; empty means the first one in PATH
	Self     string    // the ssh-stay executable, used as ProxyCommand

	// Zero means the default. Tests use shorter ones.
	idle    time.Duration // silence after which the firewall forgets, 3 s
	silence time.Duration // how long both sessions are left alone, 6 s
	answer  time.Duration // how long an answer may take, 4 s
}

// loginLimit bounds the start of both ssh. With the other defaults and two
// waits for an answer it keeps the whole below 20 s even where all goes wrong.
const loginLimit = 5 * time.Second

// Run plays the demo and returns nil only if stock ssh hung and ssh-stay
// answered; otherwise the error says what differed, or is that of ctx. It
// needs about 10 s and always less than 20. When it returns, also early by
// ctx, no process, goroutine, listener or file of it is left.
func (d *Demo) Run(ctx context.Context) error {
	ssh, self, err := d.executables()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ssh-stay-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	var running sync.WaitGroup // servers and forwarders, ended by cancel
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := newStage(ctx, &running, dir, or(d.idle, 3*time.Second), self)
	if err != nil {
		return err
	}

	s := &story{
		show:    newShow(d.Out, d.Terminal),
		idle:    or(d.idle, 3*time.Second),
		silence: or(d.silence, 6*time.Second),
		answer:  or(d.answer, 4*time.Second),
		stock:   &side{name: "stock ssh", alias: "stock", forwarder: st.stock},
		stay:    &side{name: "ssh-stay", alias: "stay", forwarder: st.stay},
	}
	err = s.play(ctx, ssh, dir)
	interrupted := ctx.Err()
	cancel()
	s.stop()
	switch {
	case err == nil:
		return nil
	case interrupted != nil: // whatever it made go wrong first
		return interrupted
	}
	s.showStderr()
	return err
}

// executables returns the absolute paths of ssh and ssh-stay: both are run
// from another directory than ours.
func (d *Demo) executables() (ssh, self string, err error) {
	name := d.SSH
	if name == "" {
		name = "ssh"
	}
	if ssh, err = exec.LookPath(name); err != nil {
		return "", "", fmt.Errorf("no ssh to run (install the OpenSSH client): %w", err)
	}
	if ssh, err = filepath.Abs(ssh); err != nil {
		return "", "", err
	}
	if self, err = exec.LookPath(d.Self); err != nil {
		return "", "", fmt.Errorf("no ssh-stay to run: %w", err)
	}
	self, err = filepath.Abs(self)
	return ssh, self, err
}

func or(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}
