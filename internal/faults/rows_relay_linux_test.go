package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"ssh-stay/internal/sshtest"
)

// relayRows are those of the relay and of what it stands on.
func relayRows() []row {
	both := []string{"resume/target", "resume/jump"}
	jump := []string{"resume/jump"}
	return []row{
		{f: 19, fault: "relay killed by SIGKILL, mid-write", plays: both, play: playRelayKilled},
		{f: 19, fault: "relay killed while the client is away", plays: each(both, "away"), play: playRelayKilled},
		{f: 19, fault: "relay stands still for 5 s", plays: each(both, "stopped"), play: playRelayStopped, time: 10 * time.Second},
		{f: 20, fault: "reboot of the relay's host, 3 s", plays: both, play: playRelayReboot, time: 10 * time.Second},
		{f: 21, fault: "disk of the relay's host full at start", plays: each(jump, "start", "readonly"), play: playForced, time: 10 * time.Second},
		{f: 21, fault: "home of the relay full while it runs", plays: each(both, "running"), play: playFilled},
		{f: 22, fault: "relay killed as by logout (SIGTERM, then SIGKILL)", plays: both, play: playLogout},
		{f: 23, fault: "no place to execute on the relay's host, an unknown machine", plays: each(jump, "noexec", "machine"), play: playForced, time: 10 * time.Second},
		{f: 23, fault: "relay's program absent at start", plays: each(both, "absent"), play: playAbsent, time: 5 * time.Second},
		{f: 23, fault: "relay's program removed while it runs", plays: each(both, "removed"), play: playRemoved, time: 5 * time.Second},
	}
}

// next proves that the next ssh works, and keeps the verdict on the one before.
func (s *scene) next() {
	s.Helper()
	was := s.result
	s.begin().silent()
	s.result = was
}

func playRelayKilled(s *scene) {
	s.overFaults()
	t := s.begin()
	s.phase()
	pid := s.relayPid()
	if s.flavour == "away" {
		s.faults.Refuse()
		s.faults.Reset()
		s.logged(5*time.Second, "refused")
	}
	s.strike()
	s.fail(syscall.Kill(pid, syscall.SIGKILL))
	s.WaitGone(pid, 5*time.Second)
	if s.flavour == "away" {
		s.strike()
		s.fail(s.faults.Admit())
	}
	t.clean(lost(2*time.Second, "the relay has gone"))
	s.next()
}

func playRelayStopped(s *scene) {
	s.overFaults()
	t := s.begin()
	s.phase()
	pid := s.relayPid()
	s.strike()
	s.fail(syscall.Kill(pid, syscall.SIGSTOP))
	defer syscall.Kill(pid, syscall.SIGCONT)
	s.fired("a relay and a transfer that stand still", func() bool { return sshtest.Stopped(pid) && t.stands(300*time.Millisecond) })
	<-time.After(time.Until(s.struck.Add(5 * time.Second)))
	s.fail(syscall.Kill(pid, syscall.SIGCONT))
	t.heal()
	t.returns(5 * time.Second)
	t.silent()
}

func playRelayReboot(s *scene) {
	s.overFaults()
	t := s.begin()
	s.phase()
	h := s.relayHost()
	relays := h.Relays()
	s.strike()
	s.fail(h.Stop())
	for _, pid := range relays {
		syscall.Kill(pid, syscall.SIGKILL)
		s.WaitGone(pid, 5*time.Second)
	}
	<-time.After(3 * time.Second)
	s.fail(h.Start())
	s.soon(12*time.Second, "contact", func() bool { return strings.Contains(h.Log(), "Connection from") })
	s.strike()
	t.clean(lost(2*time.Second, "the relay has gone", "does not know"))
	s.next()
}

// What the front of a row that is forced runs in place of each command. Its home
// is in /tmp too.
const (
	mounted  = `ForceCommand unshare --mount sh -c 'mount -t tmpfs -o %s,mode=1777 none /tmp && mkdir -p "$HOME" && exec sh -c "$SSH_ORIGINAL_COMMAND"'`
	readOnly = `ForceCommand unshare --mount sh -c 'mount --bind /tmp /tmp && mount -o remount,ro,bind /tmp && exec sh -c "$SSH_ORIGINAL_COMMAND"'`
	foreign  = `ForceCommand PATH=%s:$PATH exec sh -c "$SSH_ORIGINAL_COMMAND"`
)

