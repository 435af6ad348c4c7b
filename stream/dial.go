package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Transport is one way to the far host.
type Transport interface {
	// Open makes a channel to the relay. There may be several on a transport.
	Open(ctx context.Context) (net.Conn, error)
	// Close ends the transport and all its channels, at once.
	Close() error
}

// Verdict is what a failed dial means for a stream that waits for a link.
type Verdict int

const (
	Again  Verdict = iota // try again soon: the network is down
	Gently                // try again, but the far host may count it
	Hold                  // try again much later, or when something has happened: a wake, a new network
	Fatal                 // the stream is lost
)

// Config says how to reach a relay and how to keep a stream attached.
type Config struct {
	// Dial makes a transport. It is to bound itself, as Transport.Open is. One
	// call is made at a time, but for one whose context has ended and that has
	// yet to return. Judge says what its errors, and those of Open, mean once
	// there is a stream; nil means Again.
	Dial  func(context.Context) (Transport, error)
	Judge func(error) Verdict
	// Asking says that the user is being asked something for a login, which is
	// then left alone whatever happens; nil is never.
	Asking func() bool

	Target   func() string // for the relay to dial, HOST:PORT; called once the first channel is open
	Interval time.Duration // silence before a ping; 0: none but when something is awaited
	Keep     time.Duration // how long both ends keep the stream without a link
	Events   <-chan struct{}

	// Changed, if not nil, is told when the stream has lost its link, with why,
	// after each attempt in vain, and nil when it has one again.
	Changed func(error)
	Log     *slog.Logger
}

// RefusedError says that the relay refused a channel.
type RefusedError struct {
	Code Code
	Text string // the relay's words, not yet fit for a terminal; may be empty
}

func (e *RefusedError) Error() string {
	if e.Text != "" {
		return e.Text
	}
	return e.Code.String()
}

// ExpiredError says that there was no link for longer than the relay keeps a
// stream. Err is why the last attempt failed; it may be nil.
type ExpiredError struct {
	After time.Duration
	Err   error
}

func (e *ExpiredError) Error() string {
	s := fmt.Sprintf("session expired: no connection for %v", e.After)
	if e.Err != nil {
		s += fmt.Sprintf(" (%v)", e.Err)
	}
	return s
}
func (e *ExpiredError) Unwrap() error { return e.Err }

// ErrImpostor says that who answered does not know the stream's secret.
var ErrImpostor = errors.New("the relay did not prove that it is the same one")

// Dial opens a stream over a new transport, and keeps it attached until it is
// closed or lost. ctx bounds the dial alone. Errors are those of cfg, of the
// network, *RefusedError and *VersionError. Close or Shutdown ends the transport
// too.
func Dial(ctx context.Context, cfg *Config) (*Stream, error) {
	var i id
	var k secret
	rand.Read(i[:])
	rand.Read(k[:])
	s := newStream(i, k, nil)
	s.dialed = true
	t, err := cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	p := &keeper{cfg: cfg, s: s, generation: 1}
	q := request{want: wantOpen, generation: p.generation, secret: k, keep: cfg.Keep, interval: cfg.Interval}
	conn, a, err := p.shake(ctx, t, q, dialTime+handshakeTime)
	if err != nil {
		t.Close()
		return nil, err
	}
	p.link, p.transport = s.attach(p.generation, conn, 0, a.granted, 0), t
	go p.run() // ends with the stream
	return s, nil
}

// shake opens a channel and shakes hands on it within limit. When ctx or that
// time ends, it closes the transport.
func (p *keeper) shake(ctx context.Context, t Transport, q request, limit time.Duration) (net.Conn, answer, error) {
	stop := context.AfterFunc(ctx, func() { t.Close() })
	defer stop()
	c, err := t.Open(ctx)
	if err != nil {
		return nil, answer{}, err
	}
	late := time.AfterFunc(limit, func() { t.Close() })
	a, err := p.ask(c, q)
	switch inTime := late.Stop(); {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case !inTime:
		err = errNoAnswer
	}
	if err != nil {
		c.Close()
		return nil, a, err
	}
	return c, a, nil
}

var errNoAnswer = errors.New("no answer from the relay")

// ask is the client's side of the handshake.
func (p *keeper) ask(c net.Conn, q request) (a answer, err error) {
	h, err := readHello(c)
	if err != nil {
		return a, err
	}
	s := p.s
	rand.Read(q.nonce[:])
	if q.want == wantOpen {
		q.target = p.cfg.Target()
	}
	s.mu.Lock()
	q.id, q.received, q.granted = s.id, s.in.ready, s.granted
	if q.want == wantAttach {
		s.asking++
		defer s.asked()
	}
	s.mu.Unlock()
	message, start := q.encode(), time.Now()
	if err := writeMessage(c, message, s.secret.prove(roleClient, h.nonce, q.nonce, message)); err != nil {
		return a, err
	}
	message, proof, err := readMessage(c)
	took := time.Since(start)
	if err != nil {
		return a, err
	}
	if a, err = decodeAnswer(message); err != nil {
		return a, err
	}
	if a.code == CodeUnknown || a.code == CodeDenied || a.code == CodeProtocol {
		return a, &RefusedError{a.code, a.text} // by one who does not know the secret
	}
	if !proof.proven(s.secret.prove(roleRelay, h.nonce, q.nonce, message)) {
		return a, ErrImpostor
	}
	if a.code != CodeClosed {
		return a, &RefusedError{a.code, a.text}
	}
	a.took = took
	return a, nil
}

// asked lets acknowledgements go out again.
func (s *Stream) asked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking--
	s.sendable.Signal()
}
