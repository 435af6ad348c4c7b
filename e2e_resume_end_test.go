//go:build linux

package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/internal/sshtest"
)

// echo is a target that says back what it hears, and tells when it lost a
// client.
type echo struct {
	addr string
	gone chan time.Time
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	e := &echo{gone: make(chan time.Time, 10)}
	e.addr = serveEach(t, func(c io.ReadWriteCloser) {
		io.Copy(c, c)
		e.gone <- time.Now()
	})
	return e
}

// lost returns when the target lost its client, or fails the test after d.
func (e *echo) lost(t *testing.T, d time.Duration) time.Time {
	t.Helper()
	select {
	case at := <-e.gone:
		return at
	case <-time.After(d):
		t.Fatalf("the target still has its client after %v", d)
	}
	return time.Time{}
}

// serveEach serves every connection until do returns.
func serveEach(t *testing.T, do func(c io.ReadWriteCloser)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends when the test closes the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the relay, at the latest
				defer c.Close()
				do(c)
			}()
		}
	}()
	return l.Addr().String()
}

// proxy starts a proxy by itself, which connects with addr by way of the jump
// host.
func (r *resumed) proxy(addr string, options ...string) *staying {
	r.Helper()
	return r.proxyBy("jump", addr, options...)
}

// proxyBy is proxy by way of another name of the jump host.
func (r *resumed) proxyBy(jump, addr string, options ...string) *staying {
	r.Helper()
	host, port, err := net.SplitHostPort(addr)
	r.fail(err)
	args := []string{"proxy", "-F", r.client.Config, "--log", r.log, "-J", jump, "-o", "StayResume=jump"}
	for _, o := range append(options, testKeep) {
		args = append(args, "-o", o)
	}
	cmd := r.client.Run(r.Context(), r.bin, append(args, host, port)...)
	cmd.Env = append(cmd.Env, r.env...)
	return r.start("proxy", cmd)
}

// fails expects the end within d, with status 255 and one line of ours, and
// returns what was said.
func (s *staying) fails(d time.Duration, want string) string {
	s.r.Helper()
	start := time.Now()
	s.r.WaitGone(s.cmd.Process.Pid, d)
	s.cmd.Wait()
	s.r.Logf("%s ended after %v: %q", s.name, time.Since(start), s.said())
	if got := s.cmd.ProcessState.ExitCode(); got != exitNoReach {
		s.r.Errorf("%s: got exit status %d, want %d", s.name, got, exitNoReach)
	}
	var ours []string
	for line := range strings.Lines(s.said()) {
		if s.name == "proxy" || strings.HasPrefix(line, "ssh-stay: ") {
			ours = append(ours, line)
		}
	}
	if s.name == "proxy" && len(ours) > 1 && strings.HasPrefix(ours[1], "hint: ") {
		ours = ours[:1]
	}
	if len(ours) != 1 || !strings.Contains(ours[0], want) {
		s.r.Errorf("%s: got %q, want one line with %q", s.name, s.said(), want)
	}
	return s.said()
}

// testEnds: how a session comes to its end, and what is left of it.
func testEnds(t *testing.T) {
	together(t, map[string]func(t *testing.T){
		"goodbye":     testGoodbye,
		"killed":      testClientKilled,
		"relayKilled": testRelayKilled,
		"expired":     testExpired,
		"changedKey":  func(t *testing.T) { testOtherMachine(t, false) },
		"pinnedKey":   func(t *testing.T) { testOtherMachine(t, true) },
		"revokedKey":  testRevoked,
		"newKey":      testNewKey,
		"status":      testStatus,
		"denied":      testDenied,
		"dropped":     testDropped,
		"targetGone":  testTargetGone,
	})
}

