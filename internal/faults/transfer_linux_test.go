package faults

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// transfer is a session of ssh that carries bytes both ways.
type transfer struct {
	*scene
	cmd       *exec.Cmd
	in, out   *os.File
	near, far *Board
	stderr    string        // a file: what stands there is read while it runs
	received  chan struct{} // closed when the near end has seen the end
	exited    chan struct{} // closed when ssh has, which ended is the time of
	started   time.Time
	ended     time.Time
	slow      bool      // it took longer to connect than a wait that is not told
	marks     [2]uint64 // what each end had sent when the fault was over
}

// begin starts a session to "it" and waits until bytes flow both ways.
func (s *scene) begin(args ...string) *transfer {
	s.Helper()
	return s.start(args...).flows(60 * time.Second)
}

// start starts a session to "it". The options stand before it.
func (s *scene) start(args ...string) *transfer {
	s.Helper()
	far, err := os.CreateTemp(s.client.Dir, "far")
	s.fail(err)
	far.Close()
	remote := fmt.Sprintf("exec %s far %d %s %d %d", self(), s.seed, far.Name(), s.limit, s.rate)
	cmd := s.client.Command(background(s, 15*time.Minute), append(args, "it", remote)...)
	if s.wrap != nil {
		cmd.Args = append(append(s.wrap[:len(s.wrap):len(s.wrap)], cmd.Path), cmd.Args[1:]...)
		cmd.Path = s.wrap[0]
	}
	return s.run(s.enter.Enter(cmd), far.Name())
}

// run starts a command whose far end has that board.
func (s *scene) run(cmd *exec.Cmd, farBoard string) *transfer {
	s.Helper()
	t := &transfer{scene: s, cmd: cmd, received: make(chan struct{}), exited: make(chan struct{})}
	var err error
	t.far, err = OpenBoard(farBoard)
	s.fail(err)
	t.near, err = OpenBoard(filepath.Join(s.client.Dir, filepath.Base(farBoard)+"-near"))
	s.fail(err)
	if s.paused {
		t.near.Set(Pause, 1)
		t.far.Set(Pause, 1)
	}
	errs, err := os.CreateTemp(s.client.Dir, "stderr")
	s.fail(err)
	defer errs.Close()
	t.stderr = errs.Name()
	read, theirs, err := os.Pipe()
	s.fail(err)
	mine, write, err := os.Pipe()
	s.fail(err)
	t.in, t.out = write, read
	cmd.Stdin, cmd.Stdout, cmd.Stderr = mine, theirs, errs
	cmd.Env = append(cmd.Env, s.env...)
	t.started = time.Now()
	s.fail(cmd.Start())
	theirs.Close()
	mine.Close()
	peer := &Peer{Board: t.near, Seed: s.seed, Sends: Up, Limit: s.limit, Rate: s.rate}
	go func() { // ends with ssh
		peer.Near(t.out, t.in)
		close(t.received)
	}()
	go func() { // ends with ssh
		cmd.Wait()
		t.ended = time.Now()
		close(t.exited)
	}()
	s.Cleanup(t.close)
	s.transfers = append(s.transfers, t)
	return t
}

func (t *transfer) close() {
	t.cmd.Process.Signal(syscall.SIGCONT)
	t.cmd.Process.Kill()
	t.near.Set(Finish, 1)
	t.near.Set(Deaf, 0)
	<-t.exited
	t.in.Close()
	t.out.Close()
	<-t.received
	t.near.Close()
	t.far.Close()
}

func (t *transfer) said() string {
	text, _ := os.ReadFile(t.stderr)
	return string(text)
}

