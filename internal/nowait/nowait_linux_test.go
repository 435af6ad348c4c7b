package nowait

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/nettest"
)

func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near.(*net.TCPConn), far.(*net.TCPConn)
}

func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b := pair(t)
		c1, c2 := Conn(a), Conn(b)
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}

func TestReset(t *testing.T) {
	a, b := pair(t)
	b.SetLinger(0)
	b.Close()
	_, err := Conn(a).Read(make([]byte, 1))
	if op := (*net.OpError)(nil); !errors.As(err, &op) || !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %v, want a net.OpError of ECONNRESET", err)
	}
}

// TestPipe has more go through a pipe than it holds, to its end.
func TestPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in, out := Reader(r), Writer(w)
	if in == io.Reader(r) || out == io.Writer(w) {
		t.Fatal("a pipe of ours is read or written as ever")
	}
	want := bytes.Repeat([]byte("0123456789"), 100_000)
	wrote := make(chan error, 1)
	go func() { // ends with the pipe
		_, err := out.Write(want)
		wrote <- errors.Join(err, w.Close())
	}()
	got, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes and %v, want %d", len(got), err, len(want))
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if _, err := out.Write(want); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after close: got %v", err)
	}
	r.Close()
	if _, err := in.Read(got); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after close: got %v", err)
	}
}

func TestBrokenPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	if _, err := Writer(w).Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v, want EPIPE", err)
	}
}

// TestTogether has two write at once, more than the kernel takes in a call.
func TestTogether(t *testing.T) {
	a, b := pair(t)
	out := Conn(a)
	const size = 8 << 20
	var writers sync.WaitGroup
	for _, c := range []byte("xy") {
		writers.Go(func() {
			if _, err := out.Write(bytes.Repeat([]byte{c}, size)); err != nil {
				t.Error(err)
			}
		})
	}
	got := make([]byte, 2*size)
	_, err := io.ReadFull(b, got)
	writers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	first := got[:1]
	if n := bytes.Count(got[:size], first); n != size {
		t.Errorf("got %d of the first writer's %d bytes before the second's", n, size)
	}
}
