// Package faults is the fault matrix: every fault that a Linux machine can play,
// against real sessions of ssh over ssh-stay, and one oracle for all of them.
//
// A session carries a transfer: two peers, one at each end, that send each other
// bytes which both can make from a seed. So each end judges every byte at once,
// and a verdict is INTACT, CLEAN or FAIL (see Judge); there is no fourth.
//
// It is for tests alone. `go test ./internal/faults` plays each row once. Of its
// environment: FAULTS_RUNS and FAULTS_SEED repeat and reproduce, FAULTS_LONG
// takes the outages as long as they are meant, FAULTS_PARALLEL is how many rows
// play at once, and FAULTS_TABLE names a file for the table.
package faults

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"
)

// Verdict is what became of a session.
type Verdict string

const (
	// Intact: both ends have all that the other sent, and ssh exits with 0.
	Intact Verdict = "INTACT"
	// Clean: what each end has is the beginning of what the other sent, ssh
	// exits with 255 in time, and one line of ssh-stay names host and cause.
	Clean Verdict = "CLEAN"
	// Fail is everything else: a wrong byte, a gap, a duplicate, a hang, silence,
	// chatter, or something left behind.
	Fail Verdict = "FAIL"
)

// Field is a place on a Board.
type Field int

const (
	Received Field = iota // right bytes taken
	Sent                  // bytes given
	State                 // one of the states below
	WrongAt               // offset of the first wrong byte, in state Wrong
	Ended                 // not 0: the other's end has come

	Pause  // not 0: send nothing
	Deaf   // not 0: receive nothing
	Finish // not 0: send no more, and end
	Answer // bytes to send after the other's end
	Delay  // milliseconds to wait before that
	Hurry  // not 0: as fast as it goes
)

// What follows the fields on a board.
const (
	inHash  = 16 * 8
	outHash = inHash + sha256.Size
	size    = outHash + sha256.Size
)

// States of a peer.
const (
	Unborn uint64 = iota
	Running
	Done
	Wrong
)

// Board is where one process writes what a peer has done and another what it
// shall do. It is a file, so that it outlives a killed peer.
type Board struct{ f *os.File }

// OpenBoard opens a board, and makes it where there is none.
func OpenBoard(path string) (*Board, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &Board{f}, f.Truncate(size)
}

// Close closes the file and leaves it there.
func (b *Board) Close() error { return b.f.Close() }

// At is the value of a field; one that cannot be read is 0.
func (b *Board) At(f Field) uint64 {
	var v [8]byte
	b.f.ReadAt(v[:], int64(f)*8)
	return binary.LittleEndian.Uint64(v[:])
}

// Set writes a field.
func (b *Board) Set(f Field, v uint64) {
	b.f.WriteAt(binary.LittleEndian.AppendUint64(nil, v), int64(f)*8)
}

func (b *Board) sum(at int64) []byte {
	h := make([]byte, sha256.Size)
	b.f.ReadAt(h, at)
	return h
}

// Way is one of the two directions of a transfer.
type Way byte

const (
	Up   Way = 'u'
	Down Way = 'd'
)

func (w Way) back() Way { return Up + Down - w }

// noise is the bytes of one way.
func noise(seed uint64, w Way) *rand.ChaCha8 {
	key := [32]byte{0: byte(w)}
	binary.LittleEndian.PutUint64(key[8:], seed)
	return rand.NewChaCha8(key)
}

// Peer is one end of a transfer.
type Peer struct {
	Board *Board
	Seed  uint64
	Sends Way
	Limit int64 // bytes to send at most; 0: until told
	Rate  int   // bytes per second, about; 0 is 1 MB/s

	gives   *rand.ChaCha8
	in, out hash.Hash
}

// WrongByteError is the worst that can happen.
type WrongByteError struct{ Offset int64 }

func (e *WrongByteError) Error() string { return fmt.Sprintf("wrong byte at offset %d", e.Offset) }

// Near sends until Finish, closes out, and receives until the other's end.
func (p *Peer) Near(in io.Reader, out io.WriteCloser) error {
	p.begin()
	sent := make(chan error, 1)
	go func() { // ends with Finish, or when out does
		sent <- p.send(out, func() bool { return p.Board.At(Finish) != 0 })
		out.Close()
	}()
	err := p.receive(in)
	return p.done(err, sent)
}

