package stream

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// known is the byte that our side writes at an offset, or the peer's.
func known(offset uint64) byte { return byte(offset * 0x9e3779b97f4a7c15 >> 56) }

func knownBytes(offset uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = known(offset + uint64(i))
	}
	return b
}

// An evilPeer speaks the protocol with a Stream of ours, and breaks it at last.
// It holds every byte that comes against what was written.
type evilPeer struct {
	*testing.T
	r       *rand.Rand
	s       *Stream
	conn    *pipeEnd
	pongs   chan uint64
	reading sync.WaitGroup

	mu      sync.Mutex // guards what follows
	written uint64
	seen    uint64 // the end of what came
	limit   uint64 // the most that we have granted
	granted uint64 // to us
	front   uint64 // the end of what we sent
}

func newEvilPeer(t *testing.T, r *rand.Rand) *evilPeer {
	p := &evilPeer{T: t, r: r, s: newStream(id{}, secret{}, nil), pongs: make(chan uint64, 1), granted: minWindow}
	near, far := newPipe(simRoom)
	p.conn = far
	p.limit = uint64(r.IntN(1 << r.IntN(14)))
	p.s.attach(1, near, 0, p.limit, 0)
	p.reading.Go(p.read)
	p.reading.Go(p.check)
	return p
}

func (p *evilPeer) read() {
	defer close(p.pongs)
	for {
		f, err := readFrame(p.conn)
		if err != nil {
			return
		}
		p.mu.Lock()
		switch f.kind {
		case kindData:
			p.checkData(f)
		case kindAck:
			p.granted = max(p.granted, f.granted)
		case kindEOF, kindBye:
			p.Errorf("got frame %d, and the stream has not ended", f.kind)
		}
		p.mu.Unlock()
		if f.kind == kindPong {
			p.pongs <- f.token
		}
	}
}

// check holds what our end of the stream reads against what we say.
func (p *evilPeer) check() {
	b := make([]byte, 1000)
	for at := uint64(0); ; {
		n, err := p.s.Read(b)
		if !bytes.Equal(b[:n], knownBytes(at, n)) {
			p.Errorf("read other bytes at %d than were sent there", at)
		}
		if at += uint64(n); err != nil {
			return
		}
	}
}

func (p *evilPeer) checkData(f frame) {
	end := f.offset + uint64(len(f.data))
	if f.offset > p.seen || end > p.written || end > p.limit {
		p.Errorf("got %d bytes at %d, with %d written, %d granted, %d before them", len(f.data), f.offset, p.written, p.limit, p.seen)
	} else if !bytes.Equal(f.data, knownBytes(f.offset, len(f.data))) {
		p.Errorf("got other bytes at %d than were written there", f.offset)
	}
	p.seen = max(p.seen, end)
}

func (p *evilPeer) write(n int) {
	p.mu.Lock()
	at := p.written
	p.written += uint64(n)
	p.mu.Unlock()
	if _, err := p.s.Write(knownBytes(at, n)); err != nil {
		p.Error(err)
	}
}

// upTo is a random number up to n, often one of its ends.
func upTo(r *rand.Rand, n uint64) uint64 {
	switch r.IntN(4) {
	case 0:
		return n
	case 1:
		return n - min(n, uint64(r.IntN(3)))
	}
	if n == 1<<64-1 {
		return r.Uint64()
	}
	return r.Uint64N(n + 1)
}

// beyond is a random number above n, often just above or at the very end.
func beyond(r *rand.Rand, n uint64) uint64 {
	switch r.IntN(4) {
	case 0:
		return n + 1
	case 1:
		return 1<<64 - 1 - uint64(r.IntN(3))
	}
	return n + 1 + r.Uint64N(1<<64-1-n)
}

// lawful is a frame that a peer may send.
func (p *evilPeer) lawful() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.r.IntN(5) {
	case 0:
		return p.data()
	case 1:
		return appendPair(nil, kindPong, p.r.Uint64(), 0)
	case 2:
		return append(appendHeader(nil, kind(100+p.r.IntN(100)), 3), 1, 2, 3)
	}
	grant := upTo(p.r, p.limit+uint64(p.r.IntN(1<<p.r.IntN(12))))
	if p.r.IntN(5000) == 0 {
		grant = 1<<64 - 1
	}
	p.limit = max(p.limit, grant)
	return appendPair(nil, kindAck, upTo(p.r, p.seen), grant)
}

