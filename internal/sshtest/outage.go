//go:build linux

package sshtest

import (
	"slices"
	"syscall"
	"time"
)

// Stop kills the server and all its sessions at once, and what they were
// running but Relays. Start brings it back.
func (s *Sshd) Stop() error {
	for _, pid := range killTree(s.Pid(), s.Relays()...) {
		if err := WaitGone(pid, 5*time.Second); err != nil {
			return err
		}
	}
	<-s.ended
	return nil
}

// Start starts a stopped server on its port, with an empty log.
func (s *Sshd) Start() error { return s.start(s.lines) }

// Replace kills the listening process alone and starts another, as an upgrade of
// the package does. Sessions go on, and Close no longer ends them.
func (s *Sshd) Replace() error {
	syscall.Kill(s.Pid(), syscall.SIGKILL)
	<-s.ended
	return s.start(s.lines)
}

// Suspend stops the server and all its sessions until the returned function is
// called, and returns which processes it has stopped. Relays go on.
func (s *Sshd) Suspend() (pids []int, resume func()) {
	pids = []int{s.Pid()}
	relays := s.Relays()
	for _, pid := range Descendants(s.Pid()) {
		if !slices.Contains(relays, pid) {
			pids = append(pids, pid)
		}
	}
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGSTOP)
	}
	return pids, func() {
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGCONT)
		}
	}
}

// Stopped says whether a process stands still by SIGSTOP.
func Stopped(pid int) bool {
	state, _, ok := stat(pid)
	return ok && state == "T"
}
