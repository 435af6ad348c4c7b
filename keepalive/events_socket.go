//go:build linux || darwin

package keepalive

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// socket is a source that reads messages of the kernel.
type socket struct {
	file *os.File // does not block: a reader waits in the runtime's poller
	// matters says whether any of the messages in b means a change.
	matters func(b []byte) bool
	// lost, if not nil, is told that messages were lost.
	lost func()
}

func (s *socket) watch(ctx context.Context, changed func()) error {
	defer s.file.Close()
	defer context.AfterFunc(ctx, func() { s.file.Close() })() // ends the read
	buf := make([]byte, 8<<10)
	for {
		n, err := s.file.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // too many: nobody knows what was in them
			if s.lost != nil {
				s.lost()
			}
			changed()
		case err != nil:
			return err
		case s.matters(buf[:n]):
			changed()
		}
	}
}
