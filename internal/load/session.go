//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	"ssh-stay/internal/faults"
)

// patience bounds whatever waits for a peer.
const patience = 3 * time.Minute

// session is a running ssh.
type session struct {
	cmd    *exec.Cmd
	stderr string        // a file
	exited chan struct{} // closed when ssh has
}

// start runs ssh with those ends. The caller closes the session.
func (s *scene) start(ctx context.Context, w way, in, out *os.File, remote string) (*session, error) {
	path, err := s.file("stderr")
	if err != nil {
		return nil, err
	}
	stderr, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	n := &session{cmd: s.client.Command(ctx, w.alias, remote), stderr: path, exited: make(chan struct{})}
	n.cmd.Stdin, n.cmd.Stdout, n.cmd.Stderr = in, out, stderr
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with ssh
		n.cmd.Wait()
		close(n.exited)
	}()
	return n, nil
}

// said is what stands on stderr, where nothing should but the word that a start
// takes more than 5 s: that is no fault on a machine that is loaded on purpose.
func (n *session) said() string {
	text, _ := os.ReadFile(n.stderr)
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "ssh-stay: ") || !strings.Contains(line, ": still connecting") {
			b.WriteString(line)
		}
	}
	return strings.TrimSpace(b.String())
}

// silent is an error if a session that is there has said something: that it cannot be
// resumed, say, and is another load than what it is taken for.
func (n *session) silent() error {
	if text := n.said(); text != "" && !n.isOver() {
		return fmt.Errorf("the session lives, and says %q", text)
	}
	return nil
}

func (n *session) isOver() bool {
	select {
	case <-n.exited:
		return true
	default:
		return false
	}
}

// gone waits until ssh has ended, and with 0 and in silence.
func (n *session) gone() error {
	select {
	case <-n.exited:
	case <-time.After(patience):
		n.cmd.Process.Kill()
		<-n.exited
		return fmt.Errorf("ssh hung for %v, stderr %q", patience, n.said())
	}
	if n.cmd.ProcessState.ExitCode() != 0 || n.said() != "" {
		return errors.New(n.fate())
	}
	return nil
}

// fate is what became of a session that does not answer as it should.
func (n *session) fate() string {
	select {
	case <-n.exited:
		return fmt.Sprintf("ssh: exit status %d, stderr %q", n.cmd.ProcessState.ExitCode(), n.said())
	case <-time.After(5 * time.Second):
		return fmt.Sprintf("ssh still runs, stderr %q", n.said())
	}
}

func (n *session) kill() {
	n.cmd.Process.Kill()
	<-n.exited
}

// keySize is what an echo is of: a key or two of a person, with room for noise
// enough to tell one from another.
const keySize = 16

// typist is a session of which each key comes back from the far end. That is its
// oracle: what has come back has gone there too.
type typist struct {
	*session
	in, out *os.File
	keys    *rand.ChaCha8
	times   []time.Duration
}

// newTypist returns when the first key has come back.
func (s *scene) newTypist(ctx context.Context, w way, seed uint64) (*typist, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close(), theirIn.Close())
	}
	t := &typist{in: in, out: out, keys: rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})}
	t.session, err = s.start(ctx, w, theirIn, theirOut, "exec cat")
	// At once: while we hold ssh's end of the pipe, its death is no end of ours.
	err = errors.Join(err, theirIn.Close(), theirOut.Close())
	if err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	if err := errors.Join(t.key(time.Now()), t.silent()); err != nil {
		t.close()
		return nil, err
	}
	t.times = nil
	return t, nil
}

// key types one that was due then, and waits for it. Its time is counted from when it
// was due: an echo that is late makes the next keys late too.
func (t *typist) key(due time.Time) error {
	var sent, came [keySize]byte
	t.keys.Read(sent[:])
	if err := t.out.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := t.in.Write(sent[:]); err != nil {
		return fmt.Errorf("key: %w; %s", err, t.fate())
	}
	if _, err := io.ReadFull(t.out, came[:]); err != nil {
		return fmt.Errorf("no echo: %w; %s", err, t.fate())
	}
	t.times = append(t.times, time.Since(due))
	if sent != came {
		return fmt.Errorf("key %d came back as %x, want %x", len(t.times), came, sent)
	}
	return nil
}

// typeUntil goes on until ctx ends, a key at each interval, whose first is somewhere
// within the first interval: typists do not keep time together.
func (t *typist) typeUntil(ctx context.Context, every time.Duration) error {
	for due := time.Now().Add(rand.N(every)); wait(ctx, time.Until(due)) == nil; due = due.Add(every) {
		if err := t.key(due); err != nil {
			return err
		}
	}
	return nil
}

// end says goodbye: nothing more may come, and ssh ends well.
func (t *typist) end() error {
	t.in.Close()
	t.out.SetReadDeadline(time.Now().Add(patience))
	more, err := io.ReadAll(t.out)
	if len(more) > 0 {
		err = errors.Join(err, fmt.Errorf("%d bytes that nobody typed", len(more)))
	}
	return errors.Join(err, t.gone())
}

