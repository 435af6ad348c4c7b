package remote

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// piped is a server reached by pipes, under synctest's clock.
type piped struct {
	s     *Server
	ctx   context.Context
	conns sync.WaitGroup
}

func servePipes(t *testing.T, s *Server) (p *piped, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	p = &piped{s: s, ctx: ctx}
	return p, func() { cancel(); p.conns.Wait() }
}

func (p *piped) dial() net.Conn {
	near, far := net.Pipe()
	p.conns.Go(func() { p.s.ServeConn(p.ctx, far) })
	return near
}

func (p *piped) open(t *testing.T) (*Session, net.Conn) {
	t.Helper()
	c := p.dial()
	s, err := Open(t.Context(), c, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func echoes(t *testing.T, s *Session, m string) {
	t.Helper()
	if err := s.Send([]byte(m)); err != nil {
		t.Fatal(err)
	}
	if got := <-s.Recv(); string(got) != m {
		t.Fatalf("got %q, want %q", got, m)
	}
}

func TestGrace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		away  time.Duration
		other time.Duration // another client connects this long after the loss; 0: none does
		known bool
	}{
		{"just within", 3*time.Hour - 1, 0, true},
		{"over", 3*time.Hour + 1, 0, false},
		{"just within the short", time.Hour + 5*time.Minute - 1, time.Hour, true},
		{"over the short", time.Hour + 5*time.Minute + 1, time.Hour, false},
		{"the short is not longer", 3*time.Hour + 1, 3*time.Hour - time.Minute, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, stop := servePipes(t, &Server{})
				defer stop()
				s, c := p.open(t)
				defer s.Close()
				echoes(t, s, "before")
				c.Close()
				<-s.Lost()
				synctest.Wait()
				if tt.other > 0 {
					time.Sleep(tt.other)
					o, _ := p.open(t)
					defer o.Close()
				}
				time.Sleep(tt.away - tt.other)
				err := s.Reconnect(t.Context(), p.dial())
				var refused *RefusedError
				if tt.known {
					if err != nil {
						t.Fatalf("got %v, want a reconnection", err)
					}
					echoes(t, s, "after")
				} else if !errors.Is(err, ErrUnknownToken) || !errors.As(err, &refused) || refused.Reason != seenBefore {
					t.Fatalf("got %v, want %q", err, seenBefore)
				}
			})
		})
	}
}

// An hour of nothing but keepalives leaves the connection up; then all is still delivered.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := servePipes(t, &Server{})
		defer stop()
		s, _ := p.open(t)
		defer s.Close()
		time.Sleep(time.Hour)
		if err := s.Err(); err != nil {
			t.Fatalf("lost: %v", err)
		}
		echoes(t, s, "x")
		time.Sleep(2*time.Second + 1)
		if n := s.Unacked(); n != 0 {
			t.Errorf("%d messages without ack, want 0", n)
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := servePipes(t, &Server{Token: "secret"})
		defer stop()
		var refused *RefusedError
		if _, err := Open(t.Context(), p.dial(), Config{Token: "guess"}); !errors.As(err, &refused) || refused.Reason != authMismatch {
			t.Errorf("wrong token: got %v, want %q", err, authMismatch)
		}
		s, err := Open(t.Context(), p.dial(), Config{Token: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.connect(t.Context(), p.dial(), false); !errors.As(err, &refused) || refused.Reason != duplicateToken {
			t.Errorf("token in use: got %v, want %q", err, duplicateToken)
		}
		echoes(t, s, "unharmed")
		s.Close()
		synctest.Wait()
		other := &Session{cfg: Config{Token: "secret"}, token: newToken(), p: newProtocol(Config{}.clocks())}
		if err := other.Reconnect(t.Context(), p.dial()); !errors.Is(err, ErrUnknownToken) || !errors.As(err, &refused) || refused.Reason != neverSeen {
			t.Errorf("foreign token: got %v, want %q", err, neverSeen)
		}
		other.token = s.token // which left: its state goes at once
		if err := other.Reconnect(t.Context(), p.dial()); !errors.Is(err, ErrUnknownToken) || !errors.As(err, &refused) || refused.Reason != seenBefore {
			t.Errorf("token of one that left: got %v, want %q", err, seenBefore)
		}
	})
}

// A window may come back before the server noticed that it was gone.
func TestReconnectOverLiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := servePipes(t, &Server{})
		defer stop()
		s, _ := p.open(t)
		lost := s.Lost()
		if err := s.Reconnect(t.Context(), p.dial()); err != nil {
			t.Fatal(err)
		}
		<-lost
		time.Sleep(4 * time.Hour) // no grace runs for the connection that was replaced
		echoes(t, s, "x")
		s.Close()
		synctest.Wait()
		p.s.mu.Lock()
		defer p.s.mu.Unlock()
		if n := len(p.s.windows); n != 0 {
			t.Errorf("%d windows after Close, want 0", n)
		}
	})
}

func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := servePipes(t, &Server{})
		defer stop()
		if v, err := Probe(t.Context(), p.dial()); v != "stand-in" || err != nil {
			t.Errorf("got %q, %v", v, err)
		}
		near, far := net.Pipe()
		defer far.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := Probe(ctx, near); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		after(t, start, 3*time.Second)
	})
}