// playForced: where there can be no relay the session goes on without.
func playForced(s *scene) {
	s.user()
	var line, words string
	switch s.flavour {
	case "start":
		line, words = fmt.Sprintf(mounted, "size=64k"), "cannot unpack to"
	case "readonly":
		line, words = readOnly, ".cache/ssh-stay cannot be made"
	case "noexec":
		line, words = fmt.Sprintf(mounted, "size=64m,noexec"), ".cache/ssh-stay cannot be executed from"
	case "machine":
		dir := filepath.Join(s.client.Dir, "bin")
		s.fail(os.Mkdir(dir, 0o755))
		s.fail(os.WriteFile(filepath.Join(dir, "uname"), []byte("#!/bin/sh\necho Plan9 mips\n"), 0o755))
		line, words = fmt.Sprintf(foreign, dir), "Plan9"
	}
	s.hosts(nil, line)
	s.behindFaults()
	s.fail(os.RemoveAll(filepath.Join(s.jump.Home, ".cache")))
	s.strike()
	t := s.begin()
	t.warned("ssh-stay: it: cannot be resumed, going on without: ")
	if !strings.Contains(t.said(), words) {
		s.Errorf("stderr %q, want %q in it", t.said(), words)
	}
	if n := len(s.jump.Relays()); n > 0 {
		s.Errorf("%d relays run: nothing is tested", n)
	}
	s.resumed = false // no relay to wait for
}

// playFilled puts the relay's home on a small disk, and fills that.
func playFilled(s *scene) {
	s.user()
	s.hosts(nil)
	home := s.relayHost().Home
	s.fail(syscall.Mount("faults", home, "tmpfs", 0, "size=24m,mode=0700"))
	s.Cleanup(func() { syscall.Unmount(home, syscall.MNT_FORCE|2) }) // 2: MNT_DETACH
	s.behindFaults()
	t := s.begin()
	s.phase()
	f, err := os.Create(filepath.Join(home, "full"))
	s.fail(err)
	defer f.Close()
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	if !strings.Contains(err.Error(), "no space left") {
		s.Fatalf("%v: the disk is not full", err)
	}
	s.strike()
	s.faults.Reset()
	t.heal()
	t.cutAndBack(2 * time.Second)
	t.silent()
	s.relayLeaves() // before the disk goes
	s.resumed = false
}

func playLogout(s *scene) {
	s.overFaults()
	t := s.begin()
	s.phase()
	relays := s.relayHost().Relays()
	s.strike()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for _, pid := range relays {
			syscall.Kill(pid, sig)
		}
		<-time.After(200 * time.Millisecond)
	}
	for _, pid := range relays {
		s.WaitGone(pid, 5*time.Second)
	}
	t.clean(lost(2*time.Second, "the relay has gone", "the relay was ended"))
	if !strings.Contains(t.said(), "loginctl enable-linger") {
		s.Errorf("stderr %q, want the cause of such an end, and what to do", t.said())
	}
}

func playAbsent(s *scene) {
	s.overFaults()
	cache := filepath.Join(s.relayHost().Home, ".cache")
	s.fail(os.RemoveAll(cache))
	t := s.begin()
	if found, _ := filepath.Glob(cache + "/ssh-stay/relay-*"); len(found) == 0 {
		s.Error("nothing was brought there: nothing is tested")
	}
	t.silent()
}

// playRemoved: whoever cleans up or upgrades meanwhile, the session stays.
func playRemoved(s *scene) {
	s.overFaults()
	t := s.begin()
	s.phase()
	programs, _ := filepath.Glob(filepath.Join(s.relayHost().Home, ".cache/ssh-stay/relay-*"))
	if len(programs) == 0 {
		s.Fatal("no program is there: nothing is tested")
	}
	for _, p := range slices.Clone(programs) {
		s.fail(os.Remove(p))
	}
	s.strike()
	s.faults.Reset()
	t.heal()
	t.cutAndBack(10 * time.Second) // it is brought there again
	t.silent()
}
