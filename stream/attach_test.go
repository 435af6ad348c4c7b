package stream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A wrongClient knows all that there is to know of a stream but what an attach
// must prove, and tries.
type wrongClient struct {
	r      *rand.Rand
	srv    *Server
	held   *Stream // the server's end of the stream
	replay []byte  // a request and its proof, as they once went by
}

// words is what it says on a channel after the relay's hello.
func (c *wrongClient) words(theirs nonce) (kind string, b []byte) {
	c.held.mu.Lock()
	q := request{want: wantAttach, id: c.held.id, nonce: nonce{1}, generation: c.held.generation + 1, received: c.held.acked, granted: 1 << 30}
	acked, furthest := c.held.acked, c.held.furthest
	c.held.mu.Unlock()
	key, wrong := c.held.secret, secret{byte(c.r.Uint32()), 1}
	switch kinds := wrongKinds; kinds[c.r.IntN(len(kinds))] {
	case "silent":
		return "silent", nil
	case "garbage":
		return "garbage", randomBytes(c.r, c.r.IntN(3000))
	case "ssh":
		return "ssh", []byte("SSH-2.0-x\r\n")
	case "oversize":
		return "oversize", append([]byte{0xff, 0xff}, randomBytes(c.r, 1<<16)...)
	case "replay":
		return "replay", c.replay
	case "truncated":
		b := c.signed(&q, key, theirs)
		return "truncated", b[:c.r.IntN(len(b))]
	case "unknown":
		q.id[0]++
		return "unknown", c.signed(&q, key, theirs)
	case "no secret":
		return "no secret", c.signed(&q, secret{}, theirs)
	case "wrong secret":
		return "wrong secret", c.signed(&q, wrong, theirs)
	case "open":
		q.want, q.secret, q.target = wantOpen, wrong, "taken"
		return "open", c.signed(&q, wrong, theirs)
	case "stale":
		q.generation -= 1 + c.r.Uint64N(q.generation)
		return "stale", c.signed(&q, key, theirs)
	case "join":
		q.want, q.generation = wantJoin, q.generation+upTo(c.r, 10)
		return "join", c.signed(&q, key, theirs)
	case "behind": // what has been given up
		if q.received = upTo(c.r, acked); q.received == acked {
			q.received-- // 1<<64-1, if nothing has been acknowledged
		}
		return "behind", c.signed(&q, key, theirs)
	}
	q.received = beyond(c.r, furthest+maxWindow)
	return "ahead", c.signed(&q, key, theirs)
}

var wrongKinds = []string{"silent", "garbage", "ssh", "oversize", "replay", "truncated", "unknown", "no secret",
	"wrong secret", "open", "stale", "join", "behind", "ahead"}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (c *wrongClient) signed(q *request, k secret, theirs nonce) []byte {
	var b bytes.Buffer
	message := q.encode()
	writeMessage(&b, message, k.prove(roleClient, theirs, q.nonce, message))
	return b.Bytes()
}

// try is one channel. Whatever is said, the relay closes it, and what it answers
// is a refusal.
func (c *wrongClient) try(t *testing.T) {
	near, far := newPipe(simRoom)
	var serving sync.WaitGroup
	serving.Go(func() { c.srv.Serve(far) })
	defer serving.Wait()
	defer near.Close()
	h, err := readHello(near)
	if err != nil {
		t.Errorf("no hello: %v", err)
		return
	}
	kind, b := c.words(h.nonce)
	near.Write(b)
	if kind != "silent" && c.r.IntN(2) == 0 {
		near.CloseWrite()
	}
	near.SetReadDeadline(time.Now().Add(handshakeTime + time.Second))
	message, _, err := readMessage(near)
	if err == nil {
		if a, err := decodeAnswer(message); err != nil || a.code < CodeUnknown && a.code != CodeProtocol {
			t.Errorf("%s: got code %v, %v, want a refusal", kind, a.code, err)
		}
	}
	if _, err := io.Copy(io.Discard, near); err != nil {
		t.Errorf("%s: the channel is still open: %v", kind, err)
	}
}

// TestWrongAttaches: 10,000 who may not attach leave a stream that runs as it is.
func TestWrongAttaches(t *testing.T) { synctest.Test(t, wrongAttaches) }

