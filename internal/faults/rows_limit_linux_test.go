package faults

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ssh-stay/internal/sshtest"
)

// limitRows are those of what runs out, and of servers that limit us.
func limitRows() []row {
	return []row{
		{f: 40, fault: "64 files a process, which are enough", plays: each(everywhere, "64"), play: playFewFiles},
		{f: 40, fault: "8 files a process", plays: each([]string{"plain/direct", "plain/jump"}, "8"), play: playFewFiles},
		{f: 40, fault: "64 MiB of memory (cgroup), which are enough", plays: each(everywhere, "memory"), play: playLittleMemory},
		{f: 41, fault: "RekeyLimit 16K on every connection, cut thrice under resume", plays: each(everywhere, "storm"), play: playRekeys, time: 10 * time.Second},
		{f: 41, fault: "cut after some of the first 12 KiB: banner, key exchange, login", plays: each(everywhere, "early"), play: playCutEarly, time: 5 * time.Second},
		{f: 42, fault: "jump host refuses direct-tcpip", plays: []string{"plain/jump/refused", "resume/jump/refused"}, play: playForbidden},
		{f: 42, fault: "ChannelTimeout 3 s closes an idle channel", plays: []string{"plain/jump/idle", "resume/jump/idle"}, play: playChannelTimeout, time: 10 * time.Second},
		{f: 42, fault: "MaxSessions 1 and UnusedConnectionTimeout 2 s", plays: each(everywhere, "few"), play: playFewSessions, time: 10 * time.Second},
		{f: 44, fault: fmt.Sprintf("three hops, each clogged in random order, %d times", clogs()), plays: []string{"plain/chain", "resume/chain"}, play: playSwizzle, time: time.Duration(clogs()) * time.Second},
	}
}

// limited runs ssh-stay after a line of shell. The name is ssh-stay's own: it
// looks past no other.
func (s *scene) limited(line string) {
	s.Helper()
	dir := filepath.Join(s.client.Dir, "limited")
	s.fail(os.Mkdir(dir, 0o755))
	script := filepath.Join(dir, "ssh-stay")
	s.fail(os.WriteFile(script, []byte("#!/bin/sh\n"+line+"\nexec "+s.bin+" \"$@\"\n"), 0o755))
	s.program = script
}

func playFewFiles(s *scene) {
	s.user()
	s.limited("ulimit -n " + s.flavour)
	s.hosts(nil)
	s.names("")
	s.strike()
	if s.flavour == "64" {
		t := s.begin()
		limits, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", s.proxyPid()))
		if !strings.Contains(string(limits), "Max open files            64 ") {
			s.Errorf("no limit of 64 files: nothing is tested:\n%s", limits)
		}
		s.phase()
		t.silent()
		return
	}
	// It is this machine that fails, before a host is known.
	s.start().clean(Terms{Within: 5 * time.Second, Says: []string{"oo many open files"}})
}

// group makes a control group that may have so many bytes, and returns the file
// that takes processes and the one that tells the most they had.
func (s *scene) group(bytes int) (procs, most string) {
	s.Helper()
	name := fmt.Sprintf("%s-%x", filepath.Base(os.TempDir()), s.seed) // see TestMain
	dir, limit, peak := "/sys/fs/cgroup/memory/"+name, "memory.limit_in_bytes", "memory.max_usage_in_bytes"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		dir, limit, peak = "/sys/fs/cgroup/"+name, "memory.max", "memory.peak"
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.Fatalf("no control group to be had: %v", err)
	}
	s.Cleanup(func() { os.Remove(dir) })
	s.fail(os.WriteFile(filepath.Join(dir, limit), []byte(fmt.Sprint(bytes)), 0o644))
	return filepath.Join(dir, "cgroup.procs"), filepath.Join(dir, peak)
}

func playLittleMemory(s *scene) {
	procs, most := s.group(64 << 20)
	s.user()
	s.limited("echo $$ >" + procs)
	s.hosts(nil)
	s.names("")
	s.strike()
	t := s.begin()
	t.near.Set(Hurry, 1)
	t.far.Set(Hurry, 1)
	<-time.After(3 * time.Second)
	if text, _ := os.ReadFile(procs); !strings.Contains(string(text), fmt.Sprint(s.proxyPid())) {
		s.Errorf("the group has processes %q: nothing is tested", text)
	}
	t.silent()
	text, _ := os.ReadFile(most)
	var n int
	if fmt.Sscan(string(text), &n); n < 1<<20 {
		s.Errorf("the group's peak is %q: nothing is tested", text)
	}
	s.note = fmt.Sprintf("%d MiB at most", n>>20)
}

