package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// forwarder is a firewall between two hosts. Like one that keeps state and
// drops what it has no state for, it forgets a flow that is idle too long, for
// ever and without a word: both sockets stay open and nothing passes.
//
// It sees bytes, not packets: TCP keepalive probes are answered by the kernel
// and keep nothing alive here.
type forwarder struct {
	addr string
	to   string
	idle time.Duration

	mu    sync.Mutex // guards flows
	flows []*flow
}

// startForwarder forwards to the address to until ctx ends; running counts
// what is left.
func startForwarder(ctx context.Context, running *sync.WaitGroup, to string, idle time.Duration) (*forwarder, error) {
	ln, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	f := &forwarder{addr: ln.Addr().String(), to: to, idle: idle}
	running.Go(func() { serve(ctx, ln, f.forward) }) // until ctx closes ln
	return f, nil
}

func (f *forwarder) forward(ctx context.Context, client net.Conn) {
	host, err := new(net.Dialer).DialContext(ctx, "tcp", f.to)
	if err != nil {
		return
	}
	defer closeWith(ctx, host)()
	fl := newFlow(f.idle)
	f.mu.Lock()
	f.flows = append(f.flows, fl)
	f.mu.Unlock()
	fl.run(client, host)
}

// stats is what a forwarder has seen so far.
type stats struct {
	flows     int
	forgotten int           // flows
	swallowed int           // bytes of forgotten flows
	silence   time.Duration // of the last flow, up to now
	longest   time.Duration // silence of any flow
}

func (f *forwarder) stats() stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := stats{flows: len(f.flows)}
	for _, fl := range f.flows {
		fl.addTo(&sum)
	}
	return sum
}

// String is the flow's place in the status line.
func (s stats) String() string {
	if s.forgotten > 0 {
		return fmt.Sprintf("%s (forgotten)", seconds(s.silence))
	}
	return seconds(s.silence)
}

// flow is one TCP connection through the forwarder.
type flow struct {
	idle time.Duration

	mu        sync.Mutex // guards all below
	last      time.Time  // when something passed
	longest   time.Duration
	forgotten bool
	swallowed int
}

func newFlow(idle time.Duration) *flow { return &flow{idle: idle, last: time.Now()} }

// run moves bytes both ways until both ends have closed, or a socket of a
// forgotten flow is closed by its owner.
func (f *flow) run(client, host net.Conn) {
	var back sync.WaitGroup
	defer back.Wait()
	back.Go(func() { f.pump(client, host) }) // until host has no more or is closed
	f.pump(host, client)
}

func (f *flow) pump(dst, src net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 && f.pass(n) {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			if f.pass(0) { // a FIN is dropped like any packet
				closeWrite(dst)
			}
			return
		}
	}
}

// pass reports whether n bytes may pass, and counts them if not.
func (f *flow) pass(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ageLocked()
	if f.forgotten {
		f.swallowed += n
		return false
	}
	f.last = time.Now()
	return true
}

// ageLocked notes the silence so far. Nothing else need watch the time, since
// last stands still from the moment that a flow is too old: it is found so
// whenever it is next looked at, and for ever.
func (f *flow) ageLocked() time.Duration {
	silence := time.Since(f.last)
	f.longest = max(f.longest, silence)
	f.forgotten = silence >= f.idle
	return silence
}

func (f *flow) addTo(sum *stats) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum.silence = f.ageLocked()
	sum.longest = max(sum.longest, f.longest)
	sum.swallowed += f.swallowed
	if f.forgotten {
		sum.forgotten++
	}
}

// closeWrite ends one direction where c can, else both.
func closeWrite(c io.Closer) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
		return
	}
	c.Close()
}
