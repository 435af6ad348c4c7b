package faults

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"ssh-stay/internal/sshtest"
)

// packetRows are those of a network that treats single packets badly, or slowly.
func packetRows() []row {
	three := []string{"plain/direct", "plain/jump", "resume/target"}
	return []row{
		{f: 1, fault: "firewall that forgets what is idle for 5 s", plays: everywhere, play: playIdle, time: 20 * time.Second},
		{f: 28, fault: "loss of 5 % both ways", plays: each(everywhere, "5"), play: playLoss, time: 20 * time.Second},
		{f: 28, fault: "loss of 30 % both ways, probed each 10 s", plays: each(everywhere, "30"), play: playLoss, time: 60 * time.Second},
		{f: 29, fault: "25 % out of order, 5 % twice", plays: everywhere, play: playDisorder, time: 10 * time.Second},
		{f: 30, fault: "MTU blackhole: more than 1300 bytes are lost, no ICMP", plays: append(each(three, "off"), "resume/jump/off"), play: playMTU, time: 20 * time.Second},
		{f: 30, fault: "MTU blackhole, tcp_mtu_probing 1", plays: append(each(three, "probing"), "resume/jump/probing"), play: playMTU, time: 20 * time.Second},
		{f: 31, fault: "8 kbit/s, round trip 2 s, given up after 45 s", plays: everywhere, play: playSlowLine, time: 60 * time.Second},
		{f: 34, fault: "every byte a TCP segment", plays: everywhere, play: playSliced, time: 10 * time.Second},
	}
}

// playIdle: a connection beside the session's, that nobody probes, shows that the
// firewall forgets.
func playIdle(s *scene) {
	const forget = 5 * time.Second
	fw := s.Firewall(forget)
	s.inside(fw.Client, fw.Server)
	t := s.begin()
	var canary net.Conn
	s.fail(fw.Client.Do(func() (err error) {
		canary, err = (&net.Dialer{KeepAlive: -1}).Dial("tcp", s.front.HostPort())
		return err
	}))
	defer canary.Close()
	s.phase()
	t.pause()
	s.strike()
	<-time.After(2 * forget)
	s.soon(10*time.Second, "forgetting of the idle connection", func() bool {
		known, err := fw.Known()
		return err == nil && known == 1
	})
	before, err := fw.Dropped()
	s.fail(err)
	io.WriteString(canary, "SSH-2.0-late\r\n")
	s.fired("dropped packets", func() bool {
		after, err := fw.Dropped()
		return err == nil && after > before
	})
	t.play()
	t.heal()
	t.returns(2 * time.Second)
	t.silent()
	if n := s.attached(); n > 0 {
		s.Errorf("the stream lost its link %d times", n)
	}
}

// mostBaseline is how long is waited for plain TCP, which may stand still for
// minutes under heavy loss.
const mostBaseline = 20 * time.Second

// baseline is how long plain TCP takes for the scene's limit both ways, now, or
// mostBaseline where that is too long.
func (s *scene) baseline() time.Duration {
	s.Helper()
	var l net.Listener
	s.fail(s.path.Server.Do(func() (err error) {
		l, err = net.Listen("tcp", s.path.Server.Addr+":0")
		return err
	}))
	defer l.Close()
	exchange := func(c net.Conn) error {
		c.SetDeadline(time.Now().Add(mostBaseline))
		go c.Write(make([]byte, s.limit)) // ends with c
		_, err := io.ReadFull(c, make([]byte, s.limit))
		return err
	}
	start := time.Now()
	var both sync.WaitGroup
	both.Go(func() { // ends with the exchange
		if c, err := l.Accept(); err == nil {
			defer c.Close()
			exchange(c)
			c.Read(make([]byte, 1)) // until the other end has all
		}
	})
	var c net.Conn
	err := s.path.Client.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", l.Addr().String(), mostBaseline)
		return err
	})
	if err == nil {
		err = exchange(c)
		c.Close()
	}
	took := min(time.Since(start), mostBaseline)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && took < mostBaseline {
		s.Fatal(err)
	}
	l.Close()
	both.Wait()
	return took
}