func (t *typist) close() {
	t.in.Close()
	t.kill()
	t.out.Close()
}

// bulk is a session that moves bytes both ways between two peers.
type bulk struct {
	*session
	near, far *faults.Board
	peer      *exec.Cmd // the near end
	over      chan struct{}
}

// transfer is what a bulk session moves.
type transfer struct {
	limit int64 // bytes in either direction; 0: until the end
	rate  int   // bytes a second; 0: as fast as it goes
}

// newBulk returns when both ends are there, but they send nothing before begin:
// who is already at work would hold up the logins of the others.
func (s *scene) newBulk(ctx context.Context, w way, seed uint64, move transfer) (*bulk, error) {
	b := &bulk{over: make(chan struct{})}
	var boards [2]string
	for i, board := range []**faults.Board{&b.near, &b.far} {
		var err error
		if boards[i], err = s.file("board"); err != nil {
			return nil, err
		}
		if *board, err = faults.OpenBoard(boards[i]); err != nil {
			return nil, err
		}
		(*board).Set(faults.Pause, 1)
		if move.rate == 0 {
			(*board).Set(faults.Hurry, 1)
		}
	}
	words := func(end, board string) []string {
		return []string{end, fmt.Sprint(seed), board, fmt.Sprint(move.limit), fmt.Sprint(max(move.rate, 64<<10))}
	}
	if err := b.run(ctx, s, w, words("near", boards[0]), words("far", boards[1])); err != nil {
		return nil, errors.Join(err, b.near.Close(), b.far.Close())
	}
	isThere := func(b *faults.Board) bool { return b.At(faults.State) != faults.Unborn }
	if err := errors.Join(b.wait(ctx, s.tell, isThere), b.silent()); err != nil {
		b.close()
		return nil, fmt.Errorf("no session: %w", err)
	}
	return b, nil
}

// run starts ssh and the near end, each of which has the other's pipes.
func (b *bulk) run(ctx context.Context, s *scene, w way, near, far []string) error {
	var pipes [4]*os.File
	var err [2]error
	pipes[0], pipes[1], err[0] = os.Pipe() // to ssh
	pipes[2], pipes[3], err[1] = os.Pipe() // from ssh
	defer func() {
		for _, f := range pipes {
			f.Close()
		}
	}()
	if err := errors.Join(err[:]...); err != nil {
		return err
	}
	b.peer = exec.Command(s.self, near...)
	b.peer.Stdin, b.peer.Stdout, b.peer.Stderr = pipes[2], pipes[1], os.Stderr
	if err := b.peer.Start(); err != nil {
		return err
	}
	go func() { // ends with the peer, whose ssh ends it
		b.peer.Wait()
		close(b.over)
	}()
	remote := "exec " + s.self
	for _, word := range far {
		remote += " " + word
	}
	var failed error
	if b.session, failed = s.start(ctx, w, pipes[0], pipes[3], remote); failed != nil {
		b.peer.Process.Kill()
	}
	return failed
}

func (b *bulk) begin() {
	b.near.Set(faults.Pause, 0)
	b.far.Set(faults.Pause, 0)
}

// wait waits until both ends are so far. It tells each minute how far they are, and
// is an error if that is no more than a minute before.
func (b *bulk) wait(ctx context.Context, tell func(string, ...any), isSoFar func(*faults.Board) bool) error {
	look, minute := time.NewTicker(20*time.Millisecond), time.NewTicker(time.Minute)
	defer look.Stop()
	defer minute.Stop()
	for before := b.moved(); !isSoFar(b.near) || !isSoFar(b.far); {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-b.exited:
			return fmt.Errorf("too early an end: %s", b.fate())
		case <-minute.C:
			now := b.moved()
			if now == before {
				return fmt.Errorf("no byte for a minute, after %d: %s", now, b.fate())
			}
			before = now
			tell("%d MiB received", now/mib)
		case <-look.C:
		}
	}
	return nil
}

// moved is what has come at both ends.
func (b *bulk) moved() uint64 { return b.near.At(faults.Received) + b.far.At(faults.Received) }

// end has both ends finish, and is nil if the session is INTACT.
func (b *bulk) end() error {
	b.near.Set(faults.Finish, 1)
	err := b.gone()
	select {
	case <-b.over:
	case <-time.After(patience):
		return errors.Join(err, errors.New("the near end does not finish"))
	}
	if b.near.At(faults.Received) == 0 || b.far.At(faults.Received) == 0 {
		err = errors.Join(err, errors.New("no byte was moved, which proves nothing"))
	}
	// As if ssh had ended well: what has become of the bytes counts in any case.
	if verdict, why := faults.Judge(&faults.End{Near: b.near, Far: b.far}, faults.Terms{}); verdict != faults.Intact {
		err = errors.Join(err, fmt.Errorf("%s: %s", verdict, strings.Join(why, "; ")))
	}
	return err
}

func (b *bulk) close() {
	b.near.Set(faults.Finish, 1)
	b.kill()
	b.peer.Process.Kill()
	<-b.over
	b.near.Close()
	b.far.Close()
}
