//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package prompt

import "golang.org/x/sys/unix"

const (
	ioctlGetModes = unix.TIOCGETA
	ioctlSetModes = unix.TIOCSETA
)

// dropInput is tcflush(fd, TCIFLUSH), which is TIOCFLUSH with FREAD.
func dropInput(fd int) error { return unix.IoctlSetPointerInt(fd, unix.TIOCFLUSH, 1) }

// fromBackground does not call set, which would stop us with echo off. Nor does
// readpassphrase(3) restore echo there; the shell in front has modes of its own.
func fromBackground(set func()) {}
