//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeBuf is what a pipe takes whole once poll says that it is writable.
const pipeBuf = 4096

// writeStderr writes without ever blocking. Stderr is shared with ssh and the
// terminal, so its flags are not ours to change: each piece asks first.
func writeStderr(p []byte) {
	for len(p) > 0 {
		fds := []unix.PollFd{{Fd: 2, Events: unix.POLLOUT}}
		if n, err := unix.Poll(fds, 0); err != nil && err != unix.EINTR || n == 0 || fds[0].Revents&unix.POLLOUT == 0 {
			return
		}
		n, err := unix.Write(2, p[:min(len(p), pipeBuf)])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		p = p[n:]
	}
}

// closeStderr gives stderr back to whom it is shared with.
func closeStderr() {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer null.Close()
	unix.Dup2(int(null.Fd()), 2)
}