func wrongAttaches(t *testing.T) {
	targets := make(chan *pipeEnd, 1)
	srv := &Server{Dial: func(_ context.Context, name string, _ time.Duration) (net.Conn, error) {
		here, there := newPipe(simRoom)
		if name != "taken" {
			targets <- there
		}
		return here, nil
	}}
	network := &simNet{srv: srv, log: discard}
	var lost atomic.Int32
	client, err := Dial(t.Context(), &Config{Dial: network.dial, Target: func() string { return "x" }, Interval: time.Second, Keep: time.Hour, Log: discard,
		Changed: func(error) { lost.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	target := <-targets
	var held *Stream
	for _, h := range srv.streams {
		held = h.Stream
	}
	sums, stop := carry(client, target)
	before := heap()
	wrong := &wrongClient{srv: srv, held: held}
	wrong.replay = wrong.signed(&request{want: wantAttach, id: held.id, generation: 1000}, held.secret, nonce{9})
	var tries sync.WaitGroup
	for i := range 50 {
		tries.Go(func() {
			c := *wrong
			c.r = rand.New(rand.NewPCG(3, uint64(i)))
			for range 200 {
				c.try(t)
			}
		})
	}
	tries.Wait()
	if after := heap(); after > before+8<<20 {
		t.Errorf("%d bytes of heap before, %d after", before, after)
	}
	stop()
	if got, want, n := sums(); got != want || n < 1<<20 {
		t.Errorf("SHA-256 of %d bytes differ", n)
	}
	if n := lost.Load(); n != 0 {
		t.Errorf("the link changed %d times", n)
	}
	client.Shutdown(t.Context())
	srv.Close()
	network.serving.Wait()
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// carry sends from the target to the client and back until stop. sums returns the
// SHA-256 of what went in and of what came out.
func carry(client *Stream, target *pipeEnd) (sums func() (in, out [32]byte, n int), stop func()) {
	in, out, n := sha256.New(), sha256.New(), 0
	var running sync.WaitGroup
	ended := make(chan struct{})
	running.Go(func() {
		r := rand.New(rand.NewPCG(4, 4))
		for {
			b := randomBytes(r, 1+r.IntN(2000))
			in.Write(b)
			target.Write(b)
			select {
			case <-ended:
				target.CloseWrite()
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	running.Go(func() {
		io.Copy(client, client) // an echo, with its half-close
		client.CloseWrite()
	})
	running.Go(func() {
		k, _ := io.Copy(out, target)
		n = int(k)
	})
	stop = func() {
		close(ended)
		running.Wait()
	}
	return func() (a, b [32]byte, _ int) { return [32]byte(in.Sum(nil)), [32]byte(out.Sum(nil)), n }, stop
}

// TestUnheardAnswer: a stream whose client has gone before it showed to have heard
// of it goes soon, and one whose client did is kept.
func TestUnheardAnswer(t *testing.T) {
	for _, hears := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			here, there := newPipe(simRoom)
			defer there.Close()
			srv := &Server{Dial: func(context.Context, string, time.Duration) (net.Conn, error) { return here, nil }}
			defer srv.Close()
			near, far := newPipe(simRoom)
			go srv.Serve(far)
			h, err := readHello(near)
			if err != nil {
				t.Fatal(err)
			}
			q := request{want: wantOpen, id: id{1}, nonce: nonce{2}, generation: 1, secret: secret{3}, keep: time.Hour, interval: time.Second, target: "x"}
			near.Write(new(wrongClient).signed(&q, q.secret, h.nonce))
			want := 0
			if hears {
				near.Write(appendPair(nil, kindPing, 1, 0))
				want = 1
			}
			time.Sleep(time.Second)
			near.fail(io.ErrUnexpectedEOF)
			far.fail(io.ErrUnexpectedEOF)
			time.Sleep(unheardKeep - time.Second)
			if n := srv.Busy(); n != 1 {
				t.Errorf("%d streams at first, want 1", n)
			}
			time.Sleep(2 * time.Second)
			if n := srv.Busy(); n != want {
				t.Errorf("heard %v: %d streams in the end, want %d", hears, n, want)
			}
		})
	}
}

// TestHandshakesAreBounded: of those who say nothing, as many as are allowed are
// waited for, and not for long.
func TestHandshakesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := new(Server)
		var serving sync.WaitGroup
		var ends []*pipeEnd
		for range 10 * maxHandshakes {
			near, far := newPipe(simRoom)
			ends = append(ends, near)
			serving.Go(func() { srv.Serve(far) })
		}
		synctest.Wait()
		greeted := 0
		for _, near := range ends {
			near.SetReadDeadline(time.Now().Add(time.Nanosecond))
			if _, err := readHello(near); err == nil {
				greeted++
			}
		}
		if greeted != maxHandshakes || srv.Busy() != maxHandshakes {
			t.Errorf("greeted %d, busy with %d, want %d", greeted, srv.Busy(), maxHandshakes)
		}
		start := time.Now()
		for i := range 100 { // a drip of bytes gains no time
			time.Sleep(handshakeTime / 90)
			for _, near := range ends {
				near.Write([]byte{maxHello >> 9, byte(i)}) // a message of half the size
			}
		}
		serving.Wait()
		if took := time.Since(start); took > handshakeTime*10/9+time.Second || srv.Busy() != 0 {
			t.Errorf("ended after %v, busy with %d", took, srv.Busy())
		}
	})
}

// Who waits for a target that does not answer keeps nobody else out.
func TestHungDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &Server{MaxStreams: 2 * maxHandshakes, Dial: func(ctx context.Context, _ string, _ time.Duration) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		var serving sync.WaitGroup
		open := func(i int) *pipeEnd {
			near, far := newPipe(simRoom)
			serving.Go(func() { srv.Serve(far) })
			h, err := readHello(near)
			if err != nil {
				t.Fatalf("channel %d: %v", i, err)
			}
			q := request{want: wantOpen, id: id{byte(i), 7}, nonce: nonce{2}, generation: 1, secret: secret{3}, keep: time.Hour, interval: time.Second, target: "dark"}
			near.Write(new(wrongClient).signed(&q, q.secret, h.nonce))
			synctest.Wait()
			return near
		}
		for i := range srv.MaxStreams {
			defer open(i).Close()
		}
		near := open(srv.MaxStreams)
		defer near.Close()
		m, _, err := readMessage(near)
		if a, _ := decodeAnswer(m); err != nil || a.code != CodeFull {
			t.Errorf("one more than may be: got %v, %v, want full", a.code, err)
		}
		if n := srv.Busy(); n != srv.MaxStreams {
			t.Errorf("busy with %d, want %d", n, srv.MaxStreams)
		}
		serving.Wait()
		if n := srv.Busy(); n != 0 {
			t.Errorf("busy with %d in the end", n)
		}
	})
}

