package hop

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/keepalive"
)

func TestHandshakeDeadline(t *testing.T) {
	for _, tt := range []struct{ name, greeting string }{
		{"silent from the start", ""},
		{"silent after its version", "SSH-2.0-OpenSSH_9.2\r\n"},
		{"half a line", "SSH-2.0-Open"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := pipe()
				io.WriteString(far, tt.greeting)
				ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
				defer cancel()
				start := time.Now()
				_, err := Dial(ctx, newConfig(t), func(context.Context) (net.Conn, error) { return near, nil })
				if got := time.Since(start); got != 7*time.Second {
					t.Errorf("got an answer after %v, want 7s", got)
				}
				handshake := (*HandshakeError)(nil)
				if !errors.As(err, &handshake) || handshake.Hop != "jump" || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want a HandshakeError of jump with the context's error", err)
				}
				if !near.out.isClosed() {
					t.Error("the connection below is open, want it closed")
				}
			})
		})
	}
}

func TestNoSSHServer(t *testing.T) {
	for _, greeting := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "", strings.Repeat("x", 5000)} {
		synctest.Test(t, func(t *testing.T) {
			near, far := pipe()
			io.WriteString(far, greeting)
			far.out.set(func() { far.out.closed = true })
			_, err := Dial(t.Context(), newConfig(t), func(context.Context) (net.Conn, error) { return near, nil })
			if handshake := (*HandshakeError)(nil); !errors.As(err, &handshake) {
				t.Errorf("greeting %.20q: got %v, want a HandshakeError", greeting, err)
			}
		})
	}
}

// TestDropped: what an sshd does that has too many, and not what others do.
func TestDropped(t *testing.T) {
	for said, want := range map[string]bool{
		"": true, "Exceeded MaxStartups\r\n": true, "Not allowed at this time\r\n": true,
		"HTTP/1.1 400 Bad Request\r\n": false, "SSH-2.0-x\r\n": false, "welcome\r\nSSH-2.0-x\r\n": false,
		strings.Repeat("a long welcome\r\n", 50) + "SSH-2.0-x\r\n": false,
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := pipe()
			io.WriteString(far, said)
			far.out.set(func() { far.out.closed = true })
			_, err := Dial(t.Context(), newConfig(t), func(context.Context) (net.Conn, error) { return near, nil })
			dropped := (*DroppedError)(nil)
			other := (*NotSSHError)(nil)
			if is := strings.HasPrefix(said, "HTTP"); errors.As(err, &other) != is || is && (other.Said != strings.TrimSpace(said) || !errors.Is(err, io.EOF)) {
				t.Errorf("said %q: got %v, want a NotSSHError: %v", said, err, is)
			}
			if errors.As(err, &dropped) != want {
				t.Errorf("said %q: got %v, want a DroppedError: %v", said, err, want)
			} else if want && dropped.Said != strings.TrimSpace(said) {
				t.Errorf("said %q: got %q", said, dropped.Said)
			}
		})
	}
}

// TestGreetingInPieces: a version that comes byte by byte is one, and ends what is
// kept.
func TestGreetingInPieces(t *testing.T) {
	for said, named := range map[string]bool{
		"SSH-2.0-x": true, "welcome\r\nSSH-2.0-x": true, strings.Repeat("a long welcome\r\n", 50) + "SSH-2.0-x": true,
		"220 SSH-2.0-x\r\n": false, "SSH": false,
	} {
		var g greeting
		for _, b := range []byte(said) {
			g.add([]byte{b})
		}
		other := (*NotSSHError)(nil)
		if err := g.dropped(io.EOF, io.EOF); g.named != named || errors.As(err, &other) == named {
			t.Errorf("%.40q: named %v, %v; want %v", said, g.named, err, named)
		}
	}
}

func TestDialError(t *testing.T) {
	refused := errors.New("refused")
	_, err := Dial(t.Context(), newConfig(t), func(context.Context) (net.Conn, error) { return nil, refused })
	if err != refused {
		t.Errorf("got %v, want dial's own error", err)
	}
}

// An agent may ask its user and so take for ever: ctx ends that wait too.
func TestAgentThatNeverAnswers(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	tired := errors.New("tired of waiting")
	go func() { // ends with the connection that the dial makes
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Read(make([]byte, 100))
		cancel(tired)
		io.Copy(io.Discard, conn)
	}()
	s := newServer(t)
	s.config.NoClientAuth = false
	s.config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, errors.New("no") }
	cfg := newConfig(t)
	cfg.Login.AgentSocket = socket
	if _, err := Dial(ctx, cfg, s.dial); !errors.Is(err, tired) {
		t.Errorf("got %v, want the cause of the context", err)
	}
}

