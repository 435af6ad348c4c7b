//go:build linux

package sshtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// SshdConfig says what kind of server StartSshd starts. The zero value is one
// on 127.0.0.1 with an ed25519 host key.
type SshdConfig struct {
	In       *Netns   // namespace it runs in; nil is ours
	Addr     string   // address it listens on; "" is In's, or 127.0.0.1
	HostKeys []string // kinds of host key, see NewKey; nil is ed25519 alone
	Lines    []string // lines of sshd_config that win over ours; Match blocks last
}

// Sshd is a running OpenSSH server with a folder, keys and log of its own. It
// logs in the user who runs the test, by public key.
//
// The sessions' HOME is a folder inside Dir, so that what a test installs at the
// far end stays out of the real home. They still start in the real one, which
// sshd takes from the passwd database.
type Sshd struct {
	Addr     string // without the port
	Port     int
	User     string // the only user who can log in
	Dir      string // removed by Close
	Home     string // HOME of the sessions
	HostKey  ssh.PublicKey
	HostKeys []ssh.PublicKey // all of them; HostKey is the first

	in    *Netns
	lines []string
	keys  []string // paths of the private host keys
	cmd   *exec.Cmd
	ended chan struct{} // closed once the listening process is reaped
	close sync.Once
}

var errPortTaken = errors.New("port was taken meanwhile")

// StartSshd starts a server and returns when it listens. The caller closes it.
func StartSshd(cfg SshdConfig) (*Sshd, error) {
	s, err := newSshd(cfg)
	if err != nil {
		return nil, err
	}
	// The port is free when we look and may be taken when sshd binds it.
	err = errPortTaken
	for try := 0; try < 5 && errors.Is(err, errPortTaken); try++ {
		err = s.in.Do(func() (err error) {
			s.Port, err = freePort(s.Addr)
			return err
		})
		if err == nil {
			err = s.start(cfg.Lines)
		}
	}
	if err != nil {
		os.RemoveAll(s.Dir)
		return nil, err
	}
	return s, nil
}

// newSshd makes the folder, the keys and an empty authorized_keys.
func newSshd(cfg SshdConfig) (*Sshd, error) {
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sshtest-sshd-")
	if err != nil {
		return nil, err
	}
	s := &Sshd{Addr: cfg.Addr, User: me.Username, Dir: dir, Home: filepath.Join(dir, "home"), in: cfg.In, lines: cfg.Lines}
	if s.Addr == "" {
		s.Addr = "127.0.0.1"
		if s.in != nil {
			s.Addr = s.in.Addr
		}
	}
	if err := s.prepare(cfg.HostKeys); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

func (s *Sshd) prepare(kinds []string) error {
	if len(kinds) == 0 {
		kinds = []string{"ed25519"}
	}
	for _, kind := range kinds {
		key, err := NewKey(filepath.Join(s.Dir, "host_"+kind), kind, "")
		if err != nil {
			return err
		}
		s.keys = append(s.keys, key.Path)
		s.HostKeys = append(s.HostKeys, key.Public())
	}
	s.HostKey = s.HostKeys[0]
	if os.Geteuid() == 0 {
		// sshd's own start script makes it, and root's sshd refuses to run without.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return err
		}
	}
	if err := os.Mkdir(s.Home, 0o700); err != nil {
		return err
	}
	return s.Authorize("")
}

// start runs sshd once, on Port.
func (s *Sshd) start(lines []string) error {
	sshd, err := Peer("sshd")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path("sshd_config"), []byte(s.config(lines)), 0o600); err != nil {
		return err
	}
	// A file and not a pipe: every session inherits it, and Wait would wait for all.
	log, err := os.OpenFile(s.path("log"), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(sshd, "-D", "-e", "-f", s.path("sshd_config"))
	s.cmd.Stderr = log
	// Pdeathsig: a test killed by its time limit runs no Cleanup.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.in.Enter(s.cmd).Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go s.reap(s.cmd, s.ended) // ends with the process, which Close kills
	return s.ready()
}

