//go:build unix

package stream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// slowLine is a line of 30 kB/s that holds 440 KiB.
type slowLine struct {
	net.Conn
	given chan []byte
}

func newSlowLine(c net.Conn) *slowLine {
	l := &slowLine{c, make(chan []byte, 110)}
	go func() { // ends with the test
		for p := range l.given {
			<-time.After(time.Duration(len(p)) * time.Second / 30e3)
			if _, err := c.Write(p); err != nil {
				return
			}
		}
	}()
	return l
}

func (l *slowLine) Write(p []byte) (int, error) {
	for piece := range slices.Chunk(p, 4<<10) {
		l.given <- bytes.Clone(piece)
	}
	return len(p), nil
}

// TestAbandon: what was written and is not on its way yet does not keep the server from
// hearing of the end, nor does a line for which what is on its way is more than lingerTime.
// What arrives is the beginning of what was written.
func TestAbandon(t *testing.T) {
	network, client, target, err := streamPair(way{"slow", func() (near, far net.Conn, err error) {
		near, far, err = bufferedPair()
		return newSlowLine(near), far, err
	}}, new(atomic.Int32))
	if err != nil {
		t.Fatal(err)
	}
	defer network.end(client, target)
	written := make([]byte, 2*maxWindow)
	rand.NewChaCha8([32]byte{1}).Read(written)
	client.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	n, err := client.Write(written)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes written, %v; want a full window", n, err)
	}
	begun := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- client.Abandon(t.Context()) }() // ends with the client
	target.SetReadDeadline(begun.Add(30 * time.Second))
	got, err := io.ReadAll(target)
	if err != nil {
		t.Error(err)
	}
	target.Close()
	if err := <-ended; err != nil {
		t.Errorf("abandon: %v", err)
	}
	if took := time.Since(begun); took < lingerTime {
		t.Errorf("the line was empty after %v, which proves nothing", took)
	}
	if len(got) == 0 || len(got) >= n || !bytes.Equal(got, written[:len(got)]) {
		t.Errorf("%d bytes of %d arrived, want a true beginning of them", len(got), n)
	}
	for end := time.Now().Add(5 * time.Second); network.srv.Busy() > 0; <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server keeps the stream")
		}
	}
}

// TestTruncate compares a queue with a slice.
func TestTruncate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var q queue
		var want []byte
		for range 1 + r.IntN(8) {
			b := newChunk(maxChunk)[:1+r.IntN(1<<r.IntN(17))]
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			want = append(want, b...)
			q.push(b)
			if r.IntN(2) == 0 {
				n := r.IntN(q.size + 1)
				q.discard(n)
				want = want[n:]
			}
			if r.IntN(3) == 0 {
				n := r.IntN(q.size + 1)
				q.truncate(n)
				want = want[:n]
			}
		}
		if got := q.appendFrom(nil, 0, q.size); q.size != len(want) || !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes, want %d", len(got), len(want))
		}
		for _, c := range q.chunks {
			if len(c) == 0 {
				t.Fatal("an empty chunk")
			}
		}
	}
}
