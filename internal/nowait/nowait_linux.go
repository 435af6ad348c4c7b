package nowait

import (
	"io"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// side is one direction of a descriptor.
type side struct {
	raw  syscall.RawConn
	trap uintptr
	name string // of the call
	once func(fd uintptr) bool

	mu    sync.Mutex // guards what follows: one Read or Write at a time
	p     []byte
	n     int
	errno syscall.Errno
}

type reader struct {
	side
	from ReadConn
}

type writer struct {
	side
	to WriteConn
}

// Reader reads from c, which must be non-blocking or is read as ever.
func Reader(c ReadConn) io.Reader {
	r := &reader{from: c}
	if !r.takes(c, syscall.SYS_READ, "read") {
		return c
	}
	return r
}

// Writer writes to c, which must be non-blocking or is written as ever.
func Writer(c WriteConn) io.Writer {
	w := &writer{to: c}
	if !w.takes(c, syscall.SYS_WRITE, "write") {
		return c
	}
	return w
}

func (s *side) takes(c syscall.Conn, trap uintptr, name string) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	nonblocking := false
	raw.Control(func(fd uintptr) {
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
		nonblocking = errno == 0 && flags&syscall.O_NONBLOCK != 0
	})
	s.raw, s.trap, s.name, s.once = raw, trap, name, s.call
	return nonblocking
}

// call reports false where the poller has to wait.
func (s *side) call(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(s.trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(s.p))), uintptr(len(s.p)))
		if errno == syscall.EINTR {
			continue
		}
		s.n, s.errno = int(n), errno
		return errno != syscall.EAGAIN
	}
}

// do makes the call for p, below mu. polled says that it was made.
func (s *side) do(p []byte, poll func(func(uintptr) bool) error) (n int, polled bool, err error) {
	s.p = p
	failed := poll(s.once)
	s.p = nil
	switch {
	case failed != nil:
		return 0, false, nil
	case s.errno != 0:
		return 0, true, &callError{os.NewSyscallError(s.name, s.errno)}
	}
	return s.n, true, nil
}

// Read, where the poller does not wait, since c is closed or its time is over,
// leaves it to c to say so.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return r.from.Read(p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n, polled, err := r.do(p, r.raw.Read)
	if !polled {
		return r.from.Read(p)
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write keeps the bytes of one call together.
func (w *writer) Write(p []byte) (total int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for total < len(p) && err == nil {
		n, polled, failed := w.do(p[total:], w.raw.Write)
		if !polled {
			n, failed = w.to.Write(p[total:])
		}
		total, err = total+n, failed
	}
	return total, err
}
