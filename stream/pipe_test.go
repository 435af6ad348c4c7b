package stream

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// forEver is longer than any test.
const forEver = 1 << 60 * time.Nanosecond

// A pipeEnd is one end of a connection in memory: like a pair of sockets and
// unlike net.Pipe it holds some bytes on the way, so that a peer which writes
// before it reads does not hang. It half-closes, has deadlines, and goes wrong
// where its faults say. All its timers and waits are those of testing/synctest.
type pipeEnd struct {
	p       *bufPipe
	in, out *pipeWay
	closed  bool
	failed  error // what Read and Write say from now on
}

// A bufPipe is a connection in memory, of two ends.
type bufPipe struct {
	mu      sync.Mutex // guards all of both ends and both ways
	changed sync.Cond
	a, b    *pipeEnd
}

// A pipeWay is one direction of it.
type pipeWay struct {
	room    int // bytes that it holds before a Write blocks
	packets []packet
	held    int
	read    int64     // bytes that have been delivered
	ended   bool      // CloseWrite or Close: EOF after the packets
	broken  bool      // the reader is gone: a Write fails
	until   time.Time // nothing comes through before this: frozen
	delay   time.Duration
	slice   func() int // the most that the next Read gives; nil: all
	faults  []pipeFault

	readBy, writeBy time.Time
}

type packet struct {
	b   []byte
	due time.Time
}

// A pipeFault does act, outside of the lock, once at bytes have been delivered.
type pipeFault struct {
	at  int64
	act func()
}

func newPipe(room int) (a, b *pipeEnd) {
	p := new(bufPipe)
	p.changed.L = &p.mu
	ab, ba := &pipeWay{room: room}, &pipeWay{room: room}
	p.a = &pipeEnd{p: p, in: ba, out: ab}
	p.b = &pipeEnd{p: p, in: ab, out: ba}
	return p.a, p.b
}

func (e *pipeEnd) Read(b []byte) (int, error) {
	for {
		n, act, err := e.read(b)
		if act == nil {
			return n, err
		}
		act()
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// read returns what one Read gives, and a fault that is due by then, if any.
func (e *pipeEnd) read(b []byte) (n int, act func(), err error) {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	w := e.in
	for {
		if err := e.refused(w.readBy); err != nil {
			return 0, nil, err
		}
		if act := w.dueFault(); act != nil {
			return 0, act, nil
		}
		wait := time.Until(w.until)
		if wait <= 0 && len(w.packets) > 0 {
			wait = time.Until(w.packets[0].due)
		}
		switch {
		case wait > 0 && wait < forEver/2:
			time.AfterFunc(wait, e.p.wake)
		case wait > 0:
		case len(w.packets) > 0:
			n := w.take(b)
			e.p.changed.Broadcast()
			return n, w.dueFault(), nil
		case w.ended:
			return 0, nil, io.EOF
		}
		e.p.changed.Wait()
	}
}

func (e *pipeEnd) refused(deadline time.Time) error {
	switch {
	case e.closed:
		return net.ErrClosed
	case e.failed != nil:
		return e.failed
	case !deadline.IsZero() && !time.Now().Before(deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (w *pipeWay) dueFault() func() {
	if len(w.faults) == 0 || w.faults[0].at > w.read {
		return nil
	}
	act := w.faults[0].act
	w.faults = w.faults[1:]
	return act
}

// take moves into b what one Read gives: no more than a packet, a slice, and
// what there is until the next fault.
func (w *pipeWay) take(b []byte) int {
	if w.slice != nil {
		b = b[:min(len(b), w.slice())]
	}
	if len(w.faults) > 0 {
		b = b[:min(int64(len(b)), w.faults[0].at-w.read)]
	}
	n := copy(b, w.packets[0].b)
	if w.packets[0].b = w.packets[0].b[n:]; len(w.packets[0].b) == 0 {
		w.packets = w.packets[1:]
	}
	w.held -= n
	w.read += int64(n)
	return n
}

func (e *pipeEnd) Write(b []byte) (n int, err error) {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	w := e.out
	for {
		if err := e.refused(w.writeBy); err != nil && err != io.EOF {
			return n, err
		}
		if e.failed != nil || w.ended || w.broken && time.Until(e.in.until) <= 0 {
			return n, syscall.EPIPE
		}
		if k := min(w.room-w.held, len(b)); k > 0 {
			w.packets = append(w.packets, packet{append([]byte(nil), b[:k]...), time.Now().Add(w.delay)})
			w.held += k
			n, b = n+k, b[k:]
			e.p.changed.Broadcast()
		}
		if len(b) == 0 {
			return n, nil
		}
		e.p.changed.Wait()
	}
}

func (p *bufPipe) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed.Broadcast()
}

// CloseWrite is the end of what this end writes; what is on the way arrives.
func (e *pipeEnd) CloseWrite() error {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	e.out.ended = true
	e.p.changed.Broadcast()
	return nil
}

// Close lets arrive what is on the way, as the kernel does.
func (e *pipeEnd) Close() error {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	e.closed = true
	e.out.ended, e.in.broken = true, true
	e.in.packets, e.in.held = nil, 0
	e.p.changed.Broadcast()
	return nil
}

// freeze delivers nothing of what e writes for d; it is accepted, as far as there
// is room, and comes later.
func (e *pipeEnd) freeze(d time.Duration) {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	if until := time.Now().Add(d); until.After(e.out.until) {
		e.out.until = until
	}
	e.p.changed.Broadcast()
}

// fail ends the connection for this end, with err from Read and Write: io.EOF
// reads as a close by the peer. What is on the way to here is lost.
func (e *pipeEnd) fail(err error) {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	e.failed = err
	e.in.packets, e.in.held = nil, 0
	e.p.changed.Broadcast()
}

// deaf makes this end hear nothing more of the other: bytes, end or close.
func (e *pipeEnd) deaf() { e.peer().freeze(forEver) }

func (e *pipeEnd) peer() *pipeEnd {
	if e == e.p.a {
		return e.p.b
	}
	return e.p.a
}

// sliced makes the next reads of e short, of 1 to most bytes, n of them in all,
// with a random source of its own since Read is called from one goroutine alone.
func (e *pipeEnd) sliced(r *rand.Rand, most, n int) {
	e.in.slice = func() int {
		if n--; n < 0 {
			return 1 << 30
		}
		return 1 + r.IntN(most)
	}
}

func (e *pipeEnd) SetReadDeadline(t time.Time) error  { return e.setDeadline(&e.in.readBy, t) }
func (e *pipeEnd) SetWriteDeadline(t time.Time) error { return e.setDeadline(&e.out.writeBy, t) }

func (e *pipeEnd) SetDeadline(t time.Time) error {
	e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

func (e *pipeEnd) setDeadline(field *time.Time, t time.Time) error {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	*field = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 && wait < forEver/2 {
		time.AfterFunc(wait, e.p.wake)
	}
	e.p.changed.Broadcast()
	return nil
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (e *pipeEnd) LocalAddr() net.Addr  { return pipeAddr{} }
func (e *pipeEnd) RemoteAddr() net.Addr { return pipeAddr{} }