// testGoodbye: the target connection ends with ssh, however that ends, and the
// relay soon after; nothing is left.
func testGoodbye(t *testing.T) {
	r := newResumed(t, "jump")
	e := newEcho(t)
	bare, killed, ended := r.proxy(e.addr).hello(), r.open("it", nil).hello(), r.open("it", nil).hello()
	if len(e.gone) > 0 {
		t.Fatal("the target has lost its client already")
	}
	relay := r.relayPid()
	start := time.Now()
	bare.in.Close()
	bare.out.Close()
	t.Log("closed after", e.lost(t, 2*time.Second).Sub(start))
	r.fail(killed.cmd.Process.Kill())
	ended.end()
	r.Eventually(3*time.Second, "end of the target's sessions", func() bool {
		return len(sshtest.Descendants(r.target.Pid())) == 0
	})
	start = time.Now()
	r.WaitGone(relay, 25*time.Second) // twice its grace at most, and the machine's
	t.Log("the relay ended after", time.Since(start))
	if left := append(r.host.Relays(), sshtest.Descendants(r.host.Pid())...); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	if sockets, _ := filepath.Glob(filepath.Join(r.host.Home, ".cache/ssh-stay/run-*/*.sock")); len(sockets) > 0 {
		t.Errorf("%v are left", sockets)
	}
}

// testClientKilled: the relay keeps the stream for StayKeep, since the client
// may yet come back.
func testClientKilled(t *testing.T) {
	r := newResumed(t, "jump")
	e := newEcho(t)
	s := r.proxy(e.addr, "StayKeep=2").hello()
	start := time.Now()
	r.fail(s.cmd.Process.Kill())
	if took := e.lost(t, 10*time.Second).Sub(start); took < 1500*time.Millisecond {
		t.Errorf("closed after %v, want 2 s", took)
	} else {
		t.Log("closed after", took)
	}
}

// testRelayKilled: the client learns of it at once, as it does of a gap, or when
// it comes back. It starts no other relay, which would know nothing.
func testRelayKilled(t *testing.T) {
	for _, meanwhile := range []bool{false, true} {
		r := newResumed(t, "jump")
		bare, s := r.proxy(newEcho(t).addr).hello(), r.open("it", nil).hello()
		if meanwhile {
			r.faults.Refuse()
			r.faults.Reset()
		}
		r.fail(syscall.Kill(r.relayPid(), syscall.SIGKILL))
		if meanwhile {
			r.logged(5*time.Second, "refused")
			r.fail(r.faults.Admit())
		}
		bare.fails(4*time.Second, "the relay has gone") // 2 s where no other test runs
		if said := s.fails(4*time.Second, "the relay has gone"); strings.Count(said, "\n") != 3 {
			t.Errorf("got %q, want our line with its hint, and one of ssh", said)
		}
		// A bridge may still end; a daemon would stay for 10 s.
		r.Eventually(5*time.Second, "end of all relays", func() bool { return len(r.host.Relays()) == 0 })
	}
}

// testExpired: the outage is longer than StayKeep.
func testExpired(t *testing.T) {
	r := newResumed(t, "jump", "StayKeep 2")
	e := newEcho(t)
	bare, s := r.proxy(e.addr, "StayKeep=2").hello(), r.open("it", nil).hello()
	r.faults.Refuse()
	r.faults.Reset()
	bare.fails(5*time.Second, "session expired: no connection for 2s (connect to host")
	s.fails(5*time.Second, "session expired")
	e.lost(t, 5*time.Second)
	r.fail(r.faults.Admit())
	// A client that comes later than the relay keeps a stream hears of that.
	late := r.proxy(e.addr, "StayKeep=3").hello()
	r.fail(syscall.Kill(late.cmd.Process.Pid, syscall.SIGSTOP))
	r.faults.Reset()
	e.lost(t, 10*time.Second)
	r.fail(syscall.Kill(late.cmd.Process.Pid, syscall.SIGCONT))
	// It may have seen the reset before it stood still: then it knows by itself.
	late.fails(10*time.Second, "session")
}