// Far sends until the other's end, answers it, and closes out.
func (p *Peer) Far(in io.Reader, out io.WriteCloser) error {
	p.begin()
	over := make(chan struct{})
	sent := make(chan error, 1)
	go func() { // ends after over, or when out does
		err := p.send(out, func() bool {
			select {
			case <-over:
				return true
			default:
				return false
			}
		})
		<-over
		if n := p.Board.At(Answer); err == nil && n > 0 {
			<-time.After(time.Duration(p.Board.At(Delay)) * time.Millisecond)
			err = p.write(out, int64(n))
		}
		out.Close()
		sent <- err
	}()
	err := p.receive(in)
	close(over)
	return p.done(err, sent)
}

func (p *Peer) begin() {
	p.gives, p.in, p.out = noise(p.Seed, p.Sends), sha256.New(), sha256.New()
	p.Board.Set(State, Running)
}

// done waits for the sender, and writes down what was moved in all.
func (p *Peer) done(err error, sent <-chan error) error {
	if wrong, ok := err.(*WrongByteError); ok {
		p.Board.Set(WrongAt, uint64(wrong.Offset))
		p.Board.Set(State, Wrong)
		return err
	}
	serr := <-sent
	if err == nil {
		err = serr
	}
	if err == nil {
		p.Board.f.WriteAt(p.in.Sum(nil), inHash)
		p.Board.f.WriteAt(p.out.Sum(nil), outHash)
		p.Board.Set(State, Done)
	}
	return err
}

// send gives out chunks of 1 byte to 1 MiB, most of them small.
func (p *Peer) send(out io.Writer, stop func() bool) error {
	sizes := rand.New(rand.NewPCG(p.Seed, uint64(p.Sends)))
	rate := p.Rate
	if rate == 0 {
		rate = 1 << 20
	}
	for total := int64(0); !stop(); {
		if p.Board.At(Pause) != 0 || p.Limit > 0 && total >= p.Limit {
			<-time.After(5 * time.Millisecond)
			continue
		}
		n := int64(1 + sizes.IntN(1<<sizes.IntN(17)))
		if sizes.IntN(64) == 0 {
			n = 1 << 20
		}
		n = min(n, int64(rate))
		if p.Limit > 0 {
			n = min(n, p.Limit-total, max(1, p.Limit/16))
		}
		if err := p.write(out, n); err != nil {
			return err
		}
		total += n
		if p.Board.At(Hurry) == 0 {
			<-time.After(time.Duration(n) * time.Second / time.Duration(rate))
		}
	}
	return nil
}

// write gives out the next n bytes.
func (p *Peer) write(out io.Writer, n int64) error {
	b := make([]byte, min(n, 1<<20))
	for n > 0 {
		b = b[:min(n, int64(len(b)))]
		p.gives.Read(b)
		w, err := out.Write(b)
		p.out.Write(b[:w])
		p.Board.Set(Sent, p.Board.At(Sent)+uint64(w))
		if err != nil {
			return err
		}
		n -= int64(w)
	}
	return nil
}

