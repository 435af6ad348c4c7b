package faults

import (
	"fmt"
	"syscall"
	"time"

	"ssh-stay/internal/sshtest"
)

// everywhere is a play on each of the usual routes.
var everywhere = []string{"plain/direct", "plain/jump", "resume/target", "resume/jump"}

// each gives every play every flavour.
func each(plays []string, flavours ...string) (all []string) {
	for _, p := range plays {
		for _, f := range flavours {
			all = append(all, p+"/"+f)
		}
	}
	return all
}

// lost are the terms of a connection that broke: the line names the alias or the
// jump host.
func lost(within time.Duration, says ...string) Terms {
	return Terms{Within: within, Says: says, Names: []string{"it: ", "hop it ", "jump"}}
}

// cutRows are those of a connection that is cut, or that nothing passes.
func cutRows() []row {
	return []row{
		{f: 2, fault: "TCP RST", plays: everywhere, play: playReset},
		{f: 3, fault: "FIN from the jump host", plays: everywhere, play: playFIN},
		{f: 4, fault: "half-open: the way has forgotten the connection, no RST", plays: everywhere, play: playForgotten, time: 15 * time.Second},
		{f: 5, fault: "blackhole 5 s, given up after 45 s", plays: everywhere, play: playShortDark, time: 15 * time.Second},
		{f: 5, fault: "blackhole 5 s, given up after 6 s: TCP sends at 3.0 and at 6.2 s", plays: each(everywhere, "tight"), play: playShortDark, time: 15 * time.Second},
		{f: 6, fault: "blackhole 30 s, then heals", plays: everywhere, play: playDark, time: 45 * time.Second},
		{f: 7, fault: "one-way blackhole 30 s, each direction", plays: each(everywhere, "up", "down"), play: playDark, time: 45 * time.Second},
		{f: 7, fault: "the way is lost, the host spoke last, and a keystroke waits; probes each 30 s", plays: []string{"resume/target/keystroke", "resume/jump/keystroke"}, play: playKeystroke, time: 20 * time.Second},
		{f: 8, fault: "outage of " + inWords(outage()) + ", then heals", plays: []string{"resume/target", "resume/jump"}, play: playOutage, time: outage() + 10*time.Second},
		{f: 9, fault: "outage longer than retention (5 s)", plays: []string{"resume/target", "resume/jump", "resume/jump/asleep"}, play: playExpired, time: 30 * time.Second},
	}
}

func outage() time.Duration { return lasts(40*time.Second, 10*time.Minute) }

func playReset(s *scene) {
	s.overFaults()
	t := s.begin()
	s.phase()
	s.strike()
	s.faults.Reset()
	t.heal()
	s.fired("reset flows", func() bool { return s.faults.Stats().Reset > 0 })
	if s.resumed {
		t.cutAndBack(2 * time.Second)
		t.silent()
		return
	}
	t.clean(lost(time.Second, "onnection reset by peer"))
}

// playFIN: to a proxy a FIN on a direct route is the end, and ssh tells the user
// that it came too soon.
func playFIN(s *scene) {
	s.overFaults()
	t := s.begin()
	s.phase()
	s.strike()
	s.faults.CloseAll()
	t.heal()
	s.fired("closed flows", func() bool { return s.faults.Stats().Closed > 0 })
	if s.resumed {
		t.cutAndBack(2 * time.Second)
		t.silent()
		return
	}
	terms := lost(time.Second, "closed by the host", "onnection reset by peer", "roken pipe")
	terms.SSHTells = s.route == "direct"
	t.clean(terms)
}

func playForgotten(s *scene) {
	s.overPath()
	t := s.begin()
	s.phase()
	s.strike()
	s.path.Forget()
	t.heal()
	s.fired("packets of forgotten flows", func() bool { return s.path.Stats(sshtest.Both).Forgotten > 0 })
	if s.resumed {
		t.cutAndBack(detect)
		t.silent()
		return
	}
	s.darkFar = true
	t.clean(lost(detect, "timed out", "no answer for"))
}

