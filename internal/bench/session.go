//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ssh-stay/internal/sshtest"
)

// path is one way to the target.
type path struct {
	name    string // in the tables
	alias   string // in the config of client
	client  *sshtest.Client
	in      *sshtest.Netns // where ssh runs
	options []string       // of ssh, beside those of the alias
	wrapper []string       // a program that is called as ssh is, and its own options; nil: ssh
	env     []string       // of it, beside the user's
	life    time.Duration  // that a session is given; 0: patience
	relays  func() []int   // what runs of us at the far end; nil: nothing does

	bare      bool // no process of a proxy stays in the way
	startOnly bool // nothing of a session passes through it
}

// patience bounds whatever waits for a peer.
const patience = 2 * time.Minute

func (p path) command(ctx context.Context, remote string) *exec.Cmd {
	words := append(slices.Clone(p.wrapper), "-F", p.client.Config)
	if p.wrapper == nil {
		words = []string{"ssh", "-F", p.client.Config}
	}
	words = append(append(words, p.options...), p.alias, remote)
	cmd := p.client.Run(ctx, words[0], words[1:]...)
	cmd.Env = append(cmd.Env, p.env...)
	return p.in.Enter(cmd)
}

// session is a running ssh. Its ends are blocking descriptors, not files of the
// runtime's poller, so that the time of our own wake-up stays small.
type session struct {
	cmd    *exec.Cmd
	in     int // write: ssh's stdin
	out    int // read: ssh's stdout
	stderr *os.File
	cancel context.CancelFunc
	stock  bool // its proxy is an ssh
}

const ready = "ready\n"

// open logs in and returns when the remote command has begun. The caller closes
// the session.
func (p path) open(ctx context.Context, remote string) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.life, patience))
	s := &session{cmd: p.command(ctx, "echo ready; "+remote), in: -1, out: -1, cancel: cancel, stock: p.name == sshJ || p.name == sshW}
	err := s.start()
	if err == nil {
		err = s.expect(ready)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", p.name, err, s.errors())
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *session) start() (err error) {
	if s.stderr, err = errorFile(); err != nil {
		return err
	}
	var in, out [2]int
	if err := unix.Pipe2(in[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	if err := unix.Pipe2(out[:], unix.O_CLOEXEC); err != nil {
		return errors.Join(err, unix.Close(in[0]), unix.Close(in[1]))
	}
	s.in, s.out = in[1], out[0]
	theirIn, theirOut := os.NewFile(uintptr(in[0]), "stdin"), os.NewFile(uintptr(out[1]), "stdout")
	defer theirIn.Close()
	defer theirOut.Close()
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = theirIn, theirOut, s.stderr
	return s.cmd.Start()
}

// errorFile is a file without a name. With a pipe, Wait would wait for every
// process that holds it, and the end of ssh is what is timed.
func errorFile() (*os.File, error) {
	f, err := os.CreateTemp("", "bench-stderr-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

func (s *session) errors() string { return readAll(s.stderr) }

func readAll(f *os.File) string {
	if f == nil {
		return ""
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, 0, 4096))
	return string(bytes.TrimSpace(text))
}

// proxy is the process between ssh and the network: its only child, since the
// shell that ssh starts execs it.
func (s *session) proxy() (int, error) {
	children := sshtest.Descendants(s.cmd.Process.Pid)
	if len(children) != 1 {
		return 0, fmt.Errorf("ssh has %d children, want the proxy alone", len(children))
	}
	return children[0], nil
}

// close ends ssh and waits for what it started. A proxy ends with its ssh; one
// that does not is killed and is an error, but for `ssh -W`, which stays for as
// long as a far end that sends cannot be told to stop.
func (s *session) close() (err error) {
	defer s.cancel()
	for _, fd := range []int{s.in, s.out} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if s.cmd.Process != nil {
		children := sshtest.Descendants(s.cmd.Process.Pid)
		s.cmd.Process.Kill()
		s.cmd.Wait()
		for _, pid := range children {
			left := sshtest.WaitGone(pid, 5*time.Second)
			if left == nil {
				continue
			}
			if !s.stock {
				err = errors.Join(err, left)
			}
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if s.stderr != nil {
		s.stderr.Close()
	}
	return err
}

// kill ends ssh, and so a read or write that waits.
func (s *session) kill() { s.cancel() }

func (s *session) read(p []byte) (int, error) {
	for {
		n, err := unix.Read(s.out, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.ErrUnexpectedEOF
		default:
			return n, nil
		}
	}
}

func (s *session) write(p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(s.in, p)
		if err != nil && err != unix.EINTR {
			return err
		}
		p = p[max(n, 0):]
	}
	return nil
}

// line reads up to a newline, byte by byte, so that nothing after it is taken.
func (s *session) line() (string, error) {
	var line, b []byte = nil, make([]byte, 1)
	for {
		if _, err := s.read(b); err != nil {
			return string(line), err
		}
		line = append(line, b[0])
		if b[0] == '\n' {
			return string(line), nil
		}
	}
}

func (s *session) expect(want string) error {
	got, err := s.line()
	if err == nil && got != want {
		err = fmt.Errorf("got %q, want %q", got, want)
	}
	return err
}
