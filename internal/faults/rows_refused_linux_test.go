package faults

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"ssh-stay/internal/sshtest"
)

// refusedRows are those of hosts that do not take us, and names that lead nowhere.
func refusedRows() []row {
	return []row{
		{f: 13, fault: "MaxStartups drops before the banner, for 3 s", plays: each(everywhere, "heals"), play: playCrowded, time: 10 * time.Second},
		{f: 13, fault: "MaxStartups drops before the banner, for ever", plays: each(everywhere, "stays"), play: playCrowded, time: 15 * time.Second},
		{f: 13, fault: "MaxStartups drops for 3 s when a cut session comes back", plays: []string{"resume/target/again", "resume/jump/again"}, play: playCrowdedAgain, time: 10 * time.Second},
		{f: 14, fault: "PerSourcePenalties for 15 s (a listener with sshd 9.8's words)", plays: each(everywhere, "start"), play: playPenalty, time: 25 * time.Second},
		{f: 14, fault: "PerSourcePenalties for 15 s when a cut session comes back", plays: []string{"resume/target/again", "resume/jump/again"}, play: playPenaltyAgain, time: 25 * time.Second},
		{f: 15, fault: "DNS at start: NXDOMAIN, SERVFAIL, no answer", plays: each([]string{"plain/direct", "plain/jump", "resume/target"}, "nxdomain", "servfail", "hang"), play: playNoName, time: 15 * time.Second},
		{f: 15, fault: "DNS at redial: NXDOMAIN, SERVFAIL, no answer for 10 s, another address", plays: append(each([]string{"resume/target", "resume/jump"}, "again/nxdomain", "again/servfail", "again/hang"), "resume/target/again/moved"), play: playNameAgain, time: 25 * time.Second},
	}
}

// crowd holds the one place that an sshd with MaxStartups 1 has for people who
// have not logged in, until the returned function is called.
func (s *scene) crowd() (leave func()) {
	s.Helper()
	c, err := net.Dial("tcp", s.front.HostPort())
	s.fail(err)
	s.Cleanup(func() { c.Close() })
	_, err = io.ReadFull(c, make([]byte, 4))
	s.fail(err)
	return func() { c.Close() }
}

const crowded = "MaxStartups 1:100:1"

// dropped is how many connections the front has not let in.
func (s *scene) dropped() int { return strings.Count(s.front.Log(), "past MaxStartups") }

func playCrowded(s *scene) {
	patience := 8 * time.Second
	if s.flavour == "heals" {
		patience = 20 * time.Second
	}
	s.user()
	s.hosts(nil, crowded)
	s.behindFaults(fmt.Sprintf("StayPatience %d", patience/time.Second))
	leave := s.crowd()
	s.strike()
	t := s.start()
	s.fired("dropped connections", func() bool { return s.dropped() > 0 })
	if s.flavour == "heals" {
		<-time.After(time.Until(s.struck.Add(3 * time.Second)))
		leave()
		t.heal()
		t.flows(2 * patience).intact()
		t.back = time.Since(t.healed)
		return
	}
	terms := lost(patience, "MaxStartups", "refused", "closed", "before", "banner", "identification")
	host, _, _ := net.SplitHostPort(s.faults.Addr())
	terms.Names = append(terms.Names, host)
	t.clean(terms)
	if s.route == "direct" && !s.resumed && !strings.Contains(t.said(), "kex_exchange_identification") {
		s.Errorf("stderr %q, want ssh's words too", t.said())
	}
	s.tries(5)
}

// tries counts the connections since the start.
func (s *scene) tries(most int) {
	s.Helper()
	n := s.faults.Stats().Conns
	s.note = fmt.Sprintf("%d tries", n)
	if n > most {
		s.Errorf("%d connections, want %d at most", n, most)
	}
}

func playCrowdedAgain(s *scene) {
	s.user()
	s.hosts(nil, crowded)
	s.behindFaults()
	t := s.begin()
	s.phase()
	leave, before := s.crowd(), s.dropped()
	s.strike()
	s.faults.Reset()
	s.fired("dropped connections", func() bool { return s.dropped() > before })
	<-time.After(time.Until(s.struck.Add(3 * time.Second)))
	leave()
	t.heal()
	t.cutAndBack(5 * time.Second)
	t.silent()
}

// penalty is how long a source is shut out.
const penalty = 15 * time.Second

