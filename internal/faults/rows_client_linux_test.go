package faults

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ssh-stay/internal/sshtest"
)

// clientRows are those of the user's end.
func clientRows() []row {
	ends := each(everywhere, "kill", "term", "int", "hup")
	return []row{
		{f: 27, fault: "client stands still for 5 s", plays: each(everywhere, "5s"), play: playSleep, time: 10 * time.Second},
		{f: 27, fault: "client stands still for " + inWords(sleep()) + ", and the way forgets it", plays: each(everywhere, "long"), play: playSleep, time: sleep() + 5*time.Second},
		{f: 32, fault: "stdout blocked for " + inWords(blocked()), plays: everywhere, play: playSlowReader, time: blocked() + 5*time.Second},
		{f: 33, fault: "burst to a peer that takes nothing for 4 s", plays: []string{"plain/direct", "plain/jump", "resume/jump"}, play: playBurst, time: 10 * time.Second},
		{f: 35, fault: "stdin EOF, 1 MiB of answer 3 s later", plays: everywhere, play: playHalfClose, time: 5 * time.Second},
		{f: 35, fault: "the same, cut in between", plays: []string{"resume/target/cut", "resume/jump/cut"}, play: playHalfClose, time: 5 * time.Second},
		{f: 36, fault: "stdout closed", plays: []string{"plain/direct", "plain/jump", "resume/jump"}, play: playClosedStdout},
		{f: 37, fault: "ssh ends by SIGKILL, SIGTERM, ^C, a closed terminal", plays: ends, play: playKilled},
		{f: 37, fault: "ssh and ssh-stay killed: kept until retention (8 s)", plays: []string{"resume/target/both", "resume/jump/both"}, play: playKilled, time: 10 * time.Second},
		{f: 37, fault: "ssh ends by SIGKILL, ^C, while it uploads at 4 Mbit/s", plays: each([]string{"resume/target", "resume/jump"}, "upload/kill", "upload/int"), play: playKilledUpload, time: 20 * time.Second},
		{f: 43, fault: "ConnectTimeout runs out while the user is asked", plays: []string{"plain/jump"}, play: playPrompt, time: 10 * time.Second},
	}
}

func sleep() time.Duration   { return lasts(12*time.Second, 2*time.Minute) }
func blocked() time.Duration { return lasts(12*time.Second, 10*time.Minute) }

func playSleep(s *scene) {
	d := 5 * time.Second
	if s.flavour == "long" {
		d = sleep()
	}
	s.overPath()
	t := s.begin()
	s.phase()
	pids := append(s.ours(), t.cmd.Process.Pid)
	for _, pid := range pids {
		s.fail(syscall.Kill(pid, syscall.SIGSTOP))
	}
	defer func() {
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGCONT)
		}
	}()
	s.fired("processes that stand still", func() bool { return sshtest.Stopped(pids[0]) && sshtest.Stopped(pids[1]) })
	if s.flavour == "long" {
		s.path.Forget()
		s.fired("packets of forgotten flows", func() bool { return s.path.Stats(sshtest.Both).Forgotten > 0 })
	}
	<-time.After(d)
	s.strike()
	for _, pid := range pids {
		s.fail(syscall.Kill(pid, syscall.SIGCONT))
	}
	t.heal()
	switch {
	case s.flavour == "5s":
		t.returns(2 * time.Second)
		t.silent()
	case s.resumed:
		t.cutAndBack(5 * time.Second)
		t.silent()
	default:
		s.darkFar = true
		t.clean(lost(3*time.Second, "timed out", "no answer for"))
	}
}

// tooMuch is more memory than any of our processes may have.
const tooMuch = 64 << 10

// memoryOf is a process's anonymous memory in KiB.
func memoryOf(pid int) (kib int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, _ := strings.Cut(string(text), "RssAnon:")
	fmt.Sscan(after, &kib)
	return kib
}

// bounded fails the scene if one of our processes has grown too large.
func (s *scene) bounded() {
	s.Helper()
	pids := s.ours()
	if s.resumed {
		pids = append(pids, s.relayPid())
	}
	most := 0
	for _, pid := range pids {
		most = max(most, memoryOf(pid))
	}
	s.note = fmt.Sprintf("%d MiB at most", (most+1023)/1024)
	if most > tooMuch {
		s.Errorf("%d KiB of memory, want %d at most", most, tooMuch)
	}
}

