//go:build linux || darwin || freebsd

package relay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

var (
	// errHeld: a daemon lives, or starts at this moment.
	errHeld = errors.New("a relay is starting")
	// errGone: no daemon lives, and with it went the streams.
	errGone = errors.New("no relay is running")
	// errUnseen: no daemon is found, but one may live where we cannot look now.
	errUnseen = errors.New("cannot tell whether a relay runs")
)

// takeLock returns the locked file, or errHeld. The lock goes with the last
// descriptor of the open file, however a process ends: no lock is ever stale.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		err = errHeld
	case err != nil:
		err = &os.PathError{Op: "lock", Path: path, Err: err}
	case !isAt(f, path): // a cleaner was faster; the caller tries again
		err = errHeld
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func isAt(f *os.File, path string) bool {
	have, err1 := f.Stat()
	want, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(have, want)
}

// isHeld asks without disturbing: those who ask share the lock. One who wants
// to take it at that moment finds it held, and tries again. A file that is not
// there is held by nobody; of one that cannot be asked an error is returned.
func isHeld(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if isAbsent(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = again(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) })
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return true, nil
	case errors.Is(err, errors.ErrUnsupported): // there nobody locks anything
		return false, nil
	case err != nil:
		return false, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return false, nil
}

// isAbsent says that there is no such file, and no other reason.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// living says whether a daemon of ours lives there or is starting, or returns
// errUnseen. In a directory that others can write to anybody can hold a lock, and it
// may have been ours alone before. One of somebody else's never was; and where no lock
// can be had, as on NFS without its lock manager, no daemon ever came to its socket.
func (at place) living() (bool, error) {
	held, err := isHeld(at.lock())
	if held {
		err = at.safe()
	}
	switch {
	case err == nil:
		return held, nil
	case at.isForeign(), !held && !at.hasSocket():
		return false, nil
	}
	return false, fmt.Errorf("%w: %w", errUnseen, err)
}

// hasSocket is false where it is known that there is none.
func (at place) hasSocket() bool {
	_, err := os.Lstat(at.socket())
	return !isAbsent(err)
}
