package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"ssh-stay/hop"
	"ssh-stay/internal/nowait"
	"ssh-stay/stream"
)

const (
	// pipeSize is what ssh's pipe is grown to hold once it carries bulk, and
	// what is read from it at once on a direct route. A user's pipes share a
	// limit, so idle ones stay small.
	pipeSize = 256 << 10
	// hopSize is read from ssh and written at once where a hop encrypts in
	// between: two of its packets, which stay in the processor's cache.
	hopSize = 64 << 10
	// downSize is read from a hop at once: half of what ssh's pipe has grown to,
	// so that ssh and we seldom wait for one another.
	downSize = 128 << 10
	// drainTime is how long what ssh wrote last may take to leave once ssh
	// has gone: its goodbye to the server.
	drainTime = 500 * time.Millisecond
)

// PeerError says that the connection broke after it had been made.
type PeerError struct{ Err error }

func (e *PeerError) Error() string {
	var errno syscall.Errno
	if errors.As(e.Err, &errno) && !tellsAll(e.Err) {
		return "connection lost: " + connectReason(e.Err)
	}
	return "connection lost: " + e.Err.Error()
}
func (e *PeerError) Unwrap() error { return e.Err }

// tellsAll says whether an error is of a hop or a stream, whose own words tell
// more than those of the system at the bottom of it.
func tellsAll(err error) bool {
	var lost *hop.LostError
	var expired *stream.ExpiredError
	return errors.As(err, &lost) || errors.As(err, &expired)
}

// ErrClientGone says that ssh went away before the peer ended the connection.
var ErrClientGone = errors.New("the client has gone")

// Splice copies both ways until the peer ends the connection or the client has
// gone, or ctx ends, and then closes the client's side unless the connection broke. EOF from
// the client half-closes peer and reading goes on. It returns nil if both
// directions ended cleanly, a *PeerError, ErrClientGone, or the cause of ctx.
// peer is left open: to close it ends the copying that may still wait.
func Splice(ctx context.Context, client *Client, peer *Conn) error {
	up, down := make(chan error, 1), make(chan error, 1)
	go func() { up <- copyUp(peer, client) }()     // ends with the process or peer
	go func() { down <- copyDown(client, peer) }() // ends when peer is closed
	select {
	case err := <-down:
		if err != nil && client.hasGone() {
			return ErrClientGone // it was ssh that ended the session
		}
		if err == nil {
			client.closeOut() // else when we exit: why is told before ssh sees the end
		}
		return outcome(err, up)
	case <-client.Gone():
		return farewell(up, down)
	case <-ctx.Done():
		client.closeOut() // ssh need not wait for what we have yet to do
		return context.Cause(ctx)
	}
}

// outcome judges the end of the peer's side. up tells of the other direction
// if that has ended.
func outcome(down error, up <-chan error) error {
	if down != nil {
		return down
	}
	select {
	case err := <-up:
		return err
	default:
		return nil
	}
}

// farewell lets what ssh wrote last go out and be taken, for a moment: to close
// with bytes of the peer unread would reset the connection and discard it.
func farewell(up, down <-chan error) error {
	late := time.After(drainTime)
	for _, ended := range []<-chan error{up, down} {
		select {
		case err := <-ended:
			if err != nil {
				return ErrClientGone // nobody is left to hear why
			}
		case <-late:
			return ErrClientGone
		}
	}
	return nil
}

// copyUp sends what the client writes until its EOF.
func copyUp(peer *Conn, client *Client) error {
	size := hopSize
	var out io.Writer = peer
	if tcp, ok := peer.Conn.(*net.TCPConn); ok {
		size, out = pipeSize, nowait.Conn(tcp)
	}
	buf := make([]byte, size)
	in := from(client.in)
	for grown := false; ; {
		n, err := client.ahead.read(in, buf)
		if n >= hopSize && !grown { // as much as ssh's pipe held: this is bulk
			grown = true
			growPipe(client.in, pipeSize)
		}
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				return &PeerError{err}
			}
			peer.up.Add(int64(n))
		}
		if err != nil {
			peer.CloseWrite() // fails only where the peer has gone, which Read tells
			return inputEnd(err)
		}
	}
}

