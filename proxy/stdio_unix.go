//go:build unix

package proxy

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// unblock makes f non-blocking if it is a pipe or a socket. One that came so is
// in the runtime's poller already, which takes no second file for it.
func unblock(f *os.File) *os.File {
	polled := f.SetDeadline(time.Time{}) == nil
	raw, err := f.SyscallConn() // f.Fd() would make it blocking
	if err != nil || polled || !isPipeOrSocket(f) {
		return f
	}
	made := f
	raw.Control(func(fd uintptr) {
		if unix.SetNonblock(int(fd), true) == nil {
			made = os.NewFile(fd, f.Name())
		}
	})
	return made
}

func isPipeOrSocket(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}

// readerGone says whether a poll for nothing tells of a broken pipe.
func readerGone(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, _ := unix.Poll(fds, 0)
	return n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
}

func hangUp(p *os.Process) { p.Signal(unix.SIGHUP) }
