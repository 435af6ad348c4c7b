//go:build unix && !linux

package proxy

import (
	"os"
	"time"
)

func growPipe(*os.File, int) {}

// waitReaderGone blocks until the far end of a pipe or socket has closed, and
// reports false if it cannot be waited for.
func waitReaderGone(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil || !isPipeOrSocket(f) {
		return false
	}
	for {
		gone := false
		err := raw.Control(func(fd uintptr) {
			gone = readerGone(int(fd))
		})
		if gone || err != nil {
			return gone
		}
		time.Sleep(time.Second)
	}
}
