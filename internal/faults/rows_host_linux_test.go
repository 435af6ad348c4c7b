package faults

import (
	"slices"
	"time"

	"ssh-stay/internal/sshtest"
)

// hostRows are those of hosts that go, and of networks that change.
func hostRows() []row {
	return []row{
		{f: 10, fault: "restart of the host's sshd: the listener alone", plays: []string{"plain/direct", "plain/jump", "resume/target", "resume/jump", "resume/behind"}, play: playListener},
		{f: 10, fault: "restart of the jump host's sshd with all its sessions", plays: []string{"plain/jump/all", "resume/jump/all", "resume/behind/all"}, play: playRestart},
		{f: 11, fault: "reboot of a jump host before the relay's, " + inWords(reboot()), plays: []string{"plain/jump", "resume/behind"}, play: playReboot, time: reboot() + 10*time.Second},
		{f: 12, fault: "SIGSTOP of the jump host's sshd, 5 s", plays: []string{"plain/jump/5s", "resume/jump/5s", "resume/behind/5s"}, play: playFrozen, time: 15 * time.Second},
		{f: 12, fault: "SIGSTOP of the jump host's sshd, " + inWords(freeze()), plays: []string{"plain/jump/long", "resume/jump/long", "resume/behind/long"}, play: playFrozen, time: freeze() + 10*time.Second},
		{f: 16, fault: "the client's address changes", plays: everywhere, play: playAddress, time: 15 * time.Second},
		{f: 16, fault: "the client's cable is out for 3 s", plays: each(everywhere, "cable"), play: playCable, time: 10 * time.Second},
	}
}

func reboot() time.Duration { return lasts(15*time.Second, time.Minute) }
func freeze() time.Duration { return lasts(20*time.Second, 2*time.Minute) }

// between sets all up with the hosts of a route and no faults between them.
func (s *scene) between(lines ...string) {
	s.Helper()
	s.user()
	s.hosts(nil)
	s.names("", lines...)
}

func playListener(s *scene) {
	s.between()
	t := s.begin()
	s.phase()
	s.strike()
	old := s.front.Pid()
	s.fail(s.front.Replace())
	t.heal()
	if s.front.Pid() == old {
		s.Error("the listener is the old one: nothing is tested")
	}
	t.returns(2 * time.Second)
	t.silent()
}

func playRestart(s *scene) {
	s.overFaults()
	t := s.begin()
	s.phase()
	s.strike()
	old := append(sshtest.Descendants(s.jump.Pid()), s.jump.Pid())
	s.fail(s.jump.Restart())
	t.heal()
	if len(old) < 2 || slices.Contains(old, s.jump.Pid()) {
		s.Errorf("sshd and its sessions were %v, and sshd is %d: nothing is tested", old, s.jump.Pid())
	}
	if s.resumed {
		t.cutAndBack(2 * time.Second)
		t.silent()
		return
	}
	t.clean(lost(time.Second, "closed by the host", "onnection reset by peer", "roken pipe"))
}

func playReboot(s *scene) {
	s.overFaults()
	t := s.begin()
	s.phase()
	s.strike()
	s.fail(s.jump.Stop())
	if left := sshtest.Descendants(s.jump.Pid()); len(left) > 0 {
		s.Errorf("processes %v are left: nothing is tested", left)
	}
	if !s.resumed {
		t.clean(lost(time.Second, "closed by the host", "onnection reset by peer", "roken pipe"))
		return
	}
	<-time.After(reboot())
	s.fail(s.jump.Start())
	t.heal()
	t.cutAndBack(10 * time.Second)
	t.silent()
}

func playFrozen(s *scene) {
	d := 5 * time.Second
	var lines []string
	switch {
	case s.flavour == "long":
		d = freeze()
	case !s.resumed:
		lines = []string{"StayGiveUp 10"} // giveUp is too near to d for a busy machine
	}
	s.between(lines...)
	t := s.begin()
	s.phase()
	s.strike()
	pids, goOn := s.jump.Suspend()
	s.Cleanup(goOn)
	s.fired("processes that stand still", func() bool {
		return len(pids) > 1 && !slices.ContainsFunc(pids, func(pid int) bool { return !sshtest.Stopped(pid) })
	})
	if d > giveUp && !s.resumed {
		t.clean(lost(detect, "timed out", "no answer for"))
		goOn()
		return
	}
	<-time.After(time.Until(s.struck.Add(d)))
	goOn()
	t.heal()
	t.returns(5 * time.Second)
	t.silent()
}

// onLink sets all up with a cable between user and hosts, plugged in.
func (s *scene) onLink() *sshtest.Link {
	s.Helper()
	link := s.Link()
	s.fail(link.Up())
	s.fail(link.Server.IP("addr add 192.0.2.5/29 dev eth0"))
	s.inside(link.Client, link.Server)
	return link
}

func playAddress(s *scene) {
	link := s.onLink()
	t := s.begin()
	s.phase()
	s.strike()
	s.fail(link.Client.IP("addr del 192.0.2.1/30 dev eth0"))
	s.fail(link.Client.IP("addr add 192.0.2.6/29 dev eth0"))
	t.heal()
	if s.resumed {
		t.cutAndBack(detect)
		t.silent()
		if accepted(s.front, "192.0.2.6") == 0 {
			s.Error("nobody logged in from the new address: nothing is tested")
		}
		return
	}
	s.darkFar = true
	t.clean(lost(detect, "timed out", "no answer for", "unreachable"))
}

func playCable(s *scene) {
	link := s.onLink()
	t := s.begin()
	s.phase()
	s.strike()
	s.fail(link.Down())
	s.fired("standstill", func() bool { return t.stands(2 * time.Second) })
	<-time.After(time.Until(s.struck.Add(3 * time.Second)))
	s.fail(link.Up())
	t.heal()
	t.returns(5 * time.Second)
	t.silent()
}
