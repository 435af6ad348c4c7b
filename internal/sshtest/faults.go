package sshtest

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// Direction is one or both of the ways through a Faults.
type Direction int

const (
	ToServer Direction = 1 << iota
	ToClient
	Both = ToServer | ToClient
)

// Faults is a TCP forwarder on loopback that misbehaves when told to. Set the
// fields, call Start, and Close it when done.
//
// It works on bytes, not on packets: a frozen or forgotten flow keeps its
// sockets, and the kernel goes on acknowledging what fits its buffers and
// answering TCP keepalive probes. For faults that TCP itself must notice, use a
// Firewall or a Link.
type Faults struct {
	Target      string        // HOST:PORT that flows go to; Redirect changes it
	Listen      string        // HOST:PORT to listen on, and HOST to come from; "" is a free port of 127.0.0.1
	ForgetAfter time.Duration // silence of both directions after which a flow is dropped for ever, as by a firewall; 0 is never
	Slice       bool          // write every byte on its own

	addr   *net.TCPAddr
	dialer net.Dialer
	ctx    context.Context
	cancel context.CancelFunc // ends dials in progress
	done   sync.WaitGroup     // everything that Start and Admit began

	mu       sync.Mutex   // guards what follows, Target, and the fields of every flow
	listener net.Listener // nil while connections are refused
	changed  sync.Cond    // a freeze, a thaw, or the end of a flow
	frozen   Direction
	left     int64 // bytes until the reset that ResetAfter asked for; 0 is none
	closed   bool
	flows    map[*flow]bool
	stats    FaultStats
}

// FaultStats is what has happened so far. A test that uses a fault asserts that
// the count of that fault has risen.
type FaultStats struct {
	Conns    int   // flows accepted
	Open     int   // flows that have not ended
	ToServer int64 // bytes relayed
	ToClient int64
	Withheld int // arrivals (bytes, an end, or a new flow) held back by Freeze
	Forgot   int // flows dropped by Forget or because of ForgetAfter
	Reset    int // flows ended by Reset or ResetAfter
	Closed   int // flows ended by CloseAll
	Slices   int // writes under Slice, one byte each
}

// flow is one connection through the forwarder.
type flow struct {
	client, server net.Conn // server is nil until it is dialed
	last           time.Time
	forgotten      bool
	ended          bool // by a fault or by Close: nothing is relayed any more
}

// Start listens.
func (p *Faults) Start() (err error) {
	var l net.Listener
	if p.Listen == "" {
		l, err = listenFree("127.0.0.1")
	} else {
		l, err = listenSilent(p.Listen)
	}
	if err != nil {
		return err
	}
	p.addr = l.Addr().(*net.TCPAddr)
	p.dialer.KeepAlive = -1
	if p.Listen != "" { // so that a server's log tells which way one came
		p.dialer.LocalAddr = &net.TCPAddr{IP: p.addr.IP}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.changed.L = &p.mu
	p.flows = make(map[*flow]bool)
	p.admit(l)
	return nil
}

func (p *Faults) admit(l net.Listener) {
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	p.done.Go(func() { p.accept(p.ctx, l) }) // until Close or Refuse closes the listener
}

// Addr is where clients connect, as HOST:PORT.
func (p *Faults) Addr() string { return p.addr.String() }

// Port is the port of Addr.
func (p *Faults) Port() int { return p.addr.Port }

// Refuse has the kernel refuse connections from now on. Open flows go on.
func (p *Faults) Refuse() {
	p.mu.Lock()
	l := p.listener
	p.listener = nil
	p.mu.Unlock()
	if l != nil {
		l.Close()
	}
}

// Admit ends a Refuse.
func (p *Faults) Admit() (err error) {
	var l net.Listener
	// A process that is just being started may still hold what Refuse closed.
	poll(5*time.Second, func() bool {
		l, err = listenSilent(p.Addr())
		return err == nil
	})
	if err != nil {
		return err
	}
	p.admit(l)
	return nil
}

// Redirect sends the flows to come to another target.
func (p *Faults) Redirect(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Target = target
}

// Freeze stops relaying in the directions d, of flows to come too. Nothing is
// lost, and neither end learns of it.
func (p *Faults) Freeze(d Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen |= d
}

// Thaw ends every Freeze; what was withheld goes out.
func (p *Faults) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = 0
	p.changed.Broadcast()
}

// Forget drops every open flow for ever, as a firewall does that was restarted.
// Neither end learns of it.
func (p *Faults) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for f := range p.flows {
		if !f.forgotten && !f.ended {
			f.forgotten = true
			p.stats.Forgot++
		}
	}
}

// Reset sends both ends of every open flow a RST.
func (p *Faults) Reset() {
	for _, f := range p.end(&p.stats.Reset) {
		f.reset()
	}
}

// ResetAfter is Reset, once, as soon as n bytes more have been relayed, of both ways
// and all flows together.
func (p *Faults) ResetAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = n
}

// CloseAll sends both ends of every open flow a FIN, and drops what they send
// from then on.
func (p *Faults) CloseAll() {
	for _, f := range p.end(&p.stats.Closed) {
		f.each(closeWrite)
	}
}

