package hop

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/auth"
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

func TestHostKeyPinnedAtRekey(t *testing.T) {
	for _, tt := range []struct {
		name   string
		second byte // seed of the key of the second key exchange
		lost   bool
	}{
		{"the same key", 1, false},
		{"another key that known_hosts has too", 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				s.config = &ssh.ServerConfig{NoClientAuth: true}
				key := &turncoat{Signer: newSigner(t, 1), next: newSigner(t, tt.second)}
				s.config.AddHostKey(key)
				cfg := newConfig(t)
				cfg.HostKeys = knownKeys(t, "jump", newSigner(t, 1), newSigner(t, 2))
				cfg.RekeyBytes = 4096
				h := establish(t, s, cfg)
				ch, err := h.Dial(t.Context(), "target", 22)
				if err != nil {
					t.Fatal(err)
				}
				go func() { // ends with the hop, or when all is sent
					ch.Write(make([]byte, 1<<16))
					ch.(interface{ CloseWrite() error }).CloseWrite()
				}()
				n, err := io.Copy(io.Discard, ch)
				if lost := (*LostError)(nil); errors.As(err, &lost) != tt.lost {
					t.Errorf("got %v after %d bytes, want lost: %v", err, n, tt.lost)
				} else if tt.lost && !strings.Contains(err.Error(), "host key changed within the connection") {
					t.Errorf("got %v, want it to tell of the host key", err)
				}
				if !tt.lost && n != 1<<16 {
					t.Errorf("got %d bytes back, want %d", n, 1<<16)
				}
				if key.signs.Load() < 2 {
					t.Errorf("got %d key exchanges, want two at least", key.signs.Load())
				}
			})
		})
	}
}

func TestNoOpSession(t *testing.T) {
	noOp := []request{{"exec exit 0", 0}}
	for _, tt := range []struct {
		version string
		refuse  bool
		want    []request
	}{
		{"SSH-2.0-OpenSSH_9.2", false, noOp},
		{"SSH-2.0-OpenSSH_10.0p2", false, noOp},
		{"SSH-2.0-OpenSSH_for_Windows_9.5", false, noOp},
		{"SSH-2.0-OpenSSH_9.2", true, []request{{"session", 0}}},
		{"SSH-2.0-OpenSSH_10.1", false, nil},
		{"SSH-2.0-OpenSSH_10.6", false, nil},
		{"SSH-2.0-OpenSSH_11.0", false, nil},
		{"SSH-2.0-dropbear_2022.83", false, nil},
		{"SSH-2.0-OpenSSH_", false, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			s.config.ServerVersion = tt.version
			s.refuseSessions = tt.refuse
			h := establish(t, s, newConfig(t))
			for range 3 {
				ch, err := h.Dial(t.Context(), "target", 22)
				if err != nil {
					t.Fatalf("%s: %v", tt.version, err)
				}
				ch.Close()
			}
			synctest.Wait()
			if got := s.got(); !slices.Equal(got, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.version, got, tt.want)
			}
		})
	}
}

// Dial does not wait for the no-op session.
func TestNoOpSessionUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pipe()
		config := newServer(t).config
		config.ServerVersion = "SSH-2.0-OpenSSH_9.2"
		asked := make(chan struct{}, 1)
		go func() { // ends with the connection
			_, chans, reqs, err := ssh.NewServerConn(far, config)
			if err != nil {
				return
			}
			go ssh.DiscardRequests(reqs) // likewise
			for c := range chans {
				if c.ChannelType() == "session" {
					asked <- struct{}{}
					continue // and no answer ever
				}
				c.Accept()
			}
			far.Close()
		}()
		h, err := Dial(t.Context(), newConfig(t), func(context.Context) (net.Conn, error) { return near, nil })
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if _, err := h.Dial(t.Context(), "target", 22); err != nil {
			t.Errorf("got %v, want a connection", err)
		}
		<-asked
	})
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(*testing.T, *server, *Config)
		as    any // pointer to the error wanted within the HandshakeError
	}{
		{"unknown host key", func(t *testing.T, _ *server, c *Config) {
			c.HostKeys = knownKeys(t, "other", newSigner(t, 1))
			c.HostKeys.Host = "jump"
		}, new(*auth.UnknownHostError)},
		{"changed host key", func(t *testing.T, _ *server, c *Config) {
			c.HostKeys = knownKeys(t, "jump", newSigner(t, 2))
		}, new(*auth.ChangedHostKeyError)},
		{"denied login", func(_ *testing.T, s *server, _ *Config) {
			s.config.NoClientAuth = false
			s.config.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, errors.New("no") }
		}, new(*auth.DeniedError)},
		{"algorithm list of which nothing is left", func(_ *testing.T, _ *server, c *Config) {
			c.Ciphers = []string{"rot13"}
		}, new(*NoAlgorithmError)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, cfg := newServer(t), newConfig(t)
				tt.setup(t, s, cfg)
				_, err := Dial(t.Context(), cfg, s.dial)
				if handshake := (*HandshakeError)(nil); !errors.As(err, &handshake) || !errors.As(err, tt.as) {
					t.Errorf("got %T %v, want a HandshakeError with a %T", err, err, tt.as)
				}
				if strings.Contains(err.Error(), "handshake failed") {
					t.Errorf("got %v, want our own words alone", err)
				}
				if !s.near.out.isClosed() {
					t.Error("the connection below is open, want it closed")
				}
			})
		})
	}
}

