package hop

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ssh-stay/auth"
	"ssh-stay/internal/sshtest"
)

// TestInspect asks a real sshd, by small probes and large ones.
func TestInspect(t *testing.T) {
	r := sshtest.For(t)
	s, c := r.Sshd(sshtest.SshdConfig{}), r.Client()
	if err := c.AddHost("h", s); err != nil {
		t.Fatal(err)
	}
	known, err := auth.ReadKnownHosts([]string{c.KnownHosts})
	if err != nil {
		t.Fatal(err)
	}
	cfg := newConfig(t)
	cfg.HostKeys = &auth.HostKeys{Host: s.Addr, Port: s.Port, Known: known}
	cfg.Login = &auth.Login{User: s.User, IdentityFiles: []string{c.Key.Path}, Publickey: true, Accepted: []string{"ssh-ed25519"}, Log: cfg.Log}
	h, err := Dial(t.Context(), cfg, func(context.Context) (net.Conn, error) { return net.Dial("tcp", s.HostPort()) })
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if algs := h.Algorithms(); !strings.HasPrefix(h.Version(), "SSH-2.0-OpenSSH_") || algs.HostKey != "ssh-ed25519" || algs.KeyExchange == "" {
		t.Errorf("got %q, %+v", h.Version(), algs)
	}
	for _, padding := range []int{0, 4 << 10} {
		if took, err := h.Ping(t.Context(), padding); err != nil || took <= 0 || h.Silence() > time.Minute {
			t.Errorf("padding %d: got %v, %v", padding, took, err)
		}
	}
	h.Close()
	if _, err := h.Ping(t.Context(), 0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: got %v, want net.ErrClosed", err)
	}
}

// TestPingEnds: without an answer it ends with its context, and the hop goes on.
func TestPingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		cfg := newConfig(t)
		cfg.Interval = 0
		h := establish(t, s, cfg)
		s.silent.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		start := time.Now()
		_, err := h.Ping(ctx, 0)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 7*time.Second || h.Silence() != took {
			t.Errorf("got %v after %v, silence %v", err, took, h.Silence())
		}
		if h.Err() != nil {
			t.Errorf("the hop has ended: %v", h.Err())
		}
	})
}