// Stats returns a copy of the counts.
func (p *Faults) Stats() FaultStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Open = len(p.flows)
	return s
}

// Close ends the forwarder and every flow, and waits for its goroutines.
func (p *Faults) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Refuse()
	p.cancel()
	var ended int
	p.end(&ended)
	p.mu.Lock()
	flows := make([]*flow, 0, len(p.flows))
	for f := range p.flows {
		flows = append(flows, f)
	}
	p.mu.Unlock()
	for _, f := range flows {
		f.each(net.Conn.Close)
	}
	p.done.Wait()
	return nil
}

// end marks every open flow as ended, counts them in count, and returns them
// for the caller to tell their ends.
func (p *Faults) end(count *int) []*flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	var flows []*flow
	for f := range p.flows {
		if !f.ended {
			f.ended = true
			*count++
			flows = append(flows, f)
		}
	}
	p.changed.Broadcast()
	return flows
}

func (p *Faults) accept(ctx context.Context, l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		p.done.Go(func() { p.serve(ctx, client) }) // until the flow ends
	}
}

// serve relays one flow until both directions are done, and closes its sockets.
func (p *Faults) serve(ctx context.Context, client net.Conn) {
	f := &flow{client: client, last: time.Now()}
	defer p.remove(f)
	if !p.add(f) || !p.pass(f, ToServer) {
		return
	}
	server, err := p.dialer.DialContext(ctx, "tcp", p.target())
	if err != nil {
		f.reset()
		return
	}
	if !p.attach(f, server) {
		server.Close()
		return
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { p.pump(f, ToServer, server, client) }) // each until its source ends
	pumps.Go(func() { p.pump(f, ToClient, client, server) })
	pumps.Wait()
}

func (p *Faults) target() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Target
}

// pump relays src to dst. An end of src is an end for dst; an error of either
// is a RST for both, which is what it was to us.
func (p *Faults) pump(f *flow, d Direction, dst, src net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if !p.pass(f, d) {
			io.Copy(io.Discard, src) // until the end closes, or at once if we have
			return
		}
		werr := p.write(d, dst, buf[:n])
		switch {
		case err == io.EOF && werr == nil:
			closeWrite(dst)
			return
		case err != nil || werr != nil:
			p.abort(f)
			return
		}
	}
}

// pass waits while f may not relay in direction d, and is false once f has ended.
func (p *Faults) pass(f *flow, d Direction) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.ForgetAfter > 0 && !f.forgotten && !f.ended && now.Sub(f.last) > p.ForgetAfter {
		f.forgotten = true
		p.stats.Forgot++
	}
	f.last = now
	if p.frozen&d != 0 && !f.ended {
		p.stats.Withheld++
	}
	for !f.ended && (f.forgotten || p.frozen&d != 0) {
		p.changed.Wait()
	}
	return !f.ended
}

func (p *Faults) write(d Direction, dst net.Conn, b []byte) error {
	step := len(b)
	if p.Slice {
		step = 1
	}
	for len(b) > 0 {
		room, last := p.take(min(step, len(b)))
		n, err := dst.Write(b[:room])
		p.count(d, n)
		if last {
			p.Reset()
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// take returns how many of n bytes may go, and whether a reset is due after them.
func (p *Faults) take(n int) (room int, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return n, false
	}
	room = int(min(int64(n), p.left))
	p.left -= int64(room)
	return room, p.left == 0
}

func (p *Faults) count(d Direction, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d == ToServer {
		p.stats.ToServer += int64(n)
	} else {
		p.stats.ToClient += int64(n)
	}
	if p.Slice {
		p.stats.Slices++
	}
}

// add takes f into the books, unless the forwarder is closed.
func (p *Faults) add(f *flow) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.flows[f] = true
	p.stats.Conns++
	return true
}

// attach gives f its server, unless f has ended while that was dialed.
func (p *Faults) attach(f *flow, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !f.ended {
		f.server = server
	}
	return !f.ended
}

// abort resets f unless a fault has ended it already.
func (p *Faults) abort(f *flow) {
	p.mu.Lock()
	ended := f.ended
	f.ended = true
	p.changed.Broadcast()
	p.mu.Unlock()
	if !ended {
		f.reset()
	}
}

func (p *Faults) remove(f *flow) {
	p.mu.Lock()
	delete(p.flows, f)
	p.mu.Unlock()
	f.each(net.Conn.Close)
}

// each calls do for the ends of f. The caller has seen f added or ended, so
// server changes no more, or the caller is what dials it.
func (f *flow) each(do func(net.Conn) error) {
	do(f.client)
	if f.server != nil {
		do(f.server)
	}
}

// reset closes both ends with a RST.
func (f *flow) reset() {
	f.each(func(c net.Conn) error {
		c.(*net.TCPConn).SetLinger(0)
		return c.Close()
	})
}

func closeWrite(c net.Conn) error { return c.(*net.TCPConn).CloseWrite() }