// testOtherMachine: another machine is behind the name when the client comes
// back; known, if it is, by the same name. It is told nothing, nor is the user
// asked, and the session waits for the right one.
func testOtherMachine(t *testing.T, known bool) {
	r := newResumed(t, "jump")
	other := r.Sshd(sshtest.SshdConfig{})
	r.fail(other.Authorize(r.client.Key.Authorized()))
	if known {
		r.know(other)
	}
	asked := filepath.Join(r.client.Dir, "asked")
	askpass := filepath.Join(r.client.Dir, "askpass")
	r.fail(os.WriteFile(askpass, []byte("#!/bin/sh\necho \"$1\" >>"+asked+"\necho yes\n"), 0o700))
	before, err := os.ReadFile(r.client.KnownHosts)
	r.fail(err)
	r.env = []string{"SSH_ASKPASS=" + askpass, "SSH_ASKPASS_REQUIRE=force"}
	s := r.proxy(newEcho(t).addr).hello()
	r.faults.Redirect(other.HostPort())
	r.faults.Reset()
	r.logged(5*time.Second, "not "+ssh.FingerprintSHA256(r.host.HostKey)+" as before")
	if log := other.Log(); !strings.Contains(log, "Connection from") || strings.Contains(log, "publickey") {
		t.Error("the other machine heard of no client, or of its key")
	}
	if after, _ := os.ReadFile(r.client.KnownHosts); string(after) != string(before) {
		t.Errorf("known_hosts is %q, was %q", after, before)
	}
	if text, err := os.ReadFile(asked); err == nil {
		t.Errorf("the user was asked %q", text)
	}
	r.faults.Redirect(r.host.HostPort())
	r.sleeps(s.cmd.Process.Pid)
	t.Log("back after", s.answers(10*time.Second))
	if s.said() != "" {
		t.Errorf("got %q, want silence", s.said())
	}
}

// sleeps has a process sleep, for more than the 7 s that are noticed at all.
func (r *resumed) sleeps(pid int) {
	r.Helper()
	r.fail(syscall.Kill(pid, syscall.SIGSTOP))
	<-time.After(8 * time.Second)
	r.fail(syscall.Kill(pid, syscall.SIGCONT))
}

// testRevoked: a key that was marked as revoked meanwhile ends the session.
func testRevoked(t *testing.T) {
	r := newResumed(t, "jump")
	s := r.proxy(newEcho(t).addr).hello()
	f, err := os.OpenFile(r.client.KnownHosts, os.O_APPEND|os.O_WRONLY, 0o600)
	r.fail(err)
	_, err = f.WriteString("@revoked " + sshtest.KnownHost(r.faults.Addr(), r.host.HostKey))
	r.fail(errors.Join(err, f.Close()))
	r.faults.Reset()
	s.fails(5*time.Second, "is revoked by "+r.client.KnownHosts)
}

// testNewKey: a key that was accepted at the first login is no new one later,
// recorded or not.
func testNewKey(t *testing.T) {
	r := newResumed(t, "jump")
	ip, port, err := net.SplitHostPort(r.faults.Addr())
	r.fail(err)
	asked, askpass := filepath.Join(r.client.Dir, "asked"), filepath.Join(r.client.Dir, "askpass")
	r.fail(os.WriteFile(askpass, []byte("#!/bin/sh\necho \"$1\" >>"+asked+"\necho yes\n"), 0o700))
	r.env = []string{"SSH_ASKPASS=" + askpass, "SSH_ASKPASS_REQUIRE=force"}
	for _, tc := range []struct{ name, strict, file string }{
		{"asked", "ask", "new1"}, {"added", "accept-new", "new2"}, {"unrecorded", "accept-new", os.DevNull}, {"forgotten", "ask", os.DevNull},
	} {
		file := filepath.Join(r.client.Dir, tc.file)
		if tc.file == os.DevNull {
			file = tc.file
		}
		os.Remove(asked)
		r.fail(r.client.Append("Host "+tc.name, "HostName "+ip, "Port "+port, "User "+r.host.User, "BatchMode no",
			"StrictHostKeyChecking "+tc.strict, "UserKnownHostsFile "+file))
		s := r.proxyBy(tc.name, newEcho(t).addr).hello()
		for range 3 {
			before := r.attached()
			r.faults.Reset()
			s.answers(10 * time.Second)
			r.Eventually(5*time.Second, "new link", func() bool { return r.attached() > before })
		}
		text, _ := os.ReadFile(asked)
		if got := strings.Count(string(text), "authenticity"); got > 1 || (got == 1) != (tc.strict == "ask") {
			t.Errorf("%s: asked %q", tc.name, text)
		}
		if text, _ := os.ReadFile(file); file != os.DevNull && strings.Count(string(text), "\n") != 1 {
			t.Errorf("%s: recorded %q, want one line", tc.name, text)
		}
	}
}