func playRekeys(s *scene) {
	s.rate = 24 << 10 // keys are exchanged twice for every 16 KiB
	s.user()
	s.hosts(nil, "RekeyLimit 16K")
	s.behindFaults("RekeyLimit 16K")
	t := s.start("-v").paced(8 << 10).flows(60 * time.Second)
	cuts := 0
	if s.resumed {
		cuts = 3
	}
	for i := range cuts {
		s.phase()
		s.strike()
		s.faults.Reset()
		t.heal()
		t.returns(30 * time.Second)
		if n := s.attached(); n <= i {
			s.Errorf("attached %d times after %d cuts: nothing is tested", n, i+1)
		}
	}
	<-time.After(4 * time.Second)
	t.intact()
	if n := strings.Count(t.said(), "rekeying"); n < 10 {
		s.Errorf("ssh has exchanged keys %d times, want 10 at least: nothing is tested", n)
	} else {
		s.note = fmt.Sprintf("%d exchanges of ssh's", n)
	}
	if ours := Lines(t.said()); len(ours) > 0 {
		s.Errorf("ssh-stay said %q, want silence", ours)
	}
}

// playCutEarly: the session ends CLEAN, or had begun to be one that resumes, or
// ssh-stay dialed again since ssh had no byte of the first connection.
func playCutEarly(s *scene) {
	s.overFaults()
	after := 1 + s.rng.Int64N(12<<10)
	s.faults.ResetAfter(after)
	t := s.start()
	s.soon(20*time.Second, "reset flow", func() bool { return s.faults.Stats().Reset > 0 })
	s.strike()
	s.note = fmt.Sprintf("cut after %d bytes", after)
	lives := func() bool {
		return !t.hasEnded() && (s.resumed || strings.Contains(s.text(), "no connection yet, holding"))
	}
	for end := time.Now().Add(60 * time.Second); !t.hasEnded() && time.Now().Before(end); {
		if lives() && t.far.At(Received) >= 64<<10 {
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	if lives() {
		t.flows(30 * time.Second).silent()
		return
	}
	s.unheard = s.resumed
	terms := lost(3*time.Second, "onnection reset by peer", "EOF", "closed")
	terms.SSHTells = s.route == "direct" && !s.resumed
	t.clean(terms)
}

func playForbidden(s *scene) {
	s.user()
	s.hosts(nil, "AllowTcpForwarding no")
	s.names("")
	s.strike()
	if s.resumed { // the relay dials, and needs no forwarding
		s.begin().silent()
		return
	}
	s.start().clean(lost(3*time.Second, "prohibited", "forbids", "refuse", "not allowed"))
}

// playChannelTimeout: to a plain proxy the channel's end is the end.
func playChannelTimeout(s *scene) {
	s.user()
	s.hosts(nil, "ChannelTimeout direct-tcpip=3s session:command=3s")
	s.names("", "StayInterval 15", "StayGiveUp 45")
	t := s.begin()
	s.phase()
	t.pause()
	s.strike()
	if !s.resumed {
		terms := lost(10*time.Second, "closed")
		terms.SSHTells = true
		t.clean(terms)
		if s.took < time.Second {
			s.Errorf("ended after %v: that was something else", s.took)
		}
		return
	}
	s.logged(15*time.Second, "link lost")
	s.soon(10*time.Second, "new link", func() bool { return s.attached() > 0 })
	t.play()
	t.heal()
	t.cutAndBack(2 * time.Second)
	t.silent()
}

// playFewSessions: each of our connections has one session, or channel, from its
// login to its end.
func playFewSessions(s *scene) {
	s.user()
	s.hosts(nil, "MaxSessions 1", "UnusedConnectionTimeout 2s")
	s.names("")
	s.fail(s.client.AddHost("front", s.front))
	t := s.begin()
	t.pause()
	s.strike()
	s.fewSessions()
	<-time.After(time.Until(s.struck.Add(5 * time.Second)))
	t.play()
	t.heal()
	t.returns(2 * time.Second)
	t.silent()
	if n := s.attached(); n > 0 {
		s.Errorf("the stream lost its link %d times", n)
	}
}

// fewSessions proves by ssh itself that the front closes a connection that nobody
// uses, and has one session on each.
func (s *scene) fewSessions() {
	s.Helper()
	unused := s.client.Command(background(s, 10*time.Second), "-N", "front")
	if said, err := unused.CombinedOutput(); err == nil || !contains(string(said), sshTells) {
		s.Errorf("an unused connection: %v, %q; want it to be closed: nothing is tested", err, said)
	}
	control := "ControlPath=" + filepath.Join(s.client.Dir, "one")
	one := s.client.Command(background(s, 20*time.Second), "-M", "-o", control, "front", "exec cat")
	held, err := one.StdinPipe()
	s.fail(err)
	s.fail(one.Start())
	defer one.Wait()
	defer held.Close()
	s.soon(10*time.Second, "control socket", func() bool {
		return s.client.Command(s.Context(), "-O", "check", "-o", control, "front").Run() == nil
	})
	two := s.client.Command(background(s, 10*time.Second), "-o", control, "front", "true")
	if said, _ := two.CombinedOutput(); !strings.Contains(string(said), "refused by peer") {
		s.Errorf("a second session: %q, want it to be refused: nothing is tested", said)
	}
}

func clogs() int {
	if long {
		return 100
	}
	return 8
}

// playSwizzle has a fault proxy before each of three jump hosts, and under resume
// the relay behind them.
func playSwizzle(s *scene) {
	s.user()
	s.target = s.Sshd(sshtest.SshdConfig{})
	var ways []*sshtest.Faults
	times := []string{fmt.Sprintf("StayInterval %d", interval/time.Second), fmt.Sprintf("StayGiveUp %d", giveUp/time.Second)}
	for i := range 3 {
		s.jump = s.Sshd(sshtest.SshdConfig{})
		s.front = s.jump
		f := s.Faults(&sshtest.Faults{Target: s.jump.HostPort()})
		s.know(f.Addr(), s.jump)
		ip, port, _ := net.SplitHostPort(f.Addr())
		s.fail(s.client.AddHost(fmt.Sprintf("jump%d", i), s.jump, append(times, "HostName "+ip, "Port "+port)...))
		ways = append(ways, f)
	}
	s.jump = nil
	s.via = "jump0,jump1,jump2"
	s.names("")
	t := s.begin()
	held := 0
	for i := range clogs() {
		for _, at := range s.rng.Perm(len(ways)) {
			ways[at].Freeze(sshtest.Both)
			<-time.After(time.Duration(s.rng.Int64N(int64(300 * time.Millisecond))))
			if s.resumed && s.rng.IntN(6) == 0 {
				ways[at].Reset()
			}
			ways[at].Thaw()
		}
		t.heal()
		t.returns(5 * time.Second)
		held = i
	}
	for i, f := range ways {
		if f.Stats().Withheld == 0 {
			s.Errorf("nothing was withheld at hop %d in %d rounds: nothing is tested", i, held)
		}
	}
	s.strike()
	before := s.attached()
	ways[s.rng.IntN(len(ways))].Reset()
	t.heal()
	if s.resumed {
		t.cutAndBack(5 * time.Second)
		if s.attached() == before {
			s.Error("the last cut was none: nothing is tested")
		}
		t.silent()
		return
	}
	t.clean(lost(time.Second, "onnection reset by peer", "closed", "EOF", "roken pipe"))
}

// elsewhereRows are those that no session of ssh can show, or none on any machine.
func elsewhereRows() []row {
	return []row{
		{f: 24, fault: "two clients claim one session; replayed and wrong tokens", notHere: "The secret of a session leaves ssh-stay for its relay alone, so no second client can be had from outside. Shown by stream's TestWrongAttaches and TestHandshakesAreBounded"},
		{f: 25, fault: "resume offset off by one, by 2^63, of a stale epoch", notHere: "No real peer sends one. Shown by stream's TestWrongAttaches and its fuzz targets"},
		{f: 26, fault: "wall clock jumps by an hour, a day", notHere: "A time namespace moves the monotonic clocks alone, and the machine's clock is everybody's. Shown by keepalive's TestWallClockJump and TestWake"},
		{f: 38, fault: "shared daemon on the client killed, stopped, upgraded", notHere: "There is none: every ssh has a proxy of its own. For the relay, which is shared, see rows 19 and 23"},
		{f: 39, fault: "control socket of a shared daemon stale, foreign, garbage", notHere: "There is none on the client. For the relay's socket it is shown by relay's TestStaleFiles, TestUnsafeDirectories, TestForeignUserIsClosed"},
	}
}