// playLoss compares with plain TCP under the same loss. Where that is high, chance
// rules single runs: one segment in a hundred is lost seven times in a row, and then
// TCP itself stands still for a minute. So the line is good again after 45 s. TCP's
// steps double, from one of some seconds at most, so it stands still for little
// longer than it did until then.
func playLoss(s *scene) {
	loss, lines := 0.05, []string(nil)
	s.limit, s.rate = 1<<20, 64<<20
	high := s.flavour == "30"
	if high {
		loss, s.limit, s.patience = 0.3, 48<<10, 4*time.Minute
		lines = []string{"StayInterval 10", "StayGiveUp 900"}
	}
	s.overPath(lines...)
	t := s.quiet()
	s.path.Impair(sshtest.Both, sshtest.Impairment{Loss: loss})
	plain := s.baseline()
	s.strike()
	before := s.path.Stats(sshtest.Both)
	var after sshtest.PathStats
	heal := sync.OnceFunc(func() {
		after = s.path.Stats(sshtest.Both)
		s.path.Heal()
	})
	bound := 2*plain + 10*time.Second
	if high {
		bound = 2*time.Minute + slack
		defer time.AfterFunc(45*time.Second, heal).Stop()
	}
	t.play()
	took := t.delivers(bound)
	heal()
	t.silent()
	lost, of := after.Lost-before.Lost, after.Packets-before.Packets
	s.note = fmt.Sprintf("%.1f s with %d of %d packets lost, plain TCP %.1f s", took.Seconds(), lost, of, plain.Seconds())
	if float64(lost) < loss/3*float64(of) {
		s.Errorf("%d of %d packets were lost: nothing is tested", lost, of)
	}
	if n := s.attached(); n > 0 && s.flavour == "5" || n > 1+int(took/time.Minute) {
		s.Errorf("the stream lost its link %d times", n)
	}
}

func playDisorder(s *scene) {
	s.overPath()
	t := s.begin()
	s.phase()
	s.strike()
	s.path.Impair(sshtest.Both, sshtest.Impairment{Reorder: 0.25, Duplicate: 0.05})
	s.fired("packets out of order and twice", func() bool {
		stats := s.path.Stats(sshtest.Both)
		return stats.Reordered > 50 && stats.Duplicated > 10
	})
	<-time.After(3 * time.Second)
	t.heal()
	t.returns(5 * time.Second)
	t.silent()
	if n := s.attached(); n > 0 {
		s.Errorf("the stream lost its link %d times", n)
	}
}

func playMTU(s *scene) {
	var lines []string
	if s.flavour == "probing" {
		lines = []string{"StayInterval 15", "StayGiveUp 45"}
	}
	s.overPath(lines...)
	if s.flavour == "probing" {
		for _, ns := range []*sshtest.Netns{s.path.Client, s.path.Server} {
			s.fail(ns.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/tcp_mtu_probing", []byte("1"), 0o644) }))
		}
	}
	t := s.begin()
	s.phase()
	s.strike()
	s.path.Impair(sshtest.Both, sshtest.Impairment{MaxSize: 1300})
	t.heal()
	s.fired("packets that are too large", func() bool { return s.path.Stats(sshtest.Both).TooLarge > 0 })
	switch {
	case s.flavour == "probing":
		t.returns(30 * time.Second)
	case s.resumed:
		<-time.After(detect + 5*time.Second)
		s.path.Heal()
		t.heal()
		t.cutAndBack(12 * time.Second)
	default:
		s.darkFar = true
		t.clean(lost(60*time.Second, "timed out", "no answer for"))
		return
	}
	t.silent()
}

func playSlowLine(s *scene) {
	s.limit, s.rate = 6<<10, 300
	s.overPath("StayInterval 15", "StayGiveUp 45") // one full packet alone takes 3.5 s
	t := s.quiet()
	s.path.Impair(sshtest.Both, sshtest.Impairment{Rate: 1000, Delay: time.Second})
	s.strike()
	t.play()
	took := t.delivers(90 * time.Second)
	if took < 6*time.Second {
		s.Errorf("took %v: the line is not slow, nothing is tested", took)
	}
	s.note = fmt.Sprintf("%.0f s", took.Seconds())
	s.path.Heal()
	t.silent()
	// What is queued at first may take 10 s, before the stream knows that this line does.
	if n := s.attached(); n > 1 {
		s.Errorf("the stream lost its link %d times", n)
	} else if n == 1 {
		s.note += ", on a second link"
	}
}

func playSliced(s *scene) {
	s.limit = 96 << 10
	s.overFaults("StayInterval 15", "StayGiveUp 45") // what many segments cost is the machine's affair
	s.faults.Slice = true
	t := s.begin()
	t.delivers(60 * time.Second)
	t.silent()
	if n := s.faults.Stats().Slices; int64(n) < 2*s.limit {
		s.Errorf("%d segments of a byte, want %d at least: nothing is tested", n, 2*s.limit)
	}
}
