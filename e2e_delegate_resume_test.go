//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"ssh-stay/internal/sshtest"
)

// newDelegatedResumed makes the alias "it", with its relay on the target, behind
// the hop "theirs", which is ssh's to log in to and behind the faults. Both ask
// whatever they can.
func newDelegatedResumed(t *testing.T) (r *resumed, hop *sshtest.Sshd) {
	t.Helper()
	r = emptyResumed(t)
	r.host, hop = r.Sshd(sshtest.SshdConfig{}), r.Sshd(sshtest.SshdConfig{})
	r.target = r.host
	ip := fmt.Sprintf("127.0.1.%d", 1+loopbacks.Add(1))
	r.faults = r.Faults(&sshtest.Faults{Target: hop.HostPort(), Listen: fmt.Sprintf("%s:%d", ip, hop.Port)})
	r.know(hop)
	r.install()
	r.fail(r.client.AddHost("theirs", hop, "HostName "+ip, "StayClient openssh", "BatchMode no", "StrictHostKeyChecking ask"))
	r.fail(r.client.AddHost("it", r.host, r.client.ProxyLine(r.bin, "--log", r.log), "StayResume target", testKeep, "ProxyJump theirs"))
	return r, hop
}

// screen is what a terminal shows.
type screen struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// openOn starts a session as open does, on a terminal, which is its stderr too.
func (r *resumed) openOn(alias string, env ...string) (*session, *screen) {
	r.Helper()
	master, tty, err := pty.Open()
	r.fail(err)
	cmd := r.client.Command(context.Background(), alias, "cat")
	cmd.Env = append(cmd.Env, env...)
	in, err := cmd.StdinPipe()
	r.fail(err)
	read, write, err := os.Pipe()
	r.fail(err)
	cmd.Stdout, cmd.Stderr = write, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 2}
	r.fail(cmd.Start())
	write.Close()
	tty.Close()
	shown := &screen{}
	done := make(chan struct{})
	go func() { // ends with the last one on the terminal
		defer close(done)
		io.Copy(shown, master)
	}()
	r.Cleanup(func() {
		cmd.Process.Kill()
		in.Close()
		cmd.Wait()
		read.Close()
		<-done
		master.Close()
	})
	s := &session{cmd, in, read, alias}
	if err := s.ask("hello", 30*time.Second); err != nil {
		r.Fatalf("%s: no session: %v, the terminal shows %q", alias, err, shown)
	}
	return s, shown
}

// TestDelegatedResumes: a session behind a hop that ssh logs in to comes back
// after each cut, and nothing of that is on the terminal.
func TestDelegatedResumes(t *testing.T) {
	r, _ := newDelegatedResumed(t)
	s, shown := r.openOn("it")
	for i := range 3 {
		if i == 1 {
			r.faults.Refuse()
		}
		r.faults.Reset()
		if i == 1 {
			r.logged(10*time.Second, "Connection refused")
			r.fail(r.faults.Admit())
		}
		if err := s.ask("still there", 20*time.Second); err != nil {
			t.Fatalf("cut %d: %v, want an answer; the terminal shows %q", i, err, shown)
		}
		if got := r.attached(); got < i+1 {
			t.Errorf("attached %d times after %d cuts", got, i+1)
		}
	}
	s.in.Close()
	if err := s.cmd.Wait(); err != nil || shown.String() != "" {
		t.Errorf("got %v, and %q on the terminal, want a silent end", err, shown)
	}
	if !strings.Contains(r.text(), `msg="command said"`) {
		t.Error("the log has no word of ssh -W")
	}
}

// TestDelegatedDenied: a hop that refuses ssh is not tried again soon, and ssh
// does not ask for a password on the terminal.
func TestDelegatedDenied(t *testing.T) {
	t.Parallel()
	together(t, map[string]func(t *testing.T){
		"terminal": func(t *testing.T) { testDelegatedDenied(t, nil) },
		"askpass":  func(t *testing.T) { testDelegatedDenied(t, sshtest.For(t).Askpass(nil)) },
	})
}

func testDelegatedDenied(t *testing.T, user *sshtest.Askpass) {
	r, hop := newDelegatedResumed(t)
	var env []string
	if user != nil { // a display that ssh before 10 takes by force alone
		env = []string{user.Env()[0], "WAYLAND_DISPLAY=wayland-0"}
	}
	s, shown := r.openOn("it", env...)
	r.fail(os.WriteFile(filepath.Join(hop.Dir, "authorized_keys"), nil, 0o600))
	came := func() int { return strings.Count(hop.Log(), "\nConnection from ") }
	before := came()
	r.faults.Reset()
	r.logged(10*time.Second, "Permission denied (publickey")
	<-time.After(12 * time.Second) // one who tries again and again does each 10 s
	if got := came() - before; got != 1 {
		t.Errorf("tried %d times, want once", got)
	}
	if shown.String() != "" {
		t.Errorf("the terminal shows %q, want nothing", shown)
	}
	if user != nil {
		if asked, err := user.Asked(); err != nil || len(asked) == 0 || !strings.HasSuffix(asked[0], "'s password: ") {
			t.Errorf("askpass was asked %q, %v, want a password", asked, err)
		}
	}
	s.cmd.Process.Kill()
}
