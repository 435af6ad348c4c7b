package remote

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// startReal starts the server in the folder VSCODE_SERVER, and returns its process and address.
func startReal(t *testing.T, token string) (*exec.Cmd, string) {
	t.Helper()
	dir := os.Getenv("VSCODE_SERVER")
	if dir == "" {
		t.Skip("VSCODE_SERVER names no server; see make vscode")
	}
	args := RealServer(dir, t.TempDir(), token)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	drained := make(chan struct{})
	t.Cleanup(func() {
		timer.Stop()
		cmd.Process.Kill()
		<-drained
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, port, ok := strings.Cut(lines.Text(), "Extension host agent listening on "); ok {
			timer.Stop()
			go func() { // ends with the process
				defer close(drained)
				for lines.Scan() {
				}
			}()
			return cmd, "127.0.0.1:" + port
		}
	}
	close(drained)
	t.Fatal("the VS Code server ended before it listened, or did not in 30 s")
	return nil, ""
}

// realDial returns connections that are cut after left bytes.
func realDial(t *testing.T, addr string, left int64, cuts *atomic.Int64) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	cut := &cutConn{Conn: c, cuts: cuts}
	cut.left.Store(left)
	return cut
}

func realAnswer(t *testing.T, s *Session) Answer {
	t.Helper()
	select {
	case m := <-s.Recv():
		a, err := ParseAnswer(m)
		if err != nil {
			t.Fatal(err)
		}
		return a
	case <-time.After(20 * time.Second):
		t.Fatalf("no answer; connection: %v", s.Err())
		return Answer{}
	}
}

// TestRealServer holds a session with the real VS Code server: half a minute of keepalives, a cut,
// calls made meanwhile, and its refusals. The process that answers is known by its pid.
func TestRealServer(t *testing.T) {
	cmd, addr := startReal(t, "secret")
	dial := func() net.Conn { return realDial(t, addr, 1<<40, new(atomic.Int64)) }
	if v, err := Probe(t.Context(), dial()); err != nil || len(v) != 40 {
		t.Errorf("probe: got %q, %v, want a commit", v, err)
	}
	var refused *RefusedError
	if _, err := Open(t.Context(), dial(), Config{Token: "guess"}); !errors.As(err, &refused) || refused.Reason != authMismatch {
		t.Errorf("wrong token: got %v, want %q", err, authMismatch)
	}

	first := dial()
	// 8 s of silence would end it: it lives by the server's keepalives, each 5 s.
	s, err := Open(t.Context(), first, Config{Token: "secret", Timeout: 8 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s.Send(Hello())
	if a := realAnswer(t, s); a != (Answer{}) {
		t.Errorf("hello: got %+v", a)
	}
	s.Send(EnvironmentCall(1))
	want := Answer{ID: 1, PID: cmd.Process.Pid}
	if a := realAnswer(t, s); a != want {
		t.Errorf("got %+v, want %+v", a, want)
	}
	select {
	case <-s.Lost():
		t.Fatalf("lost within 30 s of nothing but keepalives: %v", s.Err())
	case <-time.After(30 * time.Second):
	}
	if n := s.Unacked(); n != 0 {
		t.Errorf("%d messages without ack after 30 s", n)
	}

	first.Close()
	<-s.Lost()
	s.Send(EnvironmentCall(2))
	if err := s.Reconnect(t.Context(), dial()); err != nil {
		t.Fatalf("reconnect: %v", err)
	}
	want.ID = 2
	if a := realAnswer(t, s); a != want {
		t.Errorf("got %+v, want %+v", a, want)
	}

	if err := s.connect(t.Context(), dial(), false); !errors.As(err, &refused) || refused.Reason != duplicateToken {
		t.Errorf("token in use: got %v, want %q", err, duplicateToken)
	}
	other := &Session{cfg: s.cfg, token: newToken(), p: newProtocol(s.cfg.clocks())}
	if err := other.Reconnect(t.Context(), dial()); !errors.Is(err, ErrUnknownToken) || !errors.As(err, &refused) || refused.Reason != neverSeen {
		t.Errorf("foreign token: got %v, want %q", err, neverSeen)
	}
	s.Close()
	other.token = s.token
	if err := other.Reconnect(t.Context(), dial()); !errors.Is(err, ErrUnknownToken) || !errors.As(err, &refused) || refused.Reason != seenBefore {
		t.Errorf("token of one that left: got %v, want %q", err, seenBefore)
	}
}

// TestRealServerCuts makes calls to the real server over connections that are cut at random bytes:
// each is answered once.
func TestRealServerCuts(t *testing.T) {
	cmd, addr := startReal(t, "")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var cuts atomic.Int64
	s, err := Open(t.Context(), realDial(t, addr, 10000, &cuts), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Send(Hello())
	const calls = 300
	for id := 1; id <= calls; id++ {
		s.Send(EnvironmentCall(id))
	}
	answered := map[int]int{}
	for got := 0; got <= calls; {
		select {
		case m := <-s.Recv():
			a, err := ParseAnswer(m)
			if err != nil {
				t.Fatal(err)
			}
			if a.ID != 0 && a.PID != cmd.Process.Pid {
				t.Fatalf("got %+v, want process %d", a, cmd.Process.Pid)
			}
			answered[a.ID]++
			got++
		case <-s.Lost():
			// Some die in the handshake, others late.
			if err := s.Reconnect(t.Context(), realDial(t, addr, rnd.Int64N(120000), &cuts)); errors.Is(err, ErrUnknownToken) {
				t.Fatal(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("stuck after %d answers and %d cuts: %v", got, cuts.Load(), s.Err())
		}
	}
	for id := 0; id <= calls; id++ {
		if answered[id] != 1 {
			t.Errorf("call %d: %d answers, want 1", id, answered[id])
		}
	}
	if cuts.Load() < 5 {
		t.Errorf("%d cuts, want at least 5", cuts.Load())
	}
	t.Logf("%d calls over %d cuts", calls, cuts.Load())
}