// lateWriter is a channel whose second Write, the answer, returns late, though
// what it wrote went at once.
type lateWriter struct {
	*pipeEnd
	writes int
}

func (c *lateWriter) Write(b []byte) (int, error) {
	n, err := c.pipeEnd.Write(b)
	if c.writes++; c.writes == 2 {
		time.Sleep(time.Second)
	}
	return n, err
}

// Who comes back before the relay is done with the first link has to wait, and is
// not put out by it.
func TestAttachDuringOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := newPipe(simRoom)
		defer there.Close()
		srv := &Server{Dial: func(context.Context, string, time.Duration) (net.Conn, error) { return here, nil }}
		defer srv.Close()
		ask := func(c net.Conn, near *pipeEnd, q request) Code {
			go srv.Serve(c)
			h, err := readHello(near)
			if err != nil {
				t.Fatal(err)
			}
			near.Write(new(wrongClient).signed(&q, secret{3}, h.nonce))
			m, _, err := readMessage(near)
			if err != nil {
				t.Fatal(err)
			}
			a, _ := decodeAnswer(m)
			return a.code
		}
		near, far := newPipe(simRoom)
		ask(&lateWriter{pipeEnd: far}, near, request{want: wantOpen, id: id{1}, nonce: nonce{2}, generation: 1, secret: secret{3}, keep: time.Hour, interval: time.Second, target: "x"})
		near.Close()
		again := request{want: wantAttach, id: id{1}, nonce: nonce{4}, generation: 2}
		near, far = newPipe(simRoom)
		if code := ask(far, near, again); code != CodeInUse {
			t.Errorf("got %v at once, want %v", code, CodeInUse)
		}
		time.Sleep(2 * time.Second)
		near, far = newPipe(simRoom)
		if code := ask(far, near, again); code != CodeClosed {
			t.Errorf("got %v later, want to be let in", code)
		}
		time.Sleep(time.Second)
		s := srv.streams[id{1}].Stream
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.generation != 2 || s.link == nil {
			t.Errorf("generation %d, attached %v, want the second link", s.generation, s.link != nil)
		}
	})
}

// An ACK may be of bytes that came over the link before when the peer had already
// said how much it has. They are not sent again.
func TestAckOfLinkBefore(t *testing.T) {
	const size, had = 100_000, 50_000
	synctest.Test(t, func(t *testing.T) {
		s := newStream(id{}, secret{}, nil)
		near, far := newPipe(1 << 20)
		before := s.attach(1, near, 0, 1<<20, 0)
		s.Write(knownBytes(0, size))
		if _, _, err := data(far, 0, size); err != nil {
			t.Fatal(err)
		}
		s.lose(before, errReplaced)
		before.running.Wait()

		near, far = newPipe(1 << 10) // which takes a part of a frame
		s.attach(2, near, had, 1<<20, 0)
		synctest.Wait()
		far.Write(appendPair(nil, kindAck, size, 1<<20))
		synctest.Wait()
		s.Write(knownBytes(size, 1000))
		for again := 0; ; {
			f, err := readFrame(far)
			if err != nil {
				t.Fatalf("after %d bytes again: %v, and %v", again, err, s.Err())
			}
			if f.kind == kindData && f.offset >= size {
				if f.offset != size || !bytes.Equal(f.data, knownBytes(size, 1000)) || again > had/2 {
					t.Errorf("got %d bytes at %d, and %d before again", len(f.data), f.offset, again)
				}
				break
			}
			again += len(f.data)
		}
		far.Write(appendPair(nil, kindAck, size+1001, 1<<20)) // what was never sent
		if <-s.Done(); !strings.Contains(s.Err().Error(), "acknowledged 101001 of 101000") {
			t.Errorf("got %v, want a violation", s.Err())
		}
		synctest.Wait()
	})
}
