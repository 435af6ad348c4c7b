package hop

import (
	"io"
	"net"
	"sync"
	"time"
)

// pipe returns the two ends of a connection in memory. Unlike net.Pipe it
// buffers: both sides of SSH write their version first.
func pipe() (*end, *end) {
	a, b := newFlow(), newFlow()
	return &end{in: a, out: b}, &end{in: b, out: a}
}

// flow is one direction.
type flow struct {
	mu     sync.Mutex // guards all below
	change *sync.Cond
	buf    []byte
	closed bool
	limit  int  // above it, Write blocks; 0: never
	dead   bool // bytes vanish, as on a dead link
}

func newFlow() *flow {
	f := &flow{}
	f.change = sync.NewCond(&f.mu)
	return f
}

func (f *flow) set(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	f.change.Broadcast()
}

func (f *flow) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

func (f *flow) read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.buf) == 0 && !f.closed {
		f.change.Wait()
	}
	if len(f.buf) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.buf)
	f.buf = f.buf[n:]
	f.change.Broadcast()
	return n, nil
}

func (f *flow) write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.limit > 0 && len(f.buf) >= f.limit && !f.closed {
		f.change.Wait()
	}
	if f.closed {
		return 0, io.ErrClosedPipe
	}
	if !f.dead {
		f.buf = append(f.buf, p...)
		f.change.Broadcast()
	}
	return len(p), nil
}

// end is one end of a pipe.
type end struct{ in, out *flow }

func (e *end) Read(p []byte) (int, error)  { return e.in.read(p) }
func (e *end) Write(p []byte) (int, error) { return e.out.write(p) }

func (e *end) Close() error {
	for _, f := range []*flow{e.in, e.out} {
		f.set(func() { f.closed = true })
	}
	return nil
}

// kill makes the link dead both ways.
func (e *end) kill() {
	for _, f := range []*flow{e.in, e.out} {
		f.set(func() { f.dead = true })
	}
}

func (e *end) LocalAddr() net.Addr              { return addr("test") }
func (e *end) RemoteAddr() net.Addr             { return addr("test") }
func (e *end) SetDeadline(time.Time) error      { return nil }
func (e *end) SetReadDeadline(time.Time) error  { return nil }
func (e *end) SetWriteDeadline(time.Time) error { return nil }