func playSlowReader(s *scene) {
	s.overPath()
	t := s.begin()
	s.phase()
	s.strike()
	t.near.Set(Deaf, 1)
	t.far.Set(Hurry, 1)
	var before uint64
	s.fired("standstill of the reader", func() bool {
		before = t.near.At(Received)
		<-time.After(300 * time.Millisecond)
		return t.near.At(Received) == before
	})
	<-time.After(time.Until(s.struck.Add(blocked())))
	s.bounded()
	if t.near.At(Received) > before+64<<10 { // the read that was under way
		s.Error("the reader took something: nothing is tested")
	}
	t.far.Set(Hurry, 0)
	t.near.Set(Deaf, 0)
	t.heal()
	t.returns(2 * time.Second)
	t.silent()
	if n := s.attached(); n > 0 {
		s.Errorf("the stream lost its link %d times, and nothing was wrong with that", n)
	}
}

// playBurst stops the target, so that it is ours to hold what the user writes.
func playBurst(s *scene) {
	s.between()
	t := s.begin()
	s.phase()
	s.strike()
	pids, goOn := s.target.Suspend()
	s.Cleanup(goOn)
	t.near.Set(Hurry, 1)
	s.fired("a target and a writer that stand still", func() bool { return sshtest.Stopped(pids[len(pids)-1]) && t.stands(300*time.Millisecond) })
	<-time.After(time.Until(s.struck.Add(4 * time.Second)))
	s.bounded()
	goOn()
	t.near.Set(Hurry, 0)
	t.heal()
	t.returns(5 * time.Second)
	t.silent()
}

func playHalfClose(s *scene) {
	const size, wait = 1 << 20, 3 * time.Second
	s.overFaults()
	t := s.begin()
	t.far.Set(Answer, size)
	t.far.Set(Delay, uint64(wait/time.Millisecond))
	s.phase()
	t.near.Set(Finish, 1)
	s.soon(10*time.Second, "EOF at the far end", func() bool { return t.far.At(Ended) != 0 })
	before := t.far.At(Sent)
	if s.flavour == "cut" {
		s.faults.Reset()
		s.fired("reset flows", func() bool { return s.faults.Stats().Reset > 0 })
	}
	t.silent()
	if got := t.far.At(Sent) - before; got < size {
		s.Errorf("%d bytes came after EOF, want %d: nothing is tested", got, size)
	}
	if s.flavour == "cut" && s.attached() == 0 {
		s.Error("the stream never lost its link: nothing is tested")
	}
}

// playClosedStdout runs a proxy by itself, before an endless peer.
func playClosedStdout(s *scene) {
	s.between()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.fail(err)
	s.Cleanup(func() { l.Close() })
	freed := make(chan time.Time, 1)
	go func() { // ends with the proxy, or its relay
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		block := make([]byte, 4096)
		for err == nil {
			_, err = c.Write(block)
		}
		freed <- time.Now()
	}()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	args := []string{"proxy", "-F", s.client.Config, "--log", s.log}
	if s.jumps() {
		args = append(args, "-J", "jump")
	}
	if s.resumed {
		args = append(args, "-o", "StayResume=jump", "-o", strings.Replace(keep, " ", "=", 1))
	}
	cmd := s.client.Run(background(s, time.Minute), s.bin, append(args, host, port)...)
	in, err := cmd.StdinPipe()
	s.fail(err)
	defer in.Close()
	read, write, err := os.Pipe()
	s.fail(err)
	cmd.Stdout = write
	s.fail(cmd.Start())
	write.Close()
	_, err = io.ReadFull(read, make([]byte, 256<<10))
	s.fail(err)
	s.phase()
	s.strike()
	read.Close()
	s.WaitGone(cmd.Process.Pid, time.Second+slack)
	s.took = time.Since(s.struck)
	cmd.Wait()
	select {
	case at := <-freed:
		s.note = fmt.Sprintf("the peer lost us after %v", at.Sub(s.struck).Round(time.Millisecond))
	case <-time.After(time.Second + slack):
		s.Errorf("the peer has its connection %v after", time.Since(s.struck))
	}
	s.verdict = Clean
}

