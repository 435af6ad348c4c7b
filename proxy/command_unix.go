//go:build unix

package proxy

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// leaveTerminal starts cmd in a session of its own, which has no terminal: a
// program that finds none does not ask, and what asks on stdin asks the host.
func leaveTerminal(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// hangUpCommand asks a command to end; one that leads a session, with all of it.
func hangUpCommand(p *os.Process, session bool) {
	if session {
		unix.Kill(-p.Pid, unix.SIGHUP)
		return
	}
	hangUp(p)
}

func killSession(p *os.Process) { unix.Kill(-p.Pid, unix.SIGKILL) }

// stderrLike makes a pipe, which is a terminal if screen is one: only there ssh
// shows that a key waits to be touched (notify_start of OpenSSH's readpass.c). It
// is nobody's controlling terminal.
func stderrLike(screen *os.File) (r, w *os.File, err error) {
	if screen == nil || !term.IsTerminal(int(screen.Fd())) {
		return os.Pipe()
	}
	r, w, err = pty.Open()
	if err != nil {
		return os.Pipe()
	}
	if _, err := term.MakeRaw(int(w.Fd())); err != nil { // screen makes line ends itself
		r.Close()
		w.Close()
		return os.Pipe()
	}
	return r, w, nil
}
