package remote

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// cutConn dies after so many bytes, counted over both directions, in the midst of a read or write.
type cutConn struct {
	net.Conn
	left atomic.Int64
	cuts *atomic.Int64
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if over := c.spend(n); over > 0 {
		c.Conn.Close() // an error must stay: textproto's look-ahead eats one
		return n - over, net.ErrClosed
	}
	return n, err
}

func (c *cutConn) Write(b []byte) (int, error) {
	if over := c.spend(len(b)); over > 0 {
		n, _ := c.Conn.Write(b[:len(b)-over])
		c.Conn.Close()
		return n, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// spend returns how many of n bytes are beyond the cut.
func (c *cutConn) spend(n int) int {
	left := c.left.Add(int64(-n))
	if left >= 0 {
		return 0
	}
	if left+int64(n) >= 0 {
		c.cuts.Add(1)
	}
	return min(n, int(-left))
}

// TestCuts sends numbered messages of random lengths through connections that are cut at random
// bytes, in the handshake too: each echo comes once and in order, so each message came so as well.
func TestCuts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	addr := listen(t, &Server{KeepAlive: 50 * time.Millisecond, Ack: 5 * time.Millisecond})
	var cuts atomic.Int64
	dial := func(left int64) net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		cut := &cutConn{Conn: c, cuts: &cuts}
		cut.left.Store(left)
		return cut
	}
	s, err := Open(t.Context(), dial(2000), Config{KeepAlive: 50 * time.Millisecond, Ack: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	const messages = 2000
	sizes := make([]int, messages)
	for i := range sizes {
		sizes[i] = 8 + rnd.IntN(3000)
	}
	window := make(chan bool, 40) // so that messages are made between, during and after connections
	go func() {                   // ends with the test
		for i, n := range sizes {
			m := make([]byte, n)
			binary.BigEndian.PutUint64(m, uint64(i))
			select {
			case window <- true:
				s.Send(m)
			case <-t.Context().Done():
				return
			}
		}
	}()
	for got := 0; got < messages; {
		select {
		case m := <-s.Recv():
			if i := binary.BigEndian.Uint64(m); i != uint64(got) || len(m) != sizes[got] {
				t.Fatalf("got message %d of %d bytes, want %d of %d", i, len(m), got, sizes[got])
			}
			got++
			<-window
		case <-s.Lost():
			s.Reconnect(t.Context(), dial(rnd.Int64N(60000))) // an error is a cut in the handshake
		case <-time.After(20 * time.Second):
			t.Fatalf("stuck after %d messages and %d cuts", got, cuts.Load())
		}
	}
	if n := cuts.Load(); n < 100 {
		t.Errorf("%d cuts, want at least 100", n)
	}
	t.Logf("%d messages over %d cuts", messages, cuts.Load())
}

// listen serves s on a loopback port until the test ends.
func listen(t *testing.T, s *Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}