// receive takes bytes until their end, and compares each with what was sent.
func (p *Peer) receive(in io.Reader) error {
	want := noise(p.Seed, p.Sends.back())
	got, right := make([]byte, 64<<10), make([]byte, 64<<10)
	for total := int64(0); ; {
		for p.Board.At(Deaf) != 0 {
			<-time.After(5 * time.Millisecond)
		}
		n, err := in.Read(got)
		want.Read(right[:n])
		if !bytes.Equal(got[:n], right[:n]) {
			for i := range got[:n] {
				if got[i] != right[i] {
					return &WrongByteError{total + int64(i)}
				}
			}
		}
		p.in.Write(got[:n])
		total += int64(n)
		p.Board.Set(Received, uint64(total))
		if err == io.EOF {
			p.Board.Set(Ended, 1)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// FarMain is the program at the far end: SEED BOARD LIMIT RATE. It returns the
// exit status.
func FarMain(args []string) int {
	if len(args) != 4 {
		return 2
	}
	seed, _ := strconv.ParseUint(args[0], 10, 64)
	limit, _ := strconv.ParseInt(args[2], 10, 64)
	rate, _ := strconv.Atoi(args[3])
	board, err := OpenBoard(args[1])
	if err != nil {
		return 2
	}
	p := &Peer{Board: board, Seed: seed, Sends: Down, Limit: limit, Rate: rate}
	if err := p.Far(os.Stdin, os.Stdout); err != nil {
		return 1
	}
	return 0
}

// End is how a session has ended.
type End struct {
	Near, Far *Board
	Status    int
	Stderr    string
	After     time.Duration // since the fault
}

// Terms are what a CLEAN end has to keep.
type Terms struct {
	Within time.Duration
	Says   []string // words of which the line of ssh-stay has one: the cause
	Names  []string // and the host: one of these
	// SSHTells is where the end looks to ssh-stay like any other, so that it is
	// ssh that tells the user: a FIN on a direct route, say. Its words name no host.
	SSHTells bool
}

// Judge returns the verdict and the reasons for a FAIL.
func Judge(e *End, terms Terms) (Verdict, []string) {
	if wrong := append(wrongs(e), crashes(e.Stderr)...); len(wrong) > 0 {
		return Fail, wrong
	}
	if e.Status == 0 {
		if why := unequal(e); len(why) > 0 {
			return Fail, why
		}
		return Intact, nil
	}
	why := unclean(e, terms)
	if len(why) > 0 {
		return Fail, why
	}
	return Clean, nil
}

// wrongs are what no session may do: bytes that were never sent.
func wrongs(e *End) (why []string) {
	for name, b := range map[string]*Board{"near": e.Near, "far": e.Far} {
		if b.At(State) == Wrong {
			why = append(why, fmt.Sprintf("%s end: wrong byte at offset %d", name, b.At(WrongAt)))
		}
	}
	return why
}

// crashes are lines of a Go program that died by its own fault.
func crashes(stderr string) (why []string) {
	for line := range strings.Lines(stderr) {
		for _, start := range []string{"panic: ", "fatal error: ", "goroutine ", "SIG", "runtime: "} {
			if strings.HasPrefix(line, start) {
				return []string{fmt.Sprintf("a crash: %q", stderr)}
			}
		}
	}
	return nil
}

// mostHints may stand below an error.
const mostHints = 2

// sshTells are words of ssh at the end of a connection, OpenSSH 9.2: one is in the
// last line that it has for its user.
var sshTells = []string{"closed by ", "reset by peer", "Broken pipe"}

func unequal(e *End) (why []string) {
	if e.Near.At(State) != Done || e.Far.At(State) != Done {
		why = append(why, fmt.Sprintf("exit status 0, but states %d and %d are not %d", e.Near.At(State), e.Far.At(State), Done))
	}
	for _, w := range []struct {
		name     string
		from, to *Board
	}{{"up", e.Near, e.Far}, {"down", e.Far, e.Near}} {
		if w.from.At(Sent) != w.to.At(Received) || !bytes.Equal(w.from.sum(outHash), w.to.sum(inHash)) {
			why = append(why, fmt.Sprintf("%s: sent %d, received %d, SHA-256 %.6x and %.6x", w.name,
				w.from.At(Sent), w.to.At(Received), w.from.sum(outHash), w.to.sum(inHash)))
		}
	}
	return why
}

func unclean(e *End, terms Terms) (why []string) {
	if e.Status != 255 {
		why = append(why, fmt.Sprintf("exit status %d, want 255", e.Status))
	}
	if e.After > terms.Within {
		why = append(why, fmt.Sprintf("ended after %v, want %v at most", e.After.Round(time.Millisecond), terms.Within))
	}
	ours := Lines(e.Stderr)
	switch {
	case terms.SSHTells && len(ours) == 0 && contains(e.Stderr, sshTells):
	case len(ours) != 1:
		why = append(why, fmt.Sprintf("%d lines of ssh-stay on stderr, want one: %q", len(ours), e.Stderr))
	case !contains(ours[0], terms.Says):
		why = append(why, fmt.Sprintf("%q has none of %q: no cause", ours[0], terms.Says))
	case !contains(ours[0], terms.Names):
		why = append(why, fmt.Sprintf("%q has none of %q: no host", ours[0], terms.Names))
	}
	if hints := strings.Count("\n"+e.Stderr, "\nhint: "); hints > mostHints {
		why = append(why, fmt.Sprintf("%d hints, want %d at most: %q", hints, mostHints, e.Stderr))
	}
	return why
}

// Lines are those that ssh-stay wrote itself, but for hints, and for the notice of
// a wait that is longer than 5 s unless that was its last word.
func Lines(stderr string) (ours []string) {
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "ssh-stay: ") {
			ours = append(ours, strings.TrimSpace(line))
		}
	}
	if len(ours) > 1 && strings.Contains(ours[0], ": still connecting") {
		ours = ours[1:]
	}
	return ours
}

func contains(text string, words []string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return len(words) == 0
}
