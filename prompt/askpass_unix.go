//go:build unix

package prompt

import (
	"os/exec"
	"syscall"
)

// askpassDefaults are the paths that builds of OpenSSH have for SSH_ASKPASS.
var askpassDefaults = []string{
	"/usr/bin/ssh-askpass",                   // Debian and its children
	"/usr/libexec/openssh/ssh-askpass",       // Fedora, RHEL
	"/usr/lib/ssh/ssh-askpass",               // Arch, openSUSE until 15
	"/usr/libexec/ssh/ssh-askpass",           // openSUSE
	"/usr/X11R6/bin/ssh-askpass",             // upstream, macOS
	"/usr/local/bin/ssh-askpass",             // FreeBSD
	"/opt/homebrew/bin/ssh-askpass",          // macOS, ssh of Homebrew
	"/usr/lib/openssh/gnome-ssh-askpass",     // Debian, without its alternatives
	"/usr/libexec/openssh/gnome-ssh-askpass", // Fedora, likewise
}

// endWithContext makes the end of ctx the end of askpass. Without a terminal it
// gets a process group of its own, and all of that is killed: VS Code's is a
// script that waits for another process. With one it stays in ours, or it could
// not ask on that terminal (SIGTTIN), and is told to end.
func endWithContext(cmd *exec.Cmd) {
	if t, err := openTerminal(); err == nil {
		t.close()
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
