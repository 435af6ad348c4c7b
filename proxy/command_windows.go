package proxy

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// leaveTerminal gives cmd a console of its own that nobody sees. What asks there
// gets no answer, and is ended with the connection.
func leaveTerminal(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW}
}

func hangUpCommand(p *os.Process, _ bool) { hangUp(p) }

// killSession has nothing to do: Windows knows no sessions of processes, and
// what a command has started ends by its closed pipes.
func killSession(*os.Process) {}

func stderrLike(*os.File) (r, w *os.File, err error) { return os.Pipe() }
