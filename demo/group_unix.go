//go:build unix

package demo

import (
	"os/exec"
	"syscall"
)

// killGroup makes the end of cmd's context kill it and its descendants: an
// ssh killed alone would leave its ProxyCommand on a connection that is dead.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