// data is bytes that go on from where we were, in part once more, or some pieces
// in any order.
func (p *evilPeer) data() (wire []byte) {
	n := 1 + p.r.IntN(200)
	if p.r.IntN(3) == 0 {
		for _, i := range p.r.Perm(4) {
			f := frame{kind: kindData, offset: p.front + uint64(i*n)}
			f.data = knownBytes(f.offset, n)
			wire = append(wire, f.encode()...)
		}
		p.front += uint64(4 * n)
		return wire
	}
	f := frame{kind: kindData, offset: p.front - upTo(p.r, min(p.front, 300))}
	f.data = knownBytes(f.offset, n)
	p.front = max(p.front, f.offset+uint64(n))
	return f.encode()
}

// unlawful is a frame that no peer may send.
func (p *evilPeer) unlawful() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	data := frame{kind: kindData, data: []byte("abcdefgh")}
	switch p.r.IntN(6) {
	case 0:
		data.offset = beyond(p.r, maxWindow<<1)
		return data.encode()
	case 1:
		return appendNumber(nil, kindEOF, beyond(p.r, maxWindow<<1))
	case 2:
		return appendBye(nil, beyond(p.r, maxWindow<<1), CodeClosed, "")
	case 3:
		return appendHeader(nil, kind(p.r.IntN(256)), maxFrame+1+p.r.IntN(1<<24-maxFrame-1))
	}
	return appendPair(nil, kindAck, beyond(p.r, p.written), p.r.Uint64())
}

// live is one stream's life. It returns how many frames it met.
func (p *evilPeer) live() (frames int) {
	for range 1 + p.r.IntN(8) {
		p.write(1 + p.r.IntN(1<<p.r.IntN(17)))
		var batch []byte
		for range 50 {
			batch = append(batch, p.lawful()...)
			frames++
		}
		token := p.r.Uint64()
		p.conn.Write(appendPair(batch, kindPing, token, 0))
		if got, ok := <-p.pongs; !ok || got != token {
			p.Errorf("got pong %d, %v, want %d: %v", got, ok, token, p.s.Err())
			return frames
		}
	}
	p.conn.Write(p.unlawful())
	select {
	case <-p.s.Done():
	case <-time.After(10 * time.Second):
		p.Errorf("the stream goes on")
		return frames
	}
	p.reading.Wait()
	var protocol *ProtocolError
	if err := p.s.Err(); !errors.As(err, &protocol) {
		p.Errorf("ended with %v, want an error of the protocol", err)
	}
	return frames + 1
}

// TestR1Frames: no offset, limit or frame of a peer makes us send a byte that was
// not written at that offset, and one out of range ends the stream.
func TestR1Frames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for frames := 0; frames < 1_000_000 && !t.Failed(); {
		p := newEvilPeer(t, r)
		frames += p.live()
		p.s.finish(net.ErrClosed)
		p.conn.Close()
		p.reading.Wait()
	}
}

// TestPiecesAreBounded: what a peer sends again and again behind a gap takes no
// more than the window.
func TestPiecesAreBounded(t *testing.T) {
	p := newEvilPeer(t, rand.New(rand.NewPCG(1, 1)))
	defer p.conn.Close()
	f := frame{kind: kindData, offset: 1, data: bytes.Repeat([]byte("x"), maxData)}
	wire := f.encode()
	for range 2000 {
		if _, err := p.conn.Write(wire); err != nil {
			return // one way to bound it
		}
	}
	p.conn.Write(appendPair(nil, kindPing, 1, 0))
	<-p.pongs
	p.s.mu.Lock()
	held := p.s.in.size
	for _, piece := range p.s.in.beyond {
		held += cap(piece.data)
	}
	p.s.mu.Unlock()
	p.s.finish(net.ErrClosed)
	if held > 2*minWindow {
		t.Errorf("%d bytes held of a window of %d", held, minWindow)
	}
}

// TestMemoryIsBounded: a target that takes nothing makes each end keep a window at
// most, however much is written.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &Server{Dial: func(context.Context, string, time.Duration) (net.Conn, error) {
			here, _ := newPipe(simRoom)
			return here, nil
		}}
		network := &simNet{srv: srv, log: discard}
		client, err := Dial(t.Context(), &Config{Dial: network.dial, Target: func() string { return "x" }, Interval: time.Second, Keep: time.Hour, Log: discard})
		if err != nil {
			t.Fatal(err)
		}
		var writing sync.WaitGroup
		var n int
		writing.Go(func() { n, _ = client.Write(make([]byte, 4*maxWindow)) })
		time.Sleep(time.Minute)
		for _, h := range srv.streams {
			if text := excess(h.Stream); text != "" {
				t.Errorf("the relay: %s", text)
			}
		}
		if text := excess(client); text != "" {
			t.Errorf("the client: %s", text)
		}
		client.Close()
		writing.Wait()
		if n < minWindow || n > maxWindow+simRoom {
			t.Errorf("took %d bytes, of which the target took %d", n, simRoom)
		}
		srv.Close()
		<-client.Done()
		synctest.Wait()
		network.serving.Wait()
	})
}

