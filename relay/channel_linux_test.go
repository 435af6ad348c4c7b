package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bothWays are the channel of two pipes, and of one socket, with its far ends.
func bothWays(t *testing.T) map[string]func() (c net.Conn, in io.WriteCloser, out io.ReadCloser) {
	own := func(fds []int, err error) []int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return fds
	}
	channel := func(in, out int) net.Conn {
		c, err := newChannel(in, out)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return map[string]func() (net.Conn, io.WriteCloser, io.ReadCloser){
		"pipes": func() (net.Conn, io.WriteCloser, io.ReadCloser) {
			in, out := make([]int, 2), make([]int, 2)
			own(in, unix.Pipe(in))
			own(out, unix.Pipe(out))
			return channel(in[0], out[1]), os.NewFile(uintptr(in[1]), "in"), os.NewFile(uintptr(out[0]), "out")
		},
		"socket": func() (net.Conn, io.WriteCloser, io.ReadCloser) {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			fds := own(pair[:], err)
			again, err := unix.Dup(fds[0])
			own(nil, err)
			file := os.NewFile(uintptr(fds[1]), "far")
			return channel(fds[0], again), file, file
		},
	}
}

func TestChannel(t *testing.T) {
	for name, open := range bothWays(t) {
		t.Run(name, func(t *testing.T) {
			c, in, out := open()
			defer in.Close()
			defer out.Close()
			b := make([]byte, 9)
			io.WriteString(in, "there")
			if n, err := c.Read(b); string(b[:n]) != "there" || err != nil {
				t.Errorf("got %q, %v", b[:n], err)
			}
			io.WriteString(c, "back")
			if n, err := out.Read(b); string(b[:n]) != "back" || err != nil {
				t.Errorf("got %q, %v", b[:n], err)
			}
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: got %v, want a timeout", err)
			}
			if _, err := io.WriteString(c, "still"); err != nil {
				t.Errorf("write after a timeout of read: %v", err)
			}
			c.SetWriteDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write: got %v, want a timeout", err)
			}
		})
	}
}

func TestChannelClose(t *testing.T) {
	for name, open := range bothWays(t) {
		t.Run(name, func(t *testing.T) {
			c, in, out := open()
			defer in.Close()
			defer out.Close()
			errs := make(chan error, 2)
			started := make(chan struct{}, 2)
			go func() { started <- struct{}{}; _, err := c.Read(make([]byte, 1)); errs <- err }()
			go func() { started <- struct{}{}; _, err := c.Write(make([]byte, 1<<20)); errs <- err }()
			<-started
			<-started
			out.Read(make([]byte, 1)) // Write has begun
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			for range 2 {
				if err := <-errs; !errors.Is(err, net.ErrClosed) {
					t.Errorf("got %v, want %v", err, net.ErrClosed)
				}
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v after Close, want %v", err, net.ErrClosed)
			}
		})
	}
}