func (s *Sshd) reap(cmd *exec.Cmd, ended chan struct{}) {
	cmd.Wait()
	close(ended)
}

// ready waits until sshd says that it listens.
func (s *Sshd) ready() error {
	want := fmt.Sprintf("Server listening on %s port %d.", s.Addr, s.Port)
	dead := false
	up := poll(10*time.Second, func() bool {
		select {
		case <-s.ended:
			dead = true
		default:
		}
		return dead || strings.Contains(s.Log(), want)
	})
	switch {
	case dead && strings.Contains(s.Log(), "Address already in use"):
		return errPortTaken
	case dead:
		return fmt.Errorf("sshd ended at once:\n%s", s.Log())
	case !up:
		killTree(s.cmd.Process.Pid)
		<-s.ended
		return fmt.Errorf("sshd does not listen after 10 s:\n%s", s.Log())
	}
	return nil
}

// config is sshd_config. The first value of a keyword wins, so what we must
// know stands before the test's lines and what it may change after them; a
// Match block runs to the end of the file, so those stand last. Of MaxStartups
// the last value wins (OpenSSH 9.2), so that of the test stands alone.
func (s *Sshd) config(lines []string) string {
	text := []string{
		"ListenAddress " + net.JoinHostPort(s.Addr, strconv.Itoa(s.Port)),
		"PidFile none",
		"AuthorizedKeysFile " + s.path("authorized_keys"),
	}
	for _, key := range s.keys {
		text = append(text, "HostKey "+key)
	}
	match := len(lines)
	for i, line := range lines {
		if strings.HasPrefix(strings.ToLower(strings.TrimSpace(line)), "match ") {
			match = i
			break
		}
	}
	text = append(text, lines[:match]...)
	text = append(text,
		"UsePAM no",
		"StrictModes no",
		"LogLevel VERBOSE",
		"PrintMotd no",
		"PrintLastLog no",
		"Subsystem sftp internal-sftp",
		"SetEnv HOME="+s.Home,
	)
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "MaxStartups ") }) {
		text = append(text, "MaxStartups 100")
	}
	text = append(text, lines[match:]...)
	return strings.Join(text, "\n") + "\n"
}

// Authorize appends a line to authorized_keys; it counts from the next login.
func (s *Sshd) Authorize(line string) error {
	return appendFile(s.path("authorized_keys"), line)
}

// HostPort is the address to dial.
func (s *Sshd) HostPort() string { return net.JoinHostPort(s.Addr, strconv.Itoa(s.Port)) }

// Pid is the listening process; its sessions are its Descendants.
func (s *Sshd) Pid() int { return s.cmd.Process.Pid }

// Relays are the processes that run a program installed in Home.
func (s *Sshd) Relays() []int { return processesIn(s.Home) }

// Restart kills the server and all its sessions at once, and starts it again on
// the same port with an empty log. What they were running dies with them, but
// for Relays.
func (s *Sshd) Restart() error {
	for _, pid := range killTree(s.Pid(), s.Relays()...) {
		if err := WaitGone(pid, 5*time.Second); err != nil {
			return err
		}
	}
	<-s.ended
	return s.start(s.lines)
}

// Log is what the server has said since its start, on LogLevel VERBOSE.
func (s *Sshd) Log() string {
	text, err := os.ReadFile(s.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Close kills the server and all its sessions, waits until they are gone, and
// removes Dir.
func (s *Sshd) Close() (err error) {
	s.close.Do(func() {
		pids := append(killTree(s.Pid()), s.Relays()...)
		<-s.ended
		for _, pid := range s.Relays() { // theirs is no tree: they outlive their sessions
			syscall.Kill(pid, syscall.SIGKILL)
		}
		for _, pid := range pids {
			err = errors.Join(err, WaitGone(pid, 5*time.Second))
		}
		err = errors.Join(err, os.RemoveAll(s.Dir))
	})
	return err
}

func (s *Sshd) path(name string) string { return filepath.Join(s.Dir, name) }
