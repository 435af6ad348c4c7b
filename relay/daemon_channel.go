//go:build linux || darwin || freebsd

package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ssh-stay/internal/nowait"
)

// channel is stdin and stdout of a bridge as a connection. They are two pipes,
// or the same socket twice, as sshd was built.
type channel struct {
	in, out *os.File
	from    io.Reader // in
	to      io.Writer // out
}

// newChannel owns the descriptors, and closes them if it fails.
func newChannel(in, out int) (net.Conn, error) {
	err := errors.Join(unix.SetNonblock(in, true), unix.SetNonblock(out, true))
	c := &channel{in: os.NewFile(uintptr(in), "stdin"), out: os.NewFile(uintptr(out), "stdout")}
	c.from, c.to = nowait.Reader(c.in), nowait.Writer(c.out)
	// What cannot be polled, a file, would block Close.
	if err = errors.Join(err, c.SetDeadline(time.Time{})); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *channel) Read(b []byte) (int, error) {
	n, err := c.from.Read(b)
	return n, asNet(err)
}

func (c *channel) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	return n, asNet(err)
}

// Close makes blocked Read and Write return.
func (c *channel) Close() error {
	return asNet(errors.Join(c.in.Close(), c.out.Close()))
}

func (c *channel) SetDeadline(t time.Time) error {
	return errors.Join(c.in.SetReadDeadline(t), c.out.SetWriteDeadline(t))
}
func (c *channel) SetReadDeadline(t time.Time) error  { return asNet(c.in.SetReadDeadline(t)) }
func (c *channel) SetWriteDeadline(t time.Time) error { return asNet(c.out.SetWriteDeadline(t)) }

func (c *channel) LocalAddr() net.Addr  { return addr{} }
func (c *channel) RemoteAddr() net.Addr { return addr{} }

// asNet has a closed channel fail as a closed connection does.
func asNet(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return net.ErrClosed
	}
	return err
}

type addr struct{}

func (addr) Network() string { return "ssh" }
func (addr) String() string  { return "channel" }