func TestLogin(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s, cfg := newServer(t), newConfig(t)
		user := ""
		s.config.NoClientAuth = false
		s.config.PublicKeyCallback = func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			user = c.User()
			return nil, nil
		}
		cfg.Login = &auth.Login{User: "me", Publickey: true, IdentityFiles: []string{file},
			Accepted: []string{"ssh-ed25519"}, Log: slog.New(slog.DiscardHandler)}
		establish(t, s, cfg)
		if user != "me" {
			t.Errorf("got user %q, want me", user)
		}
	})
}

// held is a channel whose sshd does not answer its Close, as when it holds
// data for a host that is dead.
type held struct{ ssh.Channel }

func (held) Close() error { return nil }

// A hop over a hop ends in time although the hop below is well and holds its
// channel open.
func TestGiveUpOverAHop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newServer(t), newServer(t)
		first.open = func(c ssh.NewChannel) {
			ch, reqs, err := c.Accept()
			if err != nil {
				return
			}
			go ssh.DiscardRequests(reqs) // ends with the channel
			go io.Copy(second.near, ch)  // ends when second's link is dead and full
			io.Copy(ch, second.near)
		}
		defer second.near.Close()
		go second.serve() // ends with the pipe
		h1 := establish(t, first, newConfig(t))
		cfg := newConfig(t)
		cfg.Name, cfg.GiveUp = "inner", 2*time.Minute
		h2, err := Dial(t.Context(), cfg, func(ctx context.Context) (net.Conn, error) {
			conn, err := h1.Dial(ctx, "inner", 22)
			if err == nil {
				ch := conn.(*channel)
				ch.Channel = held{ch.Channel}
			}
			return conn, err
		})
		if err != nil {
			t.Fatal(err)
		}
		ch, err := h2.Dial(t.Context(), "target", 22)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(ch, "hello")
		if _, err := io.ReadFull(ch, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		second.near.out.set(func() { second.near.out.limit = 1 }) // takes no more
		second.near.in.set(func() { second.near.in.dead = true })
		start := time.Now()
		read := make(chan error, 1)
		go func() { // ends with h2
			_, err := ch.Read(make([]byte, 1))
			read <- err
		}()
		go ch.Write(make([]byte, 8<<20)) // more than all windows; ends with h2
		silent := (*keepalive.SilentError)(nil)
		if err := <-read; !errors.As(err, &silent) || time.Since(start) != cfg.GiveUp {
			t.Errorf("got %v after %v, want a SilentError after %v", err, time.Since(start), cfg.GiveUp)
		}
		<-h1.Done() // it ends with what ran over it
		h2.Close()
	})
}

func TestAlgorithms(t *testing.T) {
	known := knownKeys(t, "jump", newSigner(t, 1)) // ed25519
	for _, tt := range []struct {
		name   string
		cfg    Config
		pick   func(*ssh.ClientConfig) []string
		want   []string
		prefix bool // want is only the beginning
	}{
		{"default ciphers", Config{}, func(c *ssh.ClientConfig) []string { return c.Ciphers }, []string{"aes128-gcm@openssh.com"}, true},
		{"own ciphers", Config{Ciphers: []string{"rot13", "aes256-ctr", "aes128-cbc"}},
			func(c *ssh.ClientConfig) []string { return c.Ciphers }, []string{"aes256-ctr", "aes128-cbc"}, false},
		{"own key exchanges", Config{KexAlgorithms: []string{"curve25519-sha256", "x"}},
			func(c *ssh.ClientConfig) []string { return c.KeyExchanges }, []string{"curve25519-sha256"}, false},
		{"own MACs", Config{MACs: []string{"umac-64@openssh.com", "hmac-sha2-256"}},
			func(c *ssh.ClientConfig) []string { return c.MACs }, []string{"hmac-sha2-256"}, false},
		{"known kind of host key first", Config{HostKeyAlgorithms: []string{"ecdsa-sha2-nistp256", "rsa-sha2-512", "ssh-ed25519"}},
			func(c *ssh.ClientConfig) []string { return c.HostKeyAlgorithms }, []string{"ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"}, false},
		{"the user's order of host keys", Config{KeepHostKeyOrder: true, HostKeyAlgorithms: []string{"rsa-sha2-512", "ssh-ed25519"}},
			func(c *ssh.ClientConfig) []string { return c.HostKeyAlgorithms }, []string{"rsa-sha2-512", "ssh-ed25519"}, false},
		{"default host keys", Config{},
			func(c *ssh.ClientConfig) []string { return c.HostKeyAlgorithms }, []string{"ssh-ed25519"}, true},
	} {
		tt.cfg.HostKeys, tt.cfg.Login = known, &auth.Login{}
		client, err := tt.cfg.client()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got := tt.pick(client)
		if tt.prefix {
			got = got[:min(len(got), len(tt.want))]
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestNoAlgorithm(t *testing.T) {
	none := []string{"rot13"}
	for keyword, cfg := range map[string]Config{
		"Ciphers":           {Ciphers: none},
		"KexAlgorithms":     {KexAlgorithms: none},
		"MACs":              {MACs: []string{}},
		"HostKeyAlgorithms": {HostKeyAlgorithms: none},
	} {
		cfg.HostKeys, cfg.Login = knownKeys(t, "jump"), &auth.Login{}
		_, err := cfg.client()
		if e := (*NoAlgorithmError)(nil); !errors.As(err, &e) || e.Keyword != keyword {
			t.Errorf("got %v, want a NoAlgorithmError of %s", err, keyword)
		}
	}
}
