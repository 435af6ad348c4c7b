//go:build linux

package sshtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// DropbearConfig says what kind of server StartDropbear starts.
type DropbearConfig struct {
	HostKey string   // kind of its host key, see NewKey
	Options []string // of its command line: "-t" wants both a key and a password
}

// Dropbear is a running dropbear on 127.0.0.1. It takes authorized keys from
// the home that the passwd database names, so log in as an Account.
type Dropbear struct {
	Addr    string
	Port    int
	Dir     string // removed by Close
	HostKey ssh.PublicKey

	cmd   *exec.Cmd
	ended chan struct{} // closed once the listening process is reaped
	close sync.Once
}

// StartDropbear starts a server and returns when it listens. The caller closes it.
func StartDropbear(cfg DropbearConfig) (*Dropbear, error) {
	dir, err := os.MkdirTemp("", "sshtest-dropbear-")
	if err != nil {
		return nil, err
	}
	d := &Dropbear{Addr: "127.0.0.1", Dir: dir}
	if err = d.makeKey(cfg.HostKey); err == nil {
		err = errPortTaken // the port is free when we look, and may be taken then
	}
	for try := 0; try < 5 && errors.Is(err, errPortTaken); try++ {
		if d.Port, err = freePort(d.Addr); err == nil {
			err = d.start(cfg.Options)
		}
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return d, nil
}

// makeKey makes a host key in dropbear's own format, which it needs.
func (d *Dropbear) makeKey(kind string) error {
	convert, err := Peer("dropbearconvert")
	if err != nil {
		return err
	}
	key, err := NewKey(d.path("openssh"), kind, "")
	if err != nil {
		return err
	}
	d.HostKey = key.Public()
	if out, err := exec.Command(convert, "openssh", "dropbear", key.Path, d.path("key")).CombinedOutput(); err != nil {
		return fmt.Errorf("dropbearconvert: %w: %s", err, out)
	}
	return nil
}

// start runs dropbear once, on Port.
func (d *Dropbear) start(options []string) error {
	dropbear, err := Peer("dropbear")
	if err != nil {
		return err
	}
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-F", "-E", "-p", d.HostPort(), "-r", d.path("key"), "-P", d.path("pid")}
	d.cmd = exec.Command(dropbear, append(args, options...)...)
	d.cmd.Stderr = log
	// Pdeathsig: a test killed by its time limit runs no Cleanup.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.ended = make(chan struct{})
	go func() { // ends with the process, which Close kills
		d.cmd.Wait()
		close(d.ended)
	}()
	return d.ready()
}

// ready waits for the line that dropbear writes once it listens.
func (d *Dropbear) ready() error {
	dead := false
	up := poll(10*time.Second, func() bool {
		select {
		case <-d.ended:
			dead = true
		default:
		}
		return dead || strings.Contains(d.Log(), "Not backgrounding")
	})
	switch {
	case dead && strings.Contains(d.Log(), "Address already in use"):
		return errPortTaken
	case dead:
		return fmt.Errorf("dropbear ended at once:\n%s", d.Log())
	case !up:
		killTree(d.cmd.Process.Pid)
		<-d.ended
		return fmt.Errorf("dropbear does not listen after 10 s:\n%s", d.Log())
	}
	return nil
}

// HostPort is the address to dial.
func (d *Dropbear) HostPort() string { return net.JoinHostPort(d.Addr, strconv.Itoa(d.Port)) }

// Log is what the server has said so far.
func (d *Dropbear) Log() string {
	text, err := os.ReadFile(d.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Close kills the server and all its sessions, waits until they are gone, and
// removes Dir.
func (d *Dropbear) Close() (err error) {
	d.close.Do(func() {
		pids := killTree(d.cmd.Process.Pid)
		<-d.ended
		for _, pid := range pids {
			err = errors.Join(err, WaitGone(pid, 5*time.Second))
		}
		err = errors.Join(err, os.RemoveAll(d.Dir))
	})
	return err
}

func (d *Dropbear) path(name string) string { return filepath.Join(d.Dir, name) }

// Dropbear starts a server; its log is shown if the test fails.
func (r Rig) Dropbear(cfg DropbearConfig) *Dropbear {
	r.Helper()
	d, err := StartDropbear(cfg)
	r.must(err)
	r.end(d)
	r.Cleanup(func() {
		if r.Failed() {
			r.Logf("log of dropbear on port %d:\n%s", d.Port, d.Log())
		}
	})
	return d
}
