package prompt

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	ioctlGetModes = unix.TCGETS
	ioctlSetModes = unix.TCSETS
)

// dropInput is tcflush(fd, TCIFLUSH).
func dropInput(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH) }

// fromBackground calls set so that the terminal obeys although we are not in
// front: with SIGTTOU blocked in this thread, tcsetattr is not refused.
func fromBackground(set func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var ttou, before unix.Sigset_t
	bit := uint(unix.SIGTTOU) - 1
	size := uint(unsafe.Sizeof(ttou.Val[0])) * 8
	ttou.Val[bit/size] |= 1 << (bit % size)
	if unix.PthreadSigmask(unix.SIG_BLOCK, &ttou, &before) == nil {
		defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
		set()
	}
}