// playShortDark: shorter than what gives a connection up. By the laws of TCP, whose
// steps double, an outage is noticed to be over after up to twice its time; one
// that is nearly as long as what gives up may end what has no relay.
func playShortDark(s *scene) {
	lines := []string{"StayInterval 15", "StayGiveUp 45"}
	if s.flavour == "tight" {
		lines = nil
	}
	s.overPath(lines...)
	t := s.begin()
	s.phase()
	s.strike()
	s.path.Impair(sshtest.Both, sshtest.Impairment{Dark: true})
	s.fired("lost packets", func() bool { return s.path.Stats(sshtest.Both).Lost > 0 })
	<-time.After(time.Until(s.struck.Add(5 * time.Second)))
	s.path.Heal()
	t.heal()
	if s.flavour == "tight" && !s.resumed {
		t.survivesOr(5*time.Second, lost(detect, "timed out", "no answer for"))
		return
	}
	t.returns(5 * time.Second)
	t.silent()
}

func playDark(s *scene) {
	way := sshtest.Both
	switch s.flavour {
	case "up":
		way = sshtest.ToServer
	case "down":
		way = sshtest.ToClient
	}
	s.overPath()
	t := s.begin()
	s.phase()
	s.strike()
	s.path.Impair(way, sshtest.Impairment{Dark: true})
	s.fired("lost packets", func() bool { return s.path.Stats(way).Lost > 0 })
	if !s.resumed {
		s.darkFar = true
		t.clean(lost(detect, "timed out", "no answer for"))
		return
	}
	<-time.After(time.Until(s.struck.Add(30 * time.Second)))
	s.path.Heal()
	t.heal()
	t.cutAndBack(5 * time.Second)
	t.silent()
}

// playKeystroke: what the user sends is lost, what the host sends still comes,
// and then nothing more in either direction of that connection.
func playKeystroke(s *scene) {
	s.rate = 8 << 10 // and so the words: TCP sends no more than ten packets to one who says nothing
	s.overPath("StayInterval 30")
	t := s.begin()
	t.pause()
	<-time.After(time.Second)
	s.path.Impair(sshtest.ToServer, sshtest.Impairment{Dark: true})
	sent, got := t.near.At(Sent), t.near.At(Received)
	t.near.Set(Pause, 0)
	s.soon(5*time.Second, "keystroke", func() bool { return t.near.At(Sent) > sent })
	t.near.Set(Pause, 1)
	<-time.After(200 * time.Millisecond)
	t.far.Set(Pause, 0)
	s.soon(5*time.Second, "words of the host", func() bool { return t.near.At(Received) > got })
	t.far.Set(Pause, 1)
	s.strike()
	s.path.Forget()
	s.path.Heal()
	s.fired("packets of forgotten flows", func() bool { return s.path.Stats(sshtest.Both).Forgotten > 0 })
	s.soon(10*time.Second+slack, "new link", func() bool { return s.attached() > 0 })
	s.note = fmt.Sprintf("new link after %.1f s", time.Since(s.struck).Seconds())
	t.play()
	t.heal()
	t.cutAndBack(2 * time.Second)
	t.silent()
}

func playOutage(s *scene) {
	s.overPath()
	t := s.begin()
	s.phase()
	s.strike()
	s.path.Impair(sshtest.Both, sshtest.Impairment{Dark: true})
	s.fired("lost packets", func() bool { return s.path.Stats(sshtest.Both).Lost > 0 })
	<-time.After(outage())
	s.path.Heal()
	t.heal()
	t.cutAndBack(12 * time.Second) // a step of 10 s, and a login
	t.silent()
}

// playExpired: the client gives up by itself; one that slept is told by the relay.
func playExpired(s *scene) {
	const retention = 5 * time.Second
	s.overFaults("StayKeep 5")
	t := s.begin()
	s.phase()
	s.strike()
	terms := lost(giveUp+retention+2*time.Second, "session")
	if s.flavour != "asleep" {
		s.faults.Refuse()
		s.faults.Reset()
		s.fired("reset flows", func() bool { return s.faults.Stats().Reset > 0 })
		t.clean(terms)
		s.fail(s.faults.Admit())
		return
	}
	pid := s.proxyPid()
	s.fail(syscall.Kill(pid, syscall.SIGSTOP))
	s.faults.Forget()
	s.fired("forgotten flows", func() bool { return s.faults.Stats().Forgot > 0 && sshtest.Stopped(pid) })
	s.faults.Reset()
	s.soon(3*retention, "end of the session at the far end", func() bool { return !isSelfAmong(running(t.farName())) })
	s.strike()
	s.fail(syscall.Kill(pid, syscall.SIGCONT))
	t.clean(lost(2*time.Second, "session"))
}
