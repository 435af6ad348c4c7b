package proxy

import (
	"os"

	"golang.org/x/sys/unix"
)

// growPipe lets a pipe hold size bytes: the cheapest gain on the way up. It
// fails where the user's share of pipe memory is spent, and then costs nothing.
func growPipe(f *os.File, size int) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size) })
	}
}

// waitReaderGone blocks until the far end of a pipe or socket has closed, and
// reports false if it cannot be waited for. It costs no thread: a broken pipe
// wakes whoever waits to read it.
func waitReaderGone(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	raw.Read(func(fd uintptr) bool {
		gone = readerGone(int(fd))
		return gone
	})
	return gone
}