func playKilled(s *scene) {
	var lines []string
	if s.flavour == "both" {
		lines = []string{"StayKeep 8"}
	}
	s.overFaults(lines...)
	t := s.begin()
	s.phase()
	proxy := s.proxyPid()
	sig := map[string]syscall.Signal{"kill": syscall.SIGKILL, "term": syscall.SIGTERM, "int": syscall.SIGINT, "hup": syscall.SIGHUP, "both": syscall.SIGKILL}[s.flavour]
	kill := func(pid int) {
		if err := syscall.Kill(pid, sig); err != syscall.ESRCH { // it may have gone with the other
			s.fail(err)
		}
	}
	s.strike()
	switch s.flavour {
	case "both": // as a machine dies: the proxy does not see that ssh has gone
		kill(proxy)
		kill(t.cmd.Process.Pid)
	case "int", "hup": // a terminal tells both
		kill(t.cmd.Process.Pid)
		kill(proxy)
	default:
		kill(t.cmd.Process.Pid)
	}
	s.WaitGone(proxy, time.Second+slack)
	s.took = time.Since(s.struck)
	t.wait(5 * time.Second)
	switch {
	case s.flavour == "both":
		<-time.After(time.Until(s.struck.Add(2500 * time.Millisecond)))
		if !isSelfAmong(running(t.farName())) {
			s.Errorf("the session at the far end is gone %v after: it was not kept", time.Since(s.struck))
		}
	case s.resumed:
		s.soon(2*time.Second+slack, "end of the session at the far end", func() bool { return !isSelfAmong(running(t.farName())) })
	}
	s.verdict = Clean
}

// playKilledUpload: what is on its way when ssh ends does not keep the far end from
// hearing of that.
func playKilledUpload(s *scene) {
	s.overPath("StayInterval 15", "StayGiveUp 45")
	t := s.begin()
	s.path.Impair(sshtest.Both, sshtest.Impairment{Rate: 512 << 10, Delay: 40 * time.Millisecond})
	t.far.Set(Pause, 1)
	t.near.Set(Hurry, 1)
	s.soon(10*time.Second, "full line", func() bool { return t.near.At(Sent) > t.far.At(Received)+1<<20 }) // ssh has 2 MiB on the way at most
	<-time.After(2 * time.Second)
	s.phase()
	proxy := s.proxyPid()
	s.strike()
	if s.flavour == "upload/int" {
		s.fail(syscall.Kill(t.cmd.Process.Pid, syscall.SIGINT))
		if err := syscall.Kill(proxy, syscall.SIGINT); err != syscall.ESRCH {
			s.fail(err)
		}
	} else {
		s.fail(syscall.Kill(t.cmd.Process.Pid, syscall.SIGKILL))
	}
	s.WaitGone(proxy, 10*time.Second+slack)
	s.took = time.Since(s.struck)
	t.wait(5 * time.Second)
	s.soon(2*time.Second+slack, "end of the session at the far end", func() bool { return !isSelfAmong(running(t.farName())) })
	s.note = fmt.Sprintf("%d KiB were on their way", (t.near.At(Sent)-t.far.At(Received))>>10)
	s.verdict = Clean
}

// playPrompt has an askpass program that never answers.
func playPrompt(s *scene) {
	s.user()
	s.hosts(nil)
	locked := filepath.Join(s.client.Dir, ".ssh", "locked")
	key, err := sshtest.NewKey(locked, "", "secret")
	s.fail(err)
	s.fail(s.jump.Authorize(key.Authorized()))
	asked, askpass := filepath.Join(s.client.Dir, "asked"), filepath.Join(s.client.Dir, "askpass")
	s.fail(os.WriteFile(askpass, []byte("#!/bin/sh\necho \"$1\" >"+asked+"\nexec tail -f "+asked+"\n"), 0o700))
	s.env = []string{"SSH_ASKPASS=" + askpass, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none"}
	s.fail(s.client.AddHost("jump", s.jump, "IdentityFile "+locked, "BatchMode no"))
	s.names("", "ConnectTimeout 6")
	s.strike()
	t := s.start()
	s.fired("a question", func() bool { text, _ := os.ReadFile(asked); return strings.Contains(string(text), "locked") })
	t.clean(lost(6*time.Second, "is nearly over, and an answer is still awaited"))
	s.soon(2*time.Second+slack, "end of the askpass program", func() bool { return len(running(asked)) == 0 })
}