// TestR1Rewind: an answer to an attach that lies outside of what was sent and not
// yet acknowledged ends the stream; one inside makes it go on from there.
func TestR1Rewind(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 2000 {
		lawful, far := r.IntN(2) == 0, r.IntN(2) == 0
		synctest.Test(t, func(t *testing.T) { rewind(t, r, lawful, far) })
		if t.Failed() {
			return
		}
	}
}

// An evilRelay answers as a relay does, at offsets of its own.
type evilRelay struct {
	secret secret
	conns  chan *pipeEnd
}

func (e *evilRelay) dial(context.Context) (Transport, error) { return &evilWay{relay: e}, nil }

// An evilWay is a Transport to it.
type evilWay struct {
	relay  *evilRelay
	mu     sync.Mutex // guards what follows
	closed bool
	ends   []*pipeEnd
}

func (w *evilWay) Open(ctx context.Context) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, net.ErrClosed
	}
	near, far := newPipe(simRoom)
	select {
	case w.relay.conns <- far:
		w.ends = append(w.ends, near)
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *evilWay) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, near := range w.ends {
		near.Close()
	}
	return nil
}

// shake answers the next channel.
func (e *evilRelay) shake(received, granted uint64) (*pipeEnd, error) {
	conn := <-e.conns
	if err := writeHello(conn, nonce{1}); err != nil {
		return nil, err
	}
	message, _, err := readMessage(conn)
	if err != nil {
		return nil, err
	}
	q, err := decodeRequest(message)
	if err != nil {
		return nil, err
	}
	if q.want == wantOpen {
		e.secret = q.secret
	}
	answer := (&answer{received: received, granted: granted}).encode()
	return conn, writeMessage(conn, answer, e.secret.prove(roleRelay, nonce{1}, q.nonce, answer))
}

// data reads DATA frames until the offset, or the end.
func data(conn *pipeEnd, from, to uint64) (first uint64, b []byte, err error) {
	for first = 1<<64 - 1; from+uint64(len(b)) < to; {
		f, err := readFrame(conn)
		if err != nil {
			return first, b, err
		}
		if f.kind == kindData {
			first = min(first, f.offset)
			b = append(b, f.data...)
		}
	}
	return first, b, nil
}

func rewind(t *testing.T, r *rand.Rand, lawful, far bool) {
	e := &evilRelay{conns: make(chan *pipeEnd, 1)}
	var conn *pipeEnd
	var err error
	go func() { conn, err = e.shake(0, 1<<20) }()
	s, dialErr := Dial(t.Context(), &Config{Dial: e.dial, Target: func() string { return "x" }, Interval: time.Second, Keep: time.Hour, Log: discard})
	if synctest.Wait(); err != nil || dialErr != nil {
		t.Fatal(err, dialErr)
	}
	size := 1 + r.IntN(20_000)
	s.Write(knownBytes(0, size))
	if _, _, err := data(conn, 0, uint64(size)); err != nil {
		t.Fatal(err)
	}
	acked := upTo(r, uint64(size))
	conn.Write(appendPair(nil, kindAck, acked, 1<<20))
	synctest.Wait()
	received := acked + upTo(r, uint64(size)-acked)
	if !lawful {
		if received = beyond(r, uint64(size)); !far && acked > 0 {
			received = upTo(r, acked-1)
		}
	}
	conn.Close()
	if conn, err = e.shake(received, 1<<20); err != nil {
		t.Fatal(err)
	}
	if lawful {
		first, b, err := data(conn, received, uint64(size))
		if len(b) > 0 && first != received || err != nil || !bytes.Equal(b, knownBytes(received, size-int(received))) {
			t.Errorf("attached at %d of %d: got %d bytes from %d, %v", received, size, len(b), first, err)
		}
	} else {
		first, b, err := data(conn, 0, 1<<30)
		var refused *RefusedError
		if <-s.Done(); len(b) > 0 || !errors.As(s.Err(), &refused) || refused.Code != CodeRewind {
			t.Errorf("attached at %d, with %d acknowledged of %d: got %d bytes from %d, %v, and %v", received, acked, size, len(b), first, err, s.Err())
		}
	}
	conn.Close()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	s.Shutdown(ended)
}
