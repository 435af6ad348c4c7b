// Package remote speaks the wire protocol between a VS Code window and its server, on both sides:
// an HTTP upgrade, a handshake in JSON, then numbered frames that outlive their connections.
// It knows nothing of ssh: whoever opens connections hands them in.
//
// The facts are from VS Code's own sources at 1.100 (ipc.net.ts, remoteExtensionHostAgentServer.ts,
// remoteExtensionManagement.ts), and the silence rule from 1.120.
package remote

import (
	"context"
	"net"
	"sync"
	"time"
)

// Config says who connects and with which clocks. The zero value is a current VS Code.
type Config struct {
	Token     string        // the server's connection token; "" where it wants none
	Timeout   time.Duration // silence after which a connection counts as dead; 0 means 20 s
	KeepAlive time.Duration // between two of our keepalives; 0 means 5 s
	Ack       time.Duration // from a message to its ack, if nothing else carries it; 0 means 2 s

	// Paused is the window that is bare idle: it sends no keepalive, and gives a connection up
	// only if a message of its own is a Timeout without ack and byte.
	Paused bool

	Log func(string) // called with one line an event, from any goroutine; nil for silence
}

func (c Config) clocks() clocks {
	return clocks{
		keepAlive: or(c.KeepAlive, 5*time.Second),
		ack:       or(c.Ack, 2*time.Second),
		timeout:   or(c.Timeout, 20*time.Second),
		paused:    c.Paused,
	}
}

func or(d, zero time.Duration) time.Duration {
	if d == 0 {
		return zero
	}
	return d
}

// Session is a VS Code client's side of one management connection, which may be replaced.
// Its methods may be called from any goroutine, Reconnect from one at a time.
type Session struct {
	cfg    Config
	token  string // of reconnection
	p      *protocol
	recv   chan []byte
	closed chan struct{}
	pumped chan struct{}
	once   sync.Once
}

// Open makes a session over c, under a token of its own. It takes c over, also on errors:
// a *RefusedError in the server's words, the connection's own, or the context's.
func Open(ctx context.Context, c net.Conn, cfg Config) (*Session, error) {
	s := &Session{
		cfg:    cfg,
		token:  newToken(),
		p:      newProtocol(cfg.clocks()),
		recv:   make(chan []byte),
		closed: make(chan struct{}),
		pumped: make(chan struct{}),
	}
	if err := s.connect(ctx, c, false); err != nil {
		return nil, err
	}
	go s.pump() // ends by Close, which waits for it
	return s, nil
}

// Reconnect puts c under the session and sends again what was not acked. It takes c over, also on
// errors: ErrUnknownToken is final, after any other the caller may try again.
func (s *Session) Reconnect(ctx context.Context, c net.Conn) error {
	return s.connect(ctx, c, true)
}

func (s *Session) connect(ctx context.Context, c net.Conn, again bool) error {
	r, err := upgrade(ctx, c, s.cfg.Token, s.token, again)
	if err != nil {
		c.Close()
		s.log(err.Error())
		return err
	}
	if _, err := s.p.attach(c, r); err != nil {
		return err
	}
	if again {
		s.log("reconnected")
	} else {
		s.log("connected")
	}
	return nil
}

func (s *Session) log(line string) {
	if s.cfg.Log != nil {
		s.cfg.Log(s.token[:8] + " " + line)
	}
}

func (s *Session) pump() {
	defer close(s.pumped)
	defer close(s.recv)
	for {
		m, ok := s.p.next()
		if !ok {
			return
		}
		select {
		case s.recv <- m:
		case <-s.closed:
			return
		}
	}
}

// Send queues a Regular message; it is kept until acked, over all connections. It does not block,
// and fails with net.ErrClosed after Close only.
func (s *Session) Send(p []byte) error { return s.p.send(p) }

// Recv delivers the server's Regular messages, each once and in order. Close closes it.
func (s *Session) Recv() <-chan []byte { return s.recv }

// Lost is closed when the connection of this moment has died; Reconnect begins another.
func (s *Session) Lost() <-chan struct{} {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.p.link.lost
}

// Err says why the newest connection died, and nil while it lives: ErrSilent, ErrDisconnected,
// or the connection's own.
func (s *Session) Err() error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.p.link.cause
}

// Unacked is the number of our messages that the server may not have.
func (s *Session) Unacked() int {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return len(s.p.unacked)
}

// Close tells the server, if it can within a second, and drops what was not taken from Recv.
func (s *Session) Close() error {
	s.once.Do(func() {
		s.p.close(true)
		close(s.closed)
	})
	<-s.pumped
	return nil
}
