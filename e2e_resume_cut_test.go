//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// TestResumeBytes: both ways at once, whole and once, while the way is cut,
// frozen and refused again and again.
func TestResumeBytes(t *testing.T) {
	modes := []string{"jump"}
	if soak {
		modes = []string{"jump", "target"}
	}
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) { testResumeBytes(t, mode) })
	}
}

func testResumeBytes(t *testing.T, mode string) {
	const size = 256 << 20
	const cuts = 50
	r := newResumed(t, mode, "StayInterval 1")
	want := hashOf(noise(size))
	down := filepath.Join(r.client.Dir, "noise")
	f, err := os.Create(down)
	r.fail(err)
	io.Copy(f, noise(size))
	f.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	up := down + ".sum"
	cmd := r.client.Command(ctx, "it", fmt.Sprintf("echo go; cat %s & sha256sum > %s; wait", down, up))
	in, err := cmd.StdinPipe()
	r.fail(err)
	out, err := cmd.StdoutPipe()
	r.fail(err)
	var errs strings.Builder
	cmd.Stderr = &errs
	r.fail(cmd.Start())
	if _, err := io.ReadFull(out, make([]byte, len("go\n"))); err != nil {
		t.Fatalf("no session: %v, stderr %q", err, errs.String())
	}
	start := time.Now()
	sent := make(chan error, 1)
	go func() { // ends when all is written, or with ssh
		_, err := io.Copy(in, noise(size))
		in.Close()
		sent <- err
	}()
	got := make(chan string, 1)
	go func() { got <- hashOf(out) }() // ends with ssh
	stop := make(chan struct{})
	broken := make(chan struct{})
	go func() { // ends with stop
		defer close(broken)
		r.misbehave(2*size/(cuts*14/10), stop)
	}()
	hash := <-got
	close(stop)
	<-broken
	if err := <-sent; err != nil {
		t.Errorf("write to ssh: %v", err)
	}
	if err := cmd.Wait(); err != nil || errs.Len() > 0 {
		t.Errorf("ssh: %v, stderr %q, want silence", err, errs.String())
	}
	if hash != want {
		t.Errorf("down: got %s, want %s", hash, want)
	}
	if text, _ := os.ReadFile(up); !strings.HasPrefix(string(text), want) {
		t.Errorf("up: got %.64q, want %s", text, want)
	}
	stats := r.faults.Stats()
	t.Logf("%v; %+v; attached %d times", time.Since(start).Round(time.Millisecond), stats, r.attached())
	if n := stats.Reset + stats.Closed; n < cuts || r.attached() < cuts || stats.Withheld == 0 {
		t.Errorf("%d cuts, attached %d times, %d withheld; want %d cuts and some withheld", n, r.attached(), stats.Withheld, cuts)
	}
	if !strings.Contains(r.text(), "refused") {
		t.Error("no connection was refused: nothing is tested")
	}
	if got := r.inner(); got != 1 {
		t.Errorf("ssh logged in %d times, want once", got)
	}
}

