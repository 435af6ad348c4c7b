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
	Hold                  // try again when something has happened, a wake or a new network
	Fatal                 // the stream is lost
)

// Config says how to reach a relay and how to keep a stream attached.
type Config struct {
	// Dial makes a transport. It is to bound itself, and is called by one at a
	// time. Judge says what its errors, and those of Open, mean once there is a
	// stream; nil means Again.
	Dial  func(context.Context) (Transport, error)
	Judge func(error) Verdict

	Target   string        // for the relay to dial, HOST:PORT
	Interval time.Duration // silence before a ping; 0: none but when something is awaited
	Keep     time.Duration // how long both ends keep the stream without a link
	Events   <-chan struct{}

	// Changed, if not nil, is told when the stream has lost its link, with why,
	// and nil when it has one again.
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
	t, err := cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	p := &keeper{cfg: cfg, s: s, generation: 1}
	q := request{want: wantOpen, generation: p.generation, secret: k, keep: cfg.Keep, interval: cfg.Interval, target: cfg.Target}
	conn, a, err := p.shake(ctx, t, q, dialTime+handshakeTime)
	if err != nil {
		t.Close()
		return nil, err
	}
	p.link, p.transport = s.attach(p.generation, conn, 0, a.granted), t
	go p.run() // ends with the stream
	return s, nil
}

// shake opens a channel and shakes hands on it. When ctx or the time ends, it
// closes the transport.
func (p *keeper) shake(ctx context.Context, t Transport, q request, limit time.Duration) (_ net.Conn, a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { t.Close() })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
	}()
	c, err := t.Open(ctx)
	if err != nil {
		return nil, a, err
	}
	a, err = p.ask(c, q)
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer from the relay: %w", context.Cause(ctx))
		}
		return nil, a, err
	}
	return c, a, nil
}

// ask is the client's side of the handshake.
func (p *keeper) ask(c net.Conn, q request) (a answer, err error) {
	h, err := readHello(c)
	if err != nil {
		return a, err
	}
	s := p.s
	rand.Read(q.nonce[:])
	s.mu.Lock()
	q.id, q.received, q.granted = s.id, s.in.ready, s.granted
	s.mu.Unlock()
	message := q.encode()
	if err := writeMessage(c, message, s.secret.prove(roleClient, h.nonce, q.nonce, message)); err != nil {
		return a, err
	}
	message, proof, err := readMessage(c)
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
	return a, nil
}
