//go:build linux || darwin || freebsd

package relay

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// backlog is what Linux allows by default (net.core.somaxconn); others
	// take what they can.
	backlog = 4096
	// greeting is what a daemon sends to a bridge that it will serve.
	greeting = '!'
)

// listen makes the socket. The caller holds the place's lock: nobody else uses
// the temporary name, and what is at the final one is stale. The socket has its
// mode before it listens, and its name after.
func (at place) listen() (*os.File, error) {
	if err := os.Remove(at.fresh()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), at.fresh())
	if err := at.bind(fd); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (at place) bind(fd int) error {
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: at.fresh()}); err != nil {
		return &os.PathError{Op: "bind", Path: at.fresh(), Err: err}
	}
	if err := os.Chmod(at.fresh(), 0o600); err != nil {
		return err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return os.NewSyscallError("listen", err)
	}
	return os.Rename(at.fresh(), at.socket())
}

// dial returns a connection that the daemon has greeted: it will take the
// descriptors. The descriptor is plain and blocking, as a bridge does nothing
// else.
func (at place) dial(patience time.Duration) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	err = connect(fd, at.socket(), patience)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", at.socket(), err)
	}
	return fd, nil
}

func connect(fd int, path string, patience time.Duration) error {
	if err := setTimeout(fd, patience); err != nil {
		return err
	}
	err := again(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) })
	if err != nil {
		return err
	}
	if uid, err := peerUID(fd); err != nil {
		return err
	} else if uid != os.Geteuid() {
		return fmt.Errorf("it belongs to uid %d", uid)
	}
	var b [1]byte
	var n int
	err = again(func() error { n, err = unix.Read(fd, b[:]); return err })
	switch {
	case err != nil:
		return err
	case n == 0:
		return io.ErrUnexpectedEOF
	case b[0] != greeting:
		return fmt.Errorf("it says %q", b[0])
	}
	return setTimeout(fd, 0)
}

// setTimeout bounds connecting, while the backlog is full, and reading.
func setTimeout(fd int, d time.Duration) error {
	tv := unix.NsecToTimeval(int64(d))
	return errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
}

// again calls f until no signal interrupts it: the scheduler of Go sends some.
func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