// testStatus: what waits for a connection is told to who asks, and afterwards that
// it did.
func testStatus(t *testing.T) {
	r := newResumed(t, "jump")
	s := r.open("it", nil).hello()
	v := viewer{r.Rig, r.bin, r.client}
	v.until(1, "the session", func(s shownSession) bool { return s.State == "connected" && s.Reattaches == 0 && s.RTT > 0 })
	r.faults.Refuse()
	r.faults.Reset()
	address := strings.Split(r.faults.Addr(), ":")[0]
	waiting := v.until(1, "word of it", func(s shownSession) bool { return strings.HasPrefix(s.Error, "connect to host "+address) })[0]
	if waiting.State != "waiting" || waiting.Event != "connection lost" || time.Since(waiting.EventTime) > time.Minute || waiting.RTT != 0 {
		t.Errorf("got %+v, want it to wait", waiting)
	}
	if got := v.status(); !strings.Contains(got, "  waiting for a connection: connect to host "+address) {
		t.Errorf("got %q, want it to wait", got)
	}
	r.fail(r.faults.Admit())
	s.answers(20 * time.Second)
	back := v.until(1, "word of the end", func(s shownSession) bool { return s.State == "connected" })[0]
	if back.Reattaches != 1 || !strings.HasPrefix(back.Event, "reattached after ") || strings.Contains(back.Event, "address") ||
		back.Error != waiting.Error || back.Up == 0 || back.Down == 0 {
		t.Errorf("got %+v, want it reattached once, and why it was not before", back)
	}
	s.end()
	r.Eventually(5*time.Second, "an empty status", func() bool { return v.status() == "" })
}

// testDenied: a login that is denied is not tried again until something happens.
func testDenied(t *testing.T) {
	r := newResumed(t, "jump")
	s := r.open("it", nil).hello()
	keys := filepath.Join(r.host.Dir, "authorized_keys")
	text, err := os.ReadFile(keys)
	r.fail(err)
	r.fail(os.WriteFile(keys, nil, 0o600))
	before := r.faults.Stats().Conns
	r.faults.Reset()
	r.logged(10*time.Second, "Permission denied")
	<-time.After(4 * time.Second)
	if got := r.faults.Stats().Conns - before; got != 1 {
		t.Errorf("%d connections in the 4 s after a denial, want the 1 that was denied", got)
	}
	r.fail(os.WriteFile(keys, text, 0o600))
	r.sleeps(r.proxyPid())
	t.Log("back after", s.answers(10*time.Second))
	s.end()
}

// testDropped: a server that closes before its first word, as sshd does by
// MaxStartups and PerSourcePenalties, is not stormed.
func testDropped(t *testing.T) {
	r := newResumed(t, "jump")
	s := r.open("it", nil).hello()
	came := make(chan time.Time, 1000)
	rude := serveEach(t, func(c io.ReadWriteCloser) { came <- time.Now() })
	r.faults.Redirect(rude)
	r.faults.Reset()
	<-time.After(6 * time.Second)
	r.faults.Redirect(r.host.HostPort())
	var times []time.Time
	for range len(came) {
		times = append(times, <-came)
	}
	if len(times) < 3 || len(times) > 9 {
		t.Errorf("%d connections in 6 s, want 3 at once and then one a second", len(times))
	}
	for i := 4; i < len(times); i++ {
		if window := times[i].Sub(times[i-4]); window < time.Second {
			t.Errorf("5 connections within %v, want 4 within a second at most", window)
		}
	}
	t.Logf("%d connections; back after %v", len(times), s.answers(20*time.Second))
	s.end()
}

// testTargetGone: the target's end is the client's, and no loss.
func testTargetGone(t *testing.T) {
	r := newResumed(t, "jump")
	addr := serveEach(t, func(c io.ReadWriteCloser) {
		io.ReadFull(c, make([]byte, len("hello\n")))
		io.WriteString(c, "hello\n")
	})
	s := r.proxy(addr).hello()
	r.WaitGone(s.cmd.Process.Pid, 5*time.Second)
	if err := s.cmd.Wait(); err != nil || s.said() != "" {
		t.Errorf("got %v, stderr %q, want a silent end", err, s.said())
	}
	s = r.open("it", nil).hello()
	for _, pid := range sshtest.Descendants(r.target.Pid()) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	r.WaitGone(s.cmd.Process.Pid, 5*time.Second)
	s.cmd.Wait()
	if said := s.said(); strings.Contains(said, "ssh-stay") || s.cmd.ProcessState.ExitCode() != exitNoReach {
		t.Errorf("got %q, %v; want ssh's own words", said, s.cmd.ProcessState)
	}
}
