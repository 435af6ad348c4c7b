//go:build linux || darwin || freebsd

package relay

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

var (
	// errHeld: a daemon lives, or starts at this moment.
	errHeld = errors.New("a relay is starting")
	// errGone: no daemon lives, and with it went the streams.
	errGone = errors.New("no relay is running")
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
// to take it at that moment finds it held, and tries again.
func isHeld(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// living says whether a daemon of ours lives there or is starting. In a
// directory that is not ours anybody can hold a lock.
func (at place) living() bool { return isHeld(at.lock()) && at.safe() == nil }
