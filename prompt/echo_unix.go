//go:build unix

package prompt

import "golang.org/x/sys/unix"

// modes are a terminal's modes before a question, and while it is asked.
type modes struct{ before, asking unix.Termios }

// setEcho turns echo off unless the answer may be seen, and drops what was typed
// too early. The rest of line editing stays the kernel's.
func (t *terminal) setEcho(echo bool) (m modes, err error) {
	now, err := t.modes()
	if err != nil {
		return m, err
	}
	m = modes{*now, *now}
	if !echo {
		m.asking.Lflag &^= unix.ECHO | unix.ECHONL
	}
	return m, t.set(&m.asking)
}

// restore shows the line end that was typed unseen and turns echo on again. That
// is left alone if the modes are not those we set: then the terminal has a new
// owner, such as the shell after ssh was killed, and is in use.
func (t *terminal) restore(m modes) {
	if m.asking.Lflag&unix.ECHO == 0 {
		unix.Write(t.fd, []byte("\n"))
	}
	now, err := t.modes()
	if err != nil || now.Lflag != m.asking.Lflag || now.Lflag == m.before.Lflag {
		return
	}
	now.Lflag = m.before.Lflag
	if t.foreground() {
		t.set(now)
	} else {
		fromBackground(func() { t.set(now) })
	}
}

func (t *terminal) modes() (*unix.Termios, error) {
	return again(func() (*unix.Termios, error) { return unix.IoctlGetTermios(t.fd, ioctlGetModes) })
}

// set is tcsetattr with TCSAFLUSH, but that it does not wait for output to drain:
// under ^S that would be for ever.
func (t *terminal) set(m *unix.Termios) error {
	_, err := again(func() (struct{}, error) { return struct{}{}, unix.IoctlSetTermios(t.fd, ioctlSetModes, m) })
	if err != nil {
		return err
	}
	_, err = again(func() (struct{}, error) { return struct{}{}, dropInput(t.fd) })
	return err
}
