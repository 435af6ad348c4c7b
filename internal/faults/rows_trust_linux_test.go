package faults

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ssh-stay/internal/sshtest"
)

// trustRows are those of hosts that are not who they were, and of logins that are
// good no more.
func trustRows() []row {
	return []row{
		{f: 17, fault: "host key changed at connect", plays: []string{"plain/jump"}, play: playImpostor},
		{f: 17, fault: "host key changed at reconnect, until retention (6 s)", plays: []string{"resume/target/stays", "resume/jump/stays"}, play: playImpostorAgain, time: 15 * time.Second},
		{f: 17, fault: "host key changed at reconnect, and the right host comes back", plays: []string{"resume/target/returns", "resume/jump/returns"}, play: playImpostorAgain, time: 25 * time.Second},
		{f: 18, fault: "key withdrawn before connect", plays: []string{"plain/jump"}, play: playDenied},
		{f: 18, fault: "key withdrawn before reconnect, until retention (6 s)", plays: []string{"resume/target", "resume/jump"}, play: playDeniedAgain, time: 15 * time.Second},
	}
}

// impostor is a host with another key, that would let the user in.
func (s *scene) impostor() *sshtest.Sshd {
	s.Helper()
	other := s.Sshd(sshtest.SshdConfig{})
	s.fail(other.Authorize(s.client.Key.Authorized()))
	return other
}

// fooled fails the scene if the impostor heard of more than a connection, or the
// user's file was changed.
func (s *scene) fooled(other *sshtest.Sshd, before []byte) {
	s.Helper()
	if log := other.Log(); !strings.Contains(log, "Connection from") || strings.Contains(log, "publickey") {
		s.Errorf("the other host heard of no client, or of its key:\n%s", log)
	}
	if after, _ := os.ReadFile(s.client.KnownHosts); string(after) != string(before) {
		s.Errorf("known_hosts is %q, was %q", after, before)
	}
}

func playImpostor(s *scene) {
	s.overFaults()
	other := s.impostor()
	before, err := os.ReadFile(s.client.KnownHosts)
	s.fail(err)
	s.faults.Redirect(other.HostPort())
	s.strike()
	s.start().clean(lost(3*time.Second, "Host key verification failed."))
	s.fooled(other, before)
}

func playImpostorAgain(s *scene) {
	var lines []string
	if s.flavour == "stays" {
		lines = []string{"StayKeep 6"}
	}
	s.overFaults(lines...)
	other := s.impostor()
	before, err := os.ReadFile(s.client.KnownHosts)
	s.fail(err)
	t := s.begin()
	s.phase()
	s.faults.Redirect(other.HostPort())
	s.strike()
	s.faults.Reset()
	s.fired("connections with the other host", func() bool { return strings.Contains(other.Log(), "Connection from") })
	if s.flavour == "stays" {
		t.clean(lost(6*time.Second, "ost key"))
		s.fooled(other, before)
		return
	}
	s.logged(5*time.Second, "as before")
	s.faults.Redirect(s.front.HostPort())
	// What was refused is tried again on wake: a process that stood still for 7 s.
	pid := s.proxyPid()
	s.fail(syscall.Kill(pid, syscall.SIGSTOP))
	<-time.After(8 * time.Second)
	s.fail(syscall.Kill(pid, syscall.SIGCONT))
	t.heal()
	t.cutAndBack(5 * time.Second)
	t.silent()
	s.fooled(other, before)
}

// withdraw takes the user's key from the front.
func (s *scene) withdraw() {
	s.Helper()
	s.fail(os.WriteFile(filepath.Join(s.front.Dir, "authorized_keys"), nil, 0o600))
}

func playDenied(s *scene) {
	s.overFaults()
	s.withdraw()
	s.strike()
	s.start().clean(lost(3*time.Second, "Permission denied"))
	s.tries(1)
}

func playDeniedAgain(s *scene) {
	s.overFaults("StayKeep 6")
	t := s.begin()
	s.phase()
	s.withdraw()
	s.strike()
	s.faults.Reset()
	s.logged(5*time.Second, "Permission denied")
	t.clean(lost(6*time.Second, "Permission denied"))
	s.tries(2) // the first login of all is one
}
