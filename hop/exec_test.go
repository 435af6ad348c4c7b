//go:build linux

package hop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/internal/sshtest"
)

func dialReal(t *testing.T, lines ...string) (*Hop, *sshtest.Sshd) {
	t.Helper()
	r := sshtest.For(t)
	c := r.Client()
	s := r.Sshd(sshtest.SshdConfig{Lines: lines})
	if err := c.AddHost("jump", s); err != nil {
		t.Fatal(err)
	}
	cfg, dial := realHop(t, s, c)
	h, err := Dial(t.Context(), cfg, dial)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h, s
}

func within10s(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func execute(t *testing.T, h *Hop, command string) *process {
	t.Helper()
	c, err := h.Exec(within10s(t), command)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*process)
}

func TestExec(t *testing.T) {
	sshtest.Leaks(t)
	h, _ := dialReal(t)
	c := execute(t, h, "echo first; cat; echo last; echo aside >&2; sleep 0.1; echo more >&2; exit 3")
	in := bytes.Repeat([]byte("to and fro "), 100_000)
	go func() { // ends with the input, or with the channel
		c.Write(in)
		c.CloseWrite()
	}()
	out, err := io.ReadAll(c)
	if want := "first\n" + string(in) + "last\n"; err != nil || string(out) != want {
		t.Errorf("got %d bytes and %v, want %d and no error", len(out), err, len(want))
	}
	if got := c.Stderr(); got != "aside\nmore\n" {
		t.Errorf("got %q on stderr, want both lines", got)
	}
	c.Close()
}

// A command that says 4 MiB on stderr, more than any window, ends all the same.
func TestExecStderrNeverBlocks(t *testing.T) {
	sshtest.Leaks(t)
	h, _ := dialReal(t)
	within(t, "a command that floods stderr", func() {
		c := execute(t, h, "head -c 4194304 /dev/zero >&2; echo done")
		if out, err := io.ReadAll(c); string(out) != "done\n" || err != nil {
			t.Errorf("got %q, %v; want done", out, err)
		}
		if got := c.Stderr(); got != strings.Repeat("\x00", maxStderr) {
			t.Errorf("got %d bytes of stderr, want the first %d", len(got), maxStderr)
		}
	})
}

func TestExecHopLost(t *testing.T) {
	h, s := dialReal(t)
	c := execute(t, h, "cat")
	s.Close()
	_, err := c.Read(make([]byte, 1))
	if lost := (*LostError)(nil); !errors.As(err, &lost) {
		t.Errorf("read: got %v, want a LostError", err)
	}
	_, err = h.Exec(within10s(t), "cat")
	if lost := (*LostError)(nil); !errors.As(err, &lost) {
		t.Errorf("exec: got %v, want a LostError", err)
	}
	h.Close()
}

func TestExecRefused(t *testing.T) {
	want := func(t *testing.T, h *Hop, message string) {
		t.Helper()
		_, err := h.Exec(within10s(t), "cat")
		if refused := (*ExecRefusedError)(nil); !errors.As(err, &refused) || refused.Hop != "jump" || refused.Message != message {
			t.Errorf("got %v, want an ExecRefusedError of jump with %q", err, message)
		}
		select {
		case <-h.Done():
			t.Error("the hop has ended, want it to go on")
		default:
		}
	}
	t.Run("the session", func(t *testing.T) {
		s := newServer(t)
		s.refuseSessions = true
		want(t, establish(t, s, newConfig(t)), "no sessions here")
	})
	t.Run("the command", func(t *testing.T) {
		config := &ssh.ServerConfig{NoClientAuth: true}
		config.AddHostKey(newSigner(t, 1))
		s := sshtest.For(t).Server(config)
		h, err := Dial(t.Context(), newConfig(t), func(context.Context) (net.Conn, error) { return net.Dial("tcp", s.HostPort()) })
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		want(t, h, "")
	})
	t.Run("no sessions at sshd", func(t *testing.T) {
		h, _ := dialReal(t, "MaxSessions 0")
		want(t, h, "open failed")
	})
}

// The context of one command ends that alone: others may go on.
func TestExecContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		h := establish(t, s, newConfig(t))
		s.near.out.set(func() { s.near.out.dead = true })
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		start := time.Now()
		_, err := h.Exec(ctx, "cat")
		if got := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || got != 7*time.Second {
			t.Errorf("got %v after %v, want the context's error after 7s", err, got)
		}
		if h.Err() != nil {
			t.Errorf("got %v, want a hop that goes on", h.Err())
		}
	})
}

func TestPinned(t *testing.T) {
	other := newSigner(t, 2).PublicKey()
	for _, tt := range []struct {
		name   string
		pinned ssh.PublicKey
		ok     bool
	}{
		{"nothing", nil, true},
		{"the host's key", newSigner(t, 1).PublicKey(), true},
		{"another one", other, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			logins := 0
			s.config.AuthLogCallback = func(ssh.ConnMetadata, string, error) { logins++ }
			cfg := newConfig(t)
			cfg.Pinned = tt.pinned
			h, err := Dial(t.Context(), cfg, s.dial)
			if tt.ok {
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				if got, want := ssh.FingerprintSHA256(h.HostKey()), ssh.FingerprintSHA256(newSigner(t, 1).PublicKey()); got != want {
					t.Errorf("got host key %s, want %s", got, want)
				}
				return
			}
			pinned := (*PinnedKeyError)(nil)
			if !errors.As(err, &pinned) || pinned.Hop != "jump" || pinned.Want != ssh.FingerprintSHA256(other) {
				t.Errorf("got %v, want a PinnedKeyError of jump for the other key", err)
			}
			if logins > 0 {
				t.Errorf("got %d tries to log in, want none", logins)
			}
		})
	}
}

// A host key that was pinned before known_hosts learned of others is asked for
// again.
func TestPinnedAmongSeveral(t *testing.T) {
	r := sshtest.For(t)
	c := r.Client()
	s := r.Sshd(sshtest.SshdConfig{HostKeys: []string{"ed25519", "ecdsa", "rsa"}})
	if err := c.AddHost("jump", s); err != nil {
		t.Fatal(err)
	}
	for _, key := range s.HostKeys {
		cfg, dial := realHop(t, s, c)
		cfg.Pinned = key
		h, err := Dial(t.Context(), cfg, dial)
		if err != nil {
			t.Errorf("%s: %v", key.Type(), err)
			continue
		}
		if h.HostKey().Type() != key.Type() {
			t.Errorf("got a key of type %s, want %s", h.HostKey().Type(), key.Type())
		}
		h.Close()
	}
}

func TestHostKeyOfACertificate(t *testing.T) {
	key := newSigner(t, 1).PublicKey()
	for _, shown := range []ssh.PublicKey{key, &ssh.Certificate{Key: key}} {
		if got := plainKey(shown); !bytes.Equal(got.Marshal(), key.Marshal()) {
			t.Errorf("%T: got a %s key, want the certified one", shown, got.Type())
		}
	}
}

// TestChannelClosed: a write says that it is the channel that has ended, and that
// its host did it.
func TestChannelClosed(t *testing.T) {
	h, _ := dialReal(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with the test's one connection
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	n, _ := strconv.Atoi(port)
	c, err := h.Dial(t.Context(), host, n)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read: got %v, want EOF", err)
	}
	for end := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
		_, err = c.Write([]byte("x"))
	}
	if err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("write: got %v, want that the channel is closed", err)
	}
}
