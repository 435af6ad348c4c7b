//go:build unix

package proxy

import (
	"os"

	"golang.org/x/sys/unix"
)

// unblock makes f non-blocking if it is a pipe or a socket.
func unblock(f *os.File) *os.File {
	fd := int(f.Fd())
	if !isPipeOrSocket(fd) || unix.SetNonblock(fd, true) != nil {
		return f
	}
	return os.NewFile(uintptr(fd), f.Name())
}

func isPipeOrSocket(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	kind := st.Mode & unix.S_IFMT
	return kind == unix.S_IFIFO || kind == unix.S_IFSOCK
}

func isSocket(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK
}

// readerGone says whether a poll for nothing tells of a broken pipe.
func readerGone(fd, timeout int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, _ := unix.Poll(fds, timeout)
	return n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
}

func hangUp(p *os.Process) { p.Signal(unix.SIGHUP) }