// inputEnd tells the client's EOF from a loss.
func inputEnd(err error) error {
	switch {
	case err == io.EOF:
		return nil
	case errors.Is(err, syscall.ECONNRESET): // a socket, closed with bytes unread
		return ErrClientGone
	}
	return fmt.Errorf("read stdin: %w", err)
}

// copyDown delivers what the peer sends until its EOF.
func copyDown(client *Client, peer *Conn) error {
	err := copyHeard(client, peer)
	if err == nil {
		err = copyRest(client, peer)
	}
	if err == io.EOF {
		return nil
	}
	err = judge(err)
	if err == ErrClientGone {
		client.left()
		io.Copy(io.Discard, peer) // see farewell
	}
	return err
}

// copyHeard delivers what Meet has heard, and what it was about to hear. It
// returns io.EOF if that is all.
func copyHeard(client *Client, peer *Conn) error {
	if peer.ahead == nil {
		return nil
	}
	deliver := func(p []byte) error {
		if len(p) == 0 { // which a reader of a Windows pipe may take for the end
			return nil
		}
		peer.down.Add(int64(len(p)))
		_, err := to(client.out).Write(p)
		return err
	}
	if err := deliver(peer.heard); err != nil {
		return err
	}
	last := <-peer.ahead
	if err := deliver(last.b); err != nil {
		return err
	}
	return last.err
}

// copyRest delivers from then on. From TCP to a pipe or socket io.Copy splices in
// the kernel; not all else takes that.
func copyRest(client *Client, peer *Conn) error {
	if tcp, ok := peer.Conn.(*net.TCPConn); ok && isPipeOrSocket(client.out) {
		_, err := io.Copy(client.out, tcp)
		return err
	}
	out := &pipeWriter{out: client.out, to: to(client.out)}
	if s, ok := peer.Conn.(*stream.Stream); ok { // which acknowledges what was taken
		_, err := s.WriteTo(out)
		return err
	}
	_, err := io.CopyBuffer(out, counter{peer}, make([]byte, downSize))
	return err
}

// judge tells whose the error of copying down is: a splice in the kernel
// reports the connection's errors as stdout's.
func judge(err error) error {
	var errno syscall.Errno
	switch {
	case err == nil:
		return nil
	case tellsAll(err) || !errors.As(err, &errno):
		return &PeerError{err}
	case errno == syscall.EPIPE:
		return ErrClientGone
	case errno == syscall.ENOSPC || errno == syscall.EFBIG || errno == syscall.EIO:
		return fmt.Errorf("write stdout: %w", errno)
	}
	return &PeerError{errno}
}

// pipeWriter grows ssh's pipe once it carries bulk, as copyUp does: a tenth
// faster for one session. Where dozens saturate the processor it costs as much, and
// twice that with a stream: ssh then takes in more each turn than it can give out.
type pipeWriter struct {
	out   *os.File
	to    io.Writer
	grown bool
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	if len(p) >= hopSize/2 && !w.grown {
		w.grown = true
		growPipe(w.out, pipeSize)
	}
	return w.to.Write(p)
}

// from and to are ssh's ends. Terminals and files are not in the poller.
func from(f *os.File) io.Reader {
	if isPipeOrSocket(f) {
		return nowait.Reader(f)
	}
	return f
}

func to(f *os.File) io.Writer {
	if isPipeOrSocket(f) {
		return nowait.Writer(f)
	}
	return f
}

// counter keeps io.CopyBuffer from calling WriteTo, which does not use its buffer.
type counter struct{ peer *Conn }

func (c counter) Read(p []byte) (int, error) {
	n, err := c.peer.Conn.Read(p)
	c.peer.down.Add(int64(n))
	return n, err
}