func TestProbes(t *testing.T) {
	for _, tt := range []struct {
		name string
		talk time.Duration // how often the server sends a packet; 0: never
		want []request
	}{
		{"a silent server", 0, []request{{"keepalive@openssh.com", 30 * time.Second}, {"keepalive@openssh.com", 60 * time.Second}}},
		{"a server that talks", 20 * time.Second, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				h := establish(t, s, newConfig(t))
				conn := <-s.ready
				end := time.After(80 * time.Second)
				for tt.talk > 0 && time.Since(s.start) < 80*time.Second {
					time.Sleep(tt.talk)
					conn.SendRequest("hostkeys-00@openssh.com", false, nil)
				}
				<-end
				if got := s.got(); !slices.Equal(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
				if err := h.Err(); err != nil {
					t.Errorf("got the end %v, want a living hop", err)
				}
			})
		})
	}
}

func TestIntervalZeroNeverProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		cfg := newConfig(t)
		cfg.Interval = 0
		h := establish(t, s, cfg)
		time.Sleep(24 * time.Hour)
		if got := s.got(); len(got) > 0 || h.Err() != nil {
			t.Errorf("got requests %v and end %v, want neither", got, h.Err())
		}
	})
}

func TestGiveUp(t *testing.T) {
	for _, tt := range []struct {
		name string
		die  func(*server)
	}{
		{"dead link", func(s *server) { s.near.kill() }},
		{"a server that takes all and answers nothing", func(s *server) { s.silent.Store(true) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				cfg := newConfig(t)
				h := establish(t, s, cfg)
				ch, err := h.Dial(t.Context(), "target", 22)
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				tt.die(s)
				start := time.Now()
				<-h.Done()
				if got := time.Since(start); got != cfg.GiveUp {
					t.Errorf("got the end after %v, want %v", got, cfg.GiveUp)
				}
				lost, silent := (*LostError)(nil), (*keepalive.SilentError)(nil)
				if err := h.Err(); !errors.As(err, &lost) || !errors.As(err, &silent) || silent.For != cfg.GiveUp {
					t.Errorf("got %v, want a LostError with a SilentError for %v", err, cfg.GiveUp)
				}
				if !s.near.out.isClosed() {
					t.Error("the connection below is open, want it closed")
				}
				if _, err := ch.Read(make([]byte, 1)); !errors.As(err, &lost) {
					t.Errorf("Read: got %v, want a LostError", err)
				}
				if _, err := ch.Write([]byte("x")); !errors.As(err, &lost) {
					t.Errorf("Write: got %v, want a LostError", err)
				}
				if _, err := h.Dial(t.Context(), "target", 22); !errors.As(err, &lost) {
					t.Errorf("Dial: got %v, want a LostError", err)
				}
			})
		})
	}
}

func TestLost(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		end        func(*server, *ssh.ServerConn)
	}{
		{"closed", "hop jump lost: closed by the host", func(s *server, _ *ssh.ServerConn) { s.far.Close() }},
		{"cut within a packet", "hop jump lost: closed by the host", func(s *server, _ *ssh.ServerConn) {
			io.WriteString(s.far, "abc")
			s.far.Close()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				h := establish(t, s, newConfig(t))
				ch, err := h.Dial(t.Context(), "target", 22)
				if err != nil {
					t.Fatal(err)
				}
				read := make(chan error, 1)
				go func() { // ends with the hop
					_, err := ch.Read(make([]byte, 1))
					read <- err
				}()
				tt.end(s, <-s.ready)
				lost := (*LostError)(nil)
				if err := <-read; !errors.As(err, &lost) || err.Error() != tt.want {
					t.Errorf("got %v, want %s", err, tt.want)
				}
				<-h.Done()
				if err := h.Err(); !errors.As(err, &lost) {
					t.Errorf("got %v, want a LostError", err)
				}
			})
		})
	}
}

// lazy does not close before it is released.
type lazy struct {
	net.Conn
	release chan struct{}
}

func (c lazy) Close() error {
	<-c.release
	return c.Conn.Close()
}

// However long a broken hop takes to end, its channels do not take it for
// their own peers' EOF. In real time, since x/crypto waits for a mutex here.
func TestLostSlowly(t *testing.T) {
	s := newServer(t)
	release := make(chan struct{})
	h, err := Dial(t.Context(), newConfig(t), func(ctx context.Context) (net.Conn, error) {
		conn, err := s.dial(ctx)
		return lazy{conn, release}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ch, err := h.Dial(t.Context(), "target", 22)
	if err != nil {
		t.Fatal(err)
	}
	s.far.Close()
	time.AfterFunc(10*settle, func() { close(release) })
	if _, err := ch.Read(make([]byte, 1)); !errors.As(err, new(*LostError)) {
		t.Errorf("got %v, want a LostError", err)
	}
}

func TestPeerEOF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := establish(t, newServer(t), newConfig(t))
		ch, err := h.Dial(t.Context(), "target", 22)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(ch, "hello")
		ch.(interface{ CloseWrite() error }).CloseWrite()
		if got, err := io.ReadAll(ch); string(got) != "hello" || err != nil {
			t.Errorf("got %q, %v, want hello and EOF", got, err)
		}
		if _, err := ch.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v, want io.EOF itself", err)
		}
	})
}