// shutOut has the front answer as sshd 9.8 and later do to a source that has a
// penalty, until the returned function is called.
func (s *scene) shutOut() (end func()) {
	s.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.fail(err)
	s.Cleanup(func() { l.Close() })
	go func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "Not allowed at this time\r\n")
			c.Close()
		}
	}()
	s.faults.Redirect(l.Addr().String())
	return func() { s.faults.Redirect(s.front.HostPort()) }
}

func playPenalty(s *scene) {
	s.overFaults()
	end := s.shutOut()
	s.strike()
	t := s.start()
	s.fired("refused connections", func() bool { return s.faults.Stats().Conns > 0 })
	<-time.After(time.Until(s.struck.Add(penalty)))
	tries := s.faults.Stats().Conns
	end()
	t.heal()
	t.flows(30 * time.Second).intact()
	t.back = time.Since(t.healed)
	s.window(tries)
	if !strings.Contains(t.said(), "refused by") && !strings.Contains(t.said(), "Not allowed at this time") {
		s.Errorf("stderr %q, want the host's refusal", t.said())
	}
}

// window judges how often a host was asked that had said no.
func (s *scene) window(tries int) {
	s.Helper()
	s.note = fmt.Sprintf("%d tries in %v", tries, penalty)
	if tries > 4 {
		s.Errorf("%d connections in a penalty of %v, want 4 at most", tries, penalty)
	}
}

func playPenaltyAgain(s *scene) {
	s.overFaults()
	t := s.begin()
	s.phase()
	before := s.faults.Stats().Conns
	end := s.shutOut()
	s.strike()
	s.faults.Reset()
	s.fired("refused connections", func() bool { return s.faults.Stats().Conns > before })
	<-time.After(time.Until(s.struck.Add(penalty)))
	tries := s.faults.Stats().Conns - before
	end()
	t.heal()
	t.cutAndBack(20 * time.Second) // a step of 10 s, and what has piled up
	t.silent()
	s.window(tries)
}

const frontName = "front.test"

// named sets all up on a path where the front has a name, and only the returned
// server of names knows it.
func (s *scene) named(lines ...string) *sshtest.Names {
	s.Helper()
	s.user()
	s.path = s.Path(s.seed)
	s.hosts(s.path.Server)
	names := s.Names(s.path.Client)
	names.Set(frontName, s.path.Server.Addr)
	s.enter = s.path.Client
	s.know(net.JoinHostPort(frontName, fmt.Sprint(s.front.Port)), s.front)
	s.names(frontName, lines...)
	resolv := s.client.Dir + "/resolv.conf"
	s.fail(os.WriteFile(resolv, []byte("nameserver 127.0.0.1\n"), 0o644))
	s.wrap = []string{s.Peer("unshare"), "--mount", "--propagation", "private", "sh", "-c",
		"mount --bind " + resolv + ` /etc/resolv.conf && exec "$@"`, "sh"}
	return names
}

func (s *scene) misname(names *sshtest.Names) {
	switch strings.TrimPrefix(s.flavour, "again/") {
	case "nxdomain":
		names.Fail(sshtest.NXDomain)
	case "servfail":
		names.Fail(sshtest.ServFail)
	case "hang":
		names.Fail(sshtest.NoAnswer)
	case "moved":
		names.Set(frontName, "192.0.2.3")
	}
}

func playNoName(s *scene) {
	names := s.named("ConnectTimeout 8")
	s.misname(names)
	s.strike()
	t := s.start()
	s.fired("questions", func() bool { return names.Failed() > 0 })
	t.clean(Terms{Within: 10 * time.Second, Says: []string{"Could not resolve hostname"}, Names: []string{frontName}})
}

func playNameAgain(s *scene) {
	names := s.named()
	t := s.begin()
	s.phase()
	s.strike()
	s.misname(names)
	if s.flavour == "again/moved" {
		s.fail(s.path.Server.IP("addr add 192.0.2.3/29 dev tun0"))
		s.fail(s.path.Server.IP("addr del 192.0.2.2/29 dev tun0"))
		s.fail(s.path.Server.IP("addr replace 192.0.2.3/29 dev tun0"))
	}
	s.path.Forget()
	if s.flavour != "again/moved" {
		s.soon(15*time.Second, "questions", func() bool { return names.Failed() > 0 })
		<-time.After(10 * time.Second)
		names.Mend()
	}
	t.heal()
	t.cutAndBack(12 * time.Second)
	t.silent()
}
