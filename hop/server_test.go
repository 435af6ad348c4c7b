package hop

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/auth"
)

// newSigner makes a key that is the same for the same seed.
func newSigner(t *testing.T, seed byte) ssh.Signer {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// request is a global request, or one on a session, that a server got.
type request struct {
	kind string
	at   time.Duration // since the server was made
}

// server is one SSH server of x/crypto/ssh at the far end of a pipe.
type server struct {
	config *ssh.ServerConfig
	start  time.Time
	near   *end // ours
	far    *end

	// open answers direct-tcpip channels; nil echoes.
	open func(ssh.NewChannel)
	// refuseSessions refuses session channels.
	refuseSessions bool
	// silent leaves global requests without an answer.
	silent atomic.Bool

	ready chan *ssh.ServerConn // gets the connection once

	mu       sync.Mutex // guards requests
	requests []request
}

// newServer makes a server that lets everyone in, with the host key of seed 1.
func newServer(t *testing.T) *server {
	s := &server{config: &ssh.ServerConfig{NoClientAuth: true}, start: time.Now(), ready: make(chan *ssh.ServerConn, 1)}
	s.config.AddHostKey(newSigner(t, 1))
	s.near, s.far = pipe()
	return s
}

// dial is a DialFunc.
func (s *server) dial(context.Context) (net.Conn, error) {
	go s.serve() // ends when the pipe is closed
	return s.near, nil
}

func (s *server) serve() {
	defer s.far.Close()
	conn, chans, reqs, err := ssh.NewServerConn(s.far, s.config)
	if err != nil {
		return
	}
	s.ready <- conn
	go func() { // ends with the connection
		for r := range reqs {
			s.note(r.Type)
			if r.WantReply && !s.silent.Load() {
				r.Reply(false, nil)
			}
		}
	}()
	for c := range chans {
		switch {
		case c.ChannelType() == "direct-tcpip" && s.open != nil:
			go s.open(c) // ends with the connection
		case c.ChannelType() == "session" && s.refuseSessions:
			s.note("session")
			c.Reject(ssh.ResourceShortage, "no sessions here")
		default:
			go s.echo(c) // ends with the channel
		}
	}
}

func (s *server) echo(c ssh.NewChannel) {
	ch, reqs, err := c.Accept()
	if err != nil {
		return
	}
	go func() { // ends with the channel
		for r := range reqs {
			s.note(r.Type + " " + string(r.Payload[min(4, len(r.Payload)):]))
			if r.WantReply {
				r.Reply(true, nil)
			}
		}
	}()
	io.Copy(ch, ch)
	ch.CloseWrite()
	ch.Close()
}

func (s *server) note(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request{kind, time.Since(s.start)})
}

func (s *server) got() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.requests...)
}

// newConfig is for a host named jump that knows the host key of seed 1.
func newConfig(t *testing.T) *Config {
	t.Helper()
	return &Config{
		Name:     "jump",
		HostKeys: knownKeys(t, "jump", newSigner(t, 1)),
		Login:    &auth.Login{User: "u", Publickey: true, Log: slog.New(slog.DiscardHandler)},
		Interval: 30 * time.Second,
		GiveUp:   5 * time.Minute,
		Log:      slog.New(slog.DiscardHandler),
	}
}

func knownKeys(t *testing.T, host string, keys ...ssh.Signer) *auth.HostKeys {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	var text []byte
	for _, k := range keys {
		text = append(text, host+" "...)
		text = append(text, ssh.MarshalAuthorizedKey(k.PublicKey())...)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	known, err := auth.ReadKnownHosts([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	return &auth.HostKeys{Host: host, Port: 22, Known: known}
}

// establish dials s and closes the hop with the test.
func establish(t *testing.T, s *server, cfg *Config) *Hop {
	t.Helper()
	h, err := Dial(t.Context(), cfg, s.dial)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}