func TestClose(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit int // of the link: then its writer blocks, else the channel's
	}{
		{"the channel's window is used up", 0},
		{"the link takes nothing more", 1 << 16},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			blocked := make(chan struct{})
			s.open = func(c ssh.NewChannel) {
				_, reqs, err := c.Accept()
				if err != nil {
					return
				}
				close(blocked) // nobody reads the channel
				ssh.DiscardRequests(reqs)
			}
			h := establish(t, s, newConfig(t))
			ch, err := h.Dial(t.Context(), "target", 22)
			if err != nil {
				t.Fatal(err)
			}
			<-blocked
			s.near.kill()
			if tt.limit > 0 {
				s.near.out.set(func() { s.near.out.dead, s.near.out.limit = false, tt.limit })
			}
			wrote, read := make(chan error, 1), make(chan error, 1)
			started := make(chan struct{})
			go func() { // ends with the hop
				close(started)
				_, err := ch.Write(make([]byte, 8<<20))
				wrote <- err
			}()
			go func() { // likewise
				_, err := ch.Read(make([]byte, 1))
				read <- err
			}()
			<-started
			if err := h.Close(); err != nil {
				t.Errorf("Close: got %v, want nil", err)
			}
			if err := h.Close(); err != nil {
				t.Errorf("Close again: got %v, want nil", err)
			}
			if err := <-wrote; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write: got %v, want net.ErrClosed", err)
			}
			if err := <-read; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read: got %v, want net.ErrClosed", err)
			}
			if err := h.Err(); err != nil {
				t.Errorf("got %v, want no error of an end that was asked for", err)
			}
		})
	}
}

// A probe that can neither be sent nor answered does not hold up Close.
func TestCloseWhileProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		h := establish(t, s, newConfig(t))
		s.near.kill()
		time.Sleep(40 * time.Second) // the probe of 30 s waits
		start := time.Now()
		h.Close()
		if got := time.Since(start); got != 0 {
			t.Errorf("got closed after %v, want at once", got)
		}
	})
}

func TestOpenError(t *testing.T) {
	for _, tt := range []struct {
		reason    ssh.RejectionReason
		forbidden bool
		want      string
	}{
		{ssh.Prohibited, true, `hop jump forbids forwarding to db:5432: "open \x1b[31mfailed"`},
		{ssh.UnknownChannelType, true, `hop jump forbids forwarding to db:5432: "open \x1b[31mfailed"`},
		{ssh.ConnectionFailed, false, `hop jump could not connect to db:5432: "open \x1b[31mfailed"`},
		{ssh.ResourceShortage, false, `hop jump could not connect to db:5432: "open \x1b[31mfailed"`},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			s.open = func(c ssh.NewChannel) { c.Reject(tt.reason, "open \x1b[31mfailed") }
			h := establish(t, s, newConfig(t))
			_, err := h.Dial(t.Context(), "db", 5432)
			refused := (*OpenError)(nil)
			if !errors.As(err, &refused) {
				t.Fatalf("%v: got %v, want an OpenError", tt.reason, err)
			}
			want := OpenError{"jump", "db:5432", tt.forbidden, "open \x1b[31mfailed"}
			if *refused != want {
				t.Errorf("%v: got %+v, want %+v", tt.reason, *refused, want)
			}
			if got := err.Error(); got != tt.want {
				t.Errorf("%v: got %s, want %s", tt.reason, got, tt.want)
			}
			if h.Err() != nil {
				t.Errorf("%v: got the end %v, want a living hop", tt.reason, h.Err())
			}
		})
	}
}

func TestOpenDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.open = func(ssh.NewChannel) {} // never answers
		h := establish(t, s, newConfig(t))
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		start := time.Now()
		_, err := h.Dial(ctx, "target", 22)
		if got := time.Since(start); got != 4*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v after %v, want the context's error after 4s", err, got)
		}
		if _, ok := <-h.Done(); ok || !s.near.out.isClosed() {
			t.Error("the hop lives on, want it closed")
		}
	})
}

// turncoat has another key from the second key exchange on.
type turncoat struct {
	ssh.Signer
	next  ssh.Signer
	signs atomic.Int32
}

func (s *turncoat) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	defer func() { s.Signer = s.next; s.signs.Add(1) }()
	return s.Signer.Sign(r, data)
}
