//go:build unix

package prompt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

var (
	errWoken      = errors.New("woken") // by ctx or a signal
	errBackground = errors.New("not in the foreground of the terminal")
)

// terminal is the controlling terminal, opened by ourselves: that it does not
// block is a property of this descriptor alone.
type terminal struct{ fd int }

func openTerminal() (*terminal, error) {
	fd, err := again(func() (int, error) {
		return unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	})
	if err == nil && fd >= unix.FD_SETSIZE {
		unix.Close(fd)
		err = unix.EMFILE // select knows no such number
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/tty", Err: err}
	}
	return &terminal{fd}, nil
}

func (t *terminal) close() { unix.Close(t.fd) }

// ask asks until there is an answer, an error, or a signal that ends us. After a
// stop it asks anew, as readpassphrase(3) does.
func (t *terminal) ask(ctx context.Context, q Question) ([]byte, error) {
	// To the start of the line: hides what was typed before echo went off.
	unix.Write(t.fd, []byte("\r"))
	for {
		answer, caught, err := t.askOnce(ctx, q)
		if len(caught) == 0 && !errors.Is(err, errBackground) {
			return answer, err
		}
		Wipe(answer)
		if err := t.interrupted(ctx, caught); err != nil {
			return nil, err
		}
	}
}

// interrupted does what the signals ask for, or stops us as a read in the
// background does. It returns nil if the question is to be asked anew.
func (t *terminal) interrupted(ctx context.Context, caught []syscall.Signal) error {
	if len(caught) > 0 {
		if err := deliver(ctx, caught); err != nil {
			return err
		}
	} else if !suspend(ctx) {
		return errBackground
	}
	if !t.foreground() {
		// A shell's kill continues us too. Asking in the background would stop
		// us before the program's own handler had ended ctx.
		settle(ctx, nil)
	}
	return ctx.Err()
}

// askOnce shows the question and reads a line. Whatever happens, the terminal is
// as before when it returns. Signals that came meanwhile have had no effect yet.
func (t *terminal) askOnce(ctx context.Context, q Question) (answer []byte, caught []syscall.Signal, err error) {
	a, err := newAlarm(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { caught = a.stop() }()
	// In the background this stops us, by SIGTTOU, until we are in front.
	m, err := t.setEcho(q.Echo)
	if err != nil {
		return nil, nil, fmt.Errorf("set the terminal's echo: %w", err)
	}
	defer t.restore(m)
	if err := t.write(a, q.Text); err != nil {
		return nil, nil, err
	}
	answer, err = t.readLine(a)
	return answer, nil, err
}

// write shows text; a terminal that is held by ^S takes none.
func (t *terminal) write(a *alarm, text string) error {
	for p := []byte(text); len(p) > 0; {
		if err := t.wait(a, true); err != nil {
			return err
		}
		n, err := unix.Write(t.fd, p)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write to /dev/tty: %w", err)
		}
		p = p[n:]
	}
	return nil
}

// readLine reads to the end of a line, of which it keeps maxAnswer bytes. It
// reads them one by one, so that the rest of the input stays where it is.
func (t *terminal) readLine(a *alarm) (answer []byte, err error) {
	answer = make([]byte, 0, maxAnswer)
	var c [1]byte
	for {
		n, err := t.readByte(a, c[:])
		switch {
		case err != nil:
			Wipe(answer)
			return nil, err
		case n == 0 && len(answer) == 0:
			return nil, io.EOF
		case n == 0 || c[0] == '\n' || c[0] == '\r':
			return cut(answer), nil
		case len(answer) < maxAnswer:
			answer = append(answer, c[0])
		}
		clear(c[:])
	}
}

// readByte waits for a byte and reads it; 0 is the end of input. Whether we are
// in front is asked rather than left to SIGTTIN: caught, by a handler that
// restarts the read, that would come again for ever.
func (t *terminal) readByte(a *alarm, c []byte) (int, error) {
	for {
		if err := t.wait(a, false); err != nil {
			return 0, err
		}
		if !t.foreground() {
			return 0, errBackground
		}
		n, err := unix.Read(t.fd, c)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("read from /dev/tty: %w", err)
		}
		return n, nil
	}
}

// wait returns when the terminal can be read or written, or with errWoken. It is
// select because macOS has neither poll nor kqueue for /dev/tty.
func (t *terminal) wait(a *alarm, write bool) error {
	for {
		var r, w unix.FdSet
		r.Set(a.fd)
		if write {
			w.Set(t.fd)
		} else {
			r.Set(t.fd)
		}
		_, err := unix.Select(max(t.fd, a.fd)+1, &r, &w, nil, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("wait for /dev/tty: %w", err)
		case r.IsSet(a.fd):
			return errWoken
		default:
			return nil
		}
	}
}

// foreground tells whether our process group has the terminal. One that is gone
// says so when it is read.
func (t *terminal) foreground() bool {
	pgrp, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	return err != nil || pgrp == unix.Getpgrp()
}

// again repeats a call that a signal interrupted.
func again[T any](call func() (T, error)) (T, error) {
	for {
		if v, err := call(); err != unix.EINTR {
			return v, err
		}
	}
}
