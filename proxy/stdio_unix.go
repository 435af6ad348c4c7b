//go:build unix

package proxy

import (
	"os"

	"golang.org/x/sys/unix"
)

// unblock makes f non-blocking if it is a pipe or a socket. One that already
// is belongs to the runtime's poller, and to no second file.
func unblock(f *os.File) *os.File {
	raw, err := f.SyscallConn() // f.Fd() would make it blocking
	if err != nil || !isPipeOrSocket(f) {
		return f
	}
	made := f
	raw.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK != 0 || unix.SetNonblock(int(fd), true) != nil {
			return
		}
		made = os.NewFile(fd, f.Name())
	})
	return made
}

func isPipeOrSocket(f *os.File) bool {
	kind := fileMode(f)
	return kind&(os.ModeNamedPipe|os.ModeSocket) != 0
}

func isSocket(f *os.File) bool { return fileMode(f)&os.ModeSocket != 0 }

func fileMode(f *os.File) os.FileMode {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Mode()
}

// readerGone says whether a poll for nothing tells of a broken pipe.
func readerGone(fd, timeout int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, _ := unix.Poll(fds, timeout)
	return n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
}

func hangUp(p *os.Process) { p.Signal(unix.SIGHUP) }
