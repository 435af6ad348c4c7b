//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/creack/pty"
)

// moshPath is mosh to where path goes. It logs in by ssh, and then speaks UDP.
type moshPath struct{ path path }

func (m *moshPath) command(ctx context.Context, remote ...string) *exec.Cmd {
	words := append([]string{"--predict=never", "--ssh=ssh -F " + m.path.client.Config, m.path.alias, "--"}, remote...)
	cmd := m.path.client.Run(ctx, mosh, words...)
	// Its server refuses to run without UTF-8.
	cmd.Env = append(cmd.Env, "LC_ALL=C.UTF-8", "TERM=xterm")
	return m.path.in.Enter(cmd)
}

// wholeSession is the time of `mosh HOST true`.
func (m *moshPath) wholeSession(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := m.command(ctx, "true")
	start := time.Now()
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		return 0, err
	}
	defer screen.Close()
	shown, _ := io.ReadAll(screen) // ends with EIO once mosh has ended
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("mosh: %w: %q", err, shown)
	}
	return time.Since(start), nil
}

// moshSession is mosh at a terminal that shows echoes of a k.
type moshSession struct {
	cmd    *exec.Cmd
	screen *os.File
	cancel context.CancelFunc
}

// open returns when the far end has shown that it is there. The terminal is so
// wide that all keys fit one line: nothing is ever drawn twice.
func (m *moshPath) open(ctx context.Context) (*moshSession, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	s := &moshSession{cmd: m.command(ctx, "sh", "-c", "stty raw -echo; echo ready; exec cat"), cancel: cancel}
	var err error
	if s.screen, err = pty.StartWithSize(s.cmd, &pty.Winsize{Rows: 24, Cols: 1000}); err != nil {
		cancel()
		return nil, err
	}
	shown := make([]byte, 0, 4096)
	for !bytes.Contains(shown, []byte("ready")) {
		n, err := s.screen.Read(shown[len(shown):cap(shown)])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("mosh: %w: %q", err, shown), s.close())
		}
		shown = shown[:len(shown)+n]
	}
	return s, nil
}

func (s *moshSession) write(p []byte) error {
	_, err := s.screen.Write(p)
	return err
}

// read returns the k's alone of what mosh draws.
func (s *moshSession) read(p []byte) (int, error) {
	for {
		n, err := s.screen.Read(p)
		if err != nil {
			return 0, err
		}
		if n = bytes.Count(p[:n], []byte("k")); n > 0 {
			return n, nil
		}
	}
}

func (s *moshSession) kill() { s.cancel() }

// close asks mosh to end, which ends its server too, and kills what does not.
func (s *moshSession) close() error {
	defer s.cancel()
	defer s.screen.Close()
	s.screen.Write([]byte("\x1e.")) // its escape key, and "quit"
	late := time.AfterFunc(5*time.Second, s.cancel)
	defer late.Stop()
	io.Copy(io.Discard, s.screen) // ends with EIO once mosh has ended
	s.cmd.Wait()
	return nil
}