// misbehave breaks the way whenever about that many bytes have come by.
func (r *resumed) misbehave(every int64, stop <-chan struct{}) {
	next := r.faults.Stats().ToServer + r.faults.Stats().ToClient
	for i := 0; ; i++ {
		for r.faults.Stats().ToServer+r.faults.Stats().ToClient < next {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
		next = r.faults.Stats().ToServer + r.faults.Stats().ToClient + every/2 + rand.N(every)
		switch {
		case i%10 == 3:
			r.faults.Freeze([]sshtest.Direction{sshtest.ToServer, sshtest.ToClient, sshtest.Both}[rand.N(3)])
			<-time.After(rand.N(500 * time.Millisecond))
			if i%20 == 3 {
				r.faults.Reset()
			}
			r.faults.Thaw()
		case i%10 == 7:
			r.faults.Refuse()
			r.faults.Reset()
			<-time.After(50*time.Millisecond + rand.N(300*time.Millisecond))
			if err := r.faults.Admit(); err != nil {
				r.Error(err)
				return
			}
		case i%2 == 0:
			r.faults.Reset()
		default:
			r.faults.CloseAll()
		}
	}
}

// TestResumeTime logs how long a session takes to answer again after a cut, and
// after a time of refused connections has ended.
func TestResumeTime(t *testing.T) {
	t.Parallel()
	const cuts = 100
	r := newResumed(t, "target")
	s := r.open("it", nil).hello()
	var took []time.Duration
	for i := range cuts {
		switch i % 4 {
		case 0, 1:
			r.faults.Reset()
		case 2:
			r.faults.CloseAll()
		case 3:
			r.faults.Refuse()
			r.faults.Reset()
			<-time.After(rand.N(100 * time.Millisecond))
			r.fail(r.faults.Admit())
		}
		took = append(took, s.answers(10*time.Second))
	}
	s.end()
	stats := r.faults.Stats()
	if n := stats.Reset + stats.Closed; n < cuts || r.attached() != cuts || r.outer() < cuts {
		t.Errorf("%d cuts, attached %d times, %d logins; want %d of each", n, r.attached(), r.outer(), cuts)
	}
	if got := r.inner(); got != 1 {
		t.Errorf("ssh logged in %d times, want once", got)
	}
	slices.Sort(took)
	t.Logf("back after: median %v, p99 %v, most %v", took[cuts/2], took[cuts-2], took[cuts-1])
}

// TestResumeWaits is all that mostly waits, at once.
func TestResumeWaits(t *testing.T) {
	t.Parallel()
	together(t, map[string]func(t *testing.T){"outages": testOutages, "ends": testEnds, "fallBack": testFallBacks})
}

// testOutages: what lasts.
func testOutages(t *testing.T) {
	together(t, map[string]func(t *testing.T){
		"frozen":     testFrozen,
		"half":       testHalfFrozen,
		"refused":    testRefused,
		"stopped":    testStopped,
		"restarted":  testRestarted,
		"newAddress": testAddressChange,
		"firewall":   testForgotten,
		"slowReader": testSlowReader,
	})
}

func testFrozen(t *testing.T) {
	r := newResumed(t, "jump", "StayInterval 1")
	s := r.open("it", nil).hello()
	outage := 12 * time.Second
	if soak {
		outage = 10 * time.Minute
	}
	r.faults.Freeze(sshtest.Both)
	r.logged(10*time.Second, "link lost")
	<-time.After(outage)
	if err := s.ask("typed meanwhile", 100*time.Millisecond); err == nil {
		t.Error("an answer came through: nothing is tested")
	}
	r.faults.Thaw()
	start := time.Now()
	s.out.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(s.out, make([]byte, len("typed meanwhile\n"))); err != nil {
		t.Fatalf("%v, want what was typed; stderr %q", err, s.said())
	}
	t.Logf("back %v after a freeze of %v", time.Since(start), outage)
	s.end()
	if r.faults.Stats().Withheld == 0 || r.attached() == 0 || r.inner() != 1 {
		t.Errorf("%+v, attached %d times, %d inner logins", r.faults.Stats(), r.attached(), r.inner())
	}
}

// testHalfFrozen: one way is gone, the other is not, and neither says so.
func testHalfFrozen(t *testing.T) {
	r := newResumed(t, "target", "StayInterval 1")
	s := r.open("it", nil).hello()
	for _, d := range []sshtest.Direction{sshtest.ToClient, sshtest.ToServer} {
		r.faults.Freeze(d)
		before := strings.Count(r.text(), "link lost")
		r.Eventually(10*time.Second, "loss", func() bool { return strings.Count(r.text(), "link lost") > before })
		r.faults.Thaw()
		t.Log("back after", s.answers(20*time.Second))
	}
	s.end()
}

// testRefused: nobody listens for a while.
func testRefused(t *testing.T) {
	r := newResumed(t, "jump", "StayInterval 1")
	s := r.open("it", nil).hello()
	r.faults.Refuse()
	r.faults.Reset()
	<-time.After(5 * time.Second)
	r.logged(5*time.Second, "refused")
	r.fail(r.faults.Admit())
	t.Log("back after", s.answers(20*time.Second))
	s.end()
}

// testStopped: the client stands still as in a sleep, and the way has forgotten
// it when it goes on.
func testStopped(t *testing.T) {
	r := newResumed(t, "jump")
	s := r.open("it", nil).hello()
	sleep := 8 * time.Second
	if soak {
		sleep = time.Minute
	}
	pid := r.proxyPid()
	r.fail(syscall.Kill(pid, syscall.SIGSTOP))
	r.faults.Forget()
	<-time.After(sleep)
	r.fail(syscall.Kill(pid, syscall.SIGCONT))
	t.Log("back after", s.answers(5*time.Second)) // 7 s without word of the sleep
	if r.attached() == 0 || r.faults.Stats().Forgot == 0 {
		t.Errorf("attached %d times, %+v", r.attached(), r.faults.Stats())
	}
	s.end()
}

// testRestarted: every process of the jump host's sshd is killed. The relay is
// none of them: it has its own session, and stays.
func testRestarted(t *testing.T) {
	r := newResumed(t, "jump")
	s := r.open("it", nil).hello()
	relay, old := r.relayPid(), r.host.Pid()
	for range 3 {
		r.fail(r.host.Restart())
		t.Log("back after", s.answers(20*time.Second))
		if r.outer() == 0 {
			t.Error("nobody logged in again")
		}
	}
	if r.host.Pid() == old || r.relayPid() != relay {
		t.Errorf("sshd is %d, was %d; relay is %d, was %d", r.host.Pid(), old, r.relayPid(), relay)
	}
	s.end()
	if got := r.inner(); got != 1 {
		t.Errorf("ssh logged in %d times, want once", got)
	}
}

// testSlowReader: what nobody reads fills bounded buffers, and nothing else.
func testSlowReader(t *testing.T) {
	r := newResumed(t, "jump")
	endless := serveEach(t, func(c io.ReadWriteCloser) { io.Copy(c, noise(1<<40)) })
	s := r.proxy(endless)
	pid, out := s.cmd.Process.Pid, s.out
	if _, err := io.ReadFull(out, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	r.Eventually(20*time.Second, "full buffers", steady(pid))
	proxy, relay := memoryOf(t, pid), memoryOf(t, r.relayPid())
	t.Logf("anonymous memory while the reader stalls: proxy %d KiB, relay %d KiB", proxy, relay)
	if limit := 48 << 10; proxy > limit || relay > limit {
		t.Errorf("proxy has %d KiB, relay %d KiB, want less than %d", proxy, relay, limit)
	}
	before := cpuTicks(pid) + cpuTicks(r.relayPid())
	<-time.After(time.Second)
	if used := cpuTicks(pid) + cpuTicks(r.relayPid()) - before; used > 10 {
		t.Errorf("%d of 100 clock ticks used while the reader stalls", used)
	}
	// The other end writes into a session that takes nothing.
	r.faults.Reset()
	r.Eventually(10*time.Second, "new link", func() bool { return r.attached() > 0 })
	want := make([]byte, 64<<20)
	io.ReadFull(noise(int64(len(want))), want)
	got := make([]byte, len(want))
	copy(got, want[:1<<20])
	if _, err := io.ReadFull(out, got[1<<20:]); err != nil || !slices.Equal(got, want) {
		t.Errorf("what comes after the stall differs, or %v", err)
	}
	if again := memoryOf(t, pid); again > 64<<10 {
		t.Errorf("proxy has %d KiB after it", again)
	}
}

// memoryOf is a process's anonymous memory in KiB.
func memoryOf(t *testing.T, pid int) (kib int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "RssAnon:")
	fmt.Sscan(after, &kib)
	return kib
}