// flows waits until bytes have come both ways.
func (t *transfer) flows(d time.Duration) *transfer {
	t.Helper()
	least := uint64(64 << 10)
	if t.limit > 0 || t.rate > 0 {
		least = 1
	}
	end := time.After(d)
	for t.near.At(Received) < least || t.far.At(Received) < least {
		select {
		case <-t.exited:
			t.Fatalf("no session: exit status %d, %q", t.cmd.ProcessState.ExitCode(), t.said())
		case <-end:
			t.Fatalf("no session within %v: %d and %d bytes came, stderr %q", d, t.near.At(Received), t.far.At(Received), t.said())
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.slow = time.Since(t.started) > 5*time.Second
	return t
}

// heal notes that the fault is over.
func (t *transfer) heal() {
	t.healed = time.Now()
	t.marks = [2]uint64{t.near.At(Sent), t.far.At(Sent)}
}

// returns fails unless all that was on its way when the fault was over has come
// within d, and more.
func (t *transfer) returns(d time.Duration) {
	t.Helper()
	end := t.healed.Add(d + slack)
	for {
		up, down := t.far.At(Received), t.near.At(Received)
		if up > t.marks[0] && down > t.marks[1] || t.limit > 0 && up >= t.marks[0] && down >= t.marks[1] {
			break
		}
		select {
		case <-t.exited:
			t.Fatalf("ended %v after the fault: exit status %d, %q; want a session that goes on", t.ended.Sub(t.struck).Round(time.Millisecond), t.cmd.ProcessState.ExitCode(), t.said())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatalf("not back %v after the fault was over: up %d of %d, down %d of %d", time.Since(t.healed).Round(time.Millisecond), up, t.marks[0], down, t.marks[1])
		}
	}
	t.back = max(t.back, time.Since(t.healed))
}

// survivesOr is for what chance decides: the session goes on, or ends CLEAN.
func (t *transfer) survivesOr(d time.Duration, terms Terms) {
	t.Helper()
	for t.far.At(Received) <= t.marks[0] || t.near.At(Received) <= t.marks[1] {
		select {
		case <-t.exited:
			t.darkFar = true // of a path that healed too late, who knows
			t.clean(terms)
			return
		case <-time.After(5 * time.Millisecond):
		}
		if time.Since(t.healed) > d+slack {
			break
		}
	}
	t.returns(d)
	t.silent()
}

// cutAndBack is the end of most rows under resume: the stream has got a new link
// and goes on.
func (t *transfer) cutAndBack(d time.Duration) {
	t.Helper()
	t.returns(d)
	if t.attached() == 0 {
		t.Error("the stream never lost its link: nothing is tested")
	}
}

// wait waits for ssh's end, and says what it was.
func (t *transfer) wait(d time.Duration) *End {
	t.Helper()
	select {
	case <-t.exited:
	case <-time.After(d):
		t.verdict = Fail
		t.Fatalf("HANG: ssh is still there after %v; sent %d and %d, received %d and %d", d,
			t.near.At(Sent), t.far.At(Sent), t.near.At(Received), t.far.At(Received))
	}
	t.near.Set(Finish, 1)
	select {
	case <-t.received:
	case <-time.After(5 * time.Second):
		t.Error("somebody holds the stdout of an ssh that has ended")
	}
	// Its line may come after ssh's end: it says farewell to the relay first.
	t.soon(8*time.Second, "end of our processes", func() bool { return len(t.ours()) == 0 })
	after := time.Duration(0)
	if !t.struck.IsZero() {
		after = t.ended.Sub(t.struck)
	}
	return &End{Near: t.near, Far: t.far, Status: t.cmd.ProcessState.ExitCode(), Stderr: t.said(), After: after}
}

// intact ends the session as its user would, and wants nothing lost.
func (t *transfer) intact() {
	t.Helper()
	start := time.Now()
	t.near.Set(Finish, 1)
	end := t.wait(cmp.Or(t.patience, 30*time.Second))
	if late := t.ended.Sub(start); late > 10*time.Second {
		text, _ := os.ReadFile(t.log)
		t.Logf("it took %v to end; log of the proxy:\n%s", late.Round(time.Millisecond), tail(text, 3000))
	}
	t.judge(end, Terms{}, Intact)
}

// silent is intact, and nobody was told anything, but of the wait where a busy
// machine took long to connect.
func (t *transfer) silent() {
	t.Helper()
	t.intact()
	if said := t.said(); said != "" && !(t.slow && said == "ssh-stay: it: still connecting\n") {
		t.Errorf("stderr %q, want silence", said)
	}
}

// clean waits for an end that keeps the terms.
func (t *transfer) clean(terms Terms) {
	t.Helper()
	terms.Within += slack
	end := t.wait(terms.Within + 30*time.Second)
	t.near.Set(Finish, 1)
	t.took = end.After
	t.judge(end, terms, Clean)
}

func (t *transfer) judge(end *End, terms Terms, want Verdict) {
	t.Helper()
	got, why := Judge(end, terms)
	t.verdict = got
	if got != want {
		t.Errorf("got %s, want %s: %q; exit status %d after %v, stderr %q", got, want, why, end.Status, end.After.Round(time.Millisecond), end.Stderr)
	}
}

// farName is the board of the far end, and stands in its command line.
func (t *transfer) farName() string { return t.far.f.Name() }

// isSelf says whether a process is a far end.
func isSelf(pid int) bool {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return exe == self()
}

// isSelfAmong says whether one of the processes is a far end.
func isSelfAmong(pids []int) bool { return slices.ContainsFunc(pids, isSelf) }

// stands says whether nothing moves, for as long as it looks. A peer rests for up to
// a second after a large chunk.
func (t *transfer) stands(d time.Duration) bool {
	up, down := t.far.At(Received), t.near.At(Received)
	<-time.After(d)
	return t.far.At(Received) == up && t.near.At(Received) == down
}

// quiet starts a session whose ends are there and send nothing yet.
func (s *scene) quiet(args ...string) *transfer {
	s.Helper()
	s.paused = true
	t := s.start(args...)
	s.paused = false
	end := time.After(60 * time.Second)
	for t.far.At(State) != Running {
		select {
		case <-t.exited:
			t.Fatalf("no session: exit status %d, %q", t.cmd.ProcessState.ExitCode(), t.said())
		case <-end:
			t.Fatalf("no session: stderr %q", t.said())
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.slow = time.Since(t.started) > 5*time.Second
	return t
}

// paced has an end wait while more than that of it is under way. Where keys are
// exchanged all the time, an end of OpenSSH 9.2 that always has something to send
// leaves no room to the other: with ssh -J nothing at all comes down.
func (t *transfer) paced(most int64) *transfer {
	pause := func(from, to *Board) {
		wait := uint64(0)
		if int64(from.At(Sent))-int64(to.At(Received)) > most {
			wait = 1
		}
		from.Set(Pause, wait)
	}
	go func() { // ends with ssh
		for !t.hasEnded() {
			pause(t.near, t.far)
			pause(t.far, t.near)
			<-time.After(20 * time.Millisecond)
		}
	}()
	return t
}

// pause has both ends send nothing, and play goes on.
func (t *transfer) pause() { t.near.Set(Pause, 1); t.far.Set(Pause, 1) }
func (t *transfer) play()  { t.near.Set(Pause, 0); t.far.Set(Pause, 0) }

// delivers waits until both ends have sent their limit and have that of the other.
func (t *transfer) delivers(d time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	want := uint64(t.limit)
	for t.near.At(Received) < want || t.far.At(Received) < want {
		select {
		case <-t.exited:
			t.Fatalf("ended after %v: exit status %d, %q", time.Since(start), t.cmd.ProcessState.ExitCode(), t.said())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Since(start) > d {
			t.Fatalf("%d and %d of %d bytes came within %v", t.far.At(Received), t.near.At(Received), want, d)
		}
	}
	return time.Since(start)
}

// warned is intact after one line of ssh-stay with the words.
func (t *transfer) warned(words string) {
	t.Helper()
	t.intact()
	if ours := Lines(t.said()); len(ours) != 1 || !contains(ours[0], []string{words}) {
		t.Errorf("stderr %q, want one line with %q", t.said(), words)
	}
}

func (t *transfer) hasEnded() bool {
	select {
	case <-t.exited:
		return true
	default:
		return false
	}
}
