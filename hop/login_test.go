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
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/auth"
	"ssh-stay/keepalive"
)

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
			func(c *ssh.ClientConfig) []string { return c.HostKeyAlgorithms }, []string{"ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"}, true},
	} {
		tt.cfg.HostKeys, tt.cfg.Login = known, &auth.Login{}
		client, err := tt.cfg.client(t.Context())
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
		_, err := cfg.client(t.Context())
		if e := (*NoAlgorithmError)(nil); !errors.As(err, &e) || e.Keyword != keyword {
			t.Errorf("got %v, want a NoAlgorithmError of %s", err, keyword)
		}
	}
}

// TestLaterLogin: the files are read anew for each login, and all after the first
// hold to its key: they record nothing, and accept no other.
func TestLaterLogin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	cfg := newConfig(t)
	cfg.HostKeys = nil
	cfg.LoadHostKeys = func() (*auth.HostKeys, error) {
		known, err := auth.ReadKnownHosts([]string{file})
		return &auth.HostKeys{Host: "jump", Port: 22, Known: known, Strict: auth.StrictAcceptNew, UserFile: file}, err
	}
	login := func(seed byte) (*Hop, error) {
		s := newServer(t)
		s.config = &ssh.ServerConfig{NoClientAuth: true}
		s.config.AddHostKey(newSigner(t, seed))
		h, err := Dial(t.Context(), cfg, s.dial)
		if err == nil {
			t.Cleanup(func() { h.Close() })
		}
		return h, err
	}
	h, err := login(1)
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := os.ReadFile(file)
	if err != nil || len(recorded) == 0 {
		t.Fatalf("recorded %q, %v, want the key", recorded, err)
	}
	cfg.Pinned = h.HostKey()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		known string
		seed  byte
		want  any // pointer to the error; nil for none
	}{
		{string(recorded), 1, nil},
		{"", 1, nil},
		{"", 2, new(*PinnedKeyError)},
		{"jump " + string(ssh.MarshalAuthorizedKey(newSigner(t, 2).PublicKey())), 2, new(*PinnedKeyError)},
		{"jump " + string(ssh.MarshalAuthorizedKey(newSigner(t, 2).PublicKey())), 1, new(*auth.ChangedHostKeyError)},
		{"@revoked " + string(recorded), 1, new(*auth.RevokedHostKeyError)},
	} {
		write(tt.known)
		_, err := login(tt.seed)
		if tt.want == nil && err != nil || tt.want != nil && !errors.As(err, tt.want) {
			t.Errorf("%q, key %d: got %v, want %T", tt.known, tt.seed, err, tt.want)
		}
		if after, err := os.ReadFile(file); string(after) != tt.known {
			t.Errorf("%q, key %d: known_hosts is %q, %v; want it as it was", tt.known, tt.seed, after, err)
		}
	}
}
