// Package stream is a connection that outlives the connections it runs over:
// numbered bytes both ways, which each end keeps until the other has taken
// them. SPEC.md is its protocol. It knows no ssh.
package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// A window is what may be under way in one direction: kept by the sender
	// until it is taken, and by the receiver until its sink takes it. Divided by
	// the round trip it is the ceiling of the speed, so it follows that. More than
	// that gains nothing, and costs ssh and sshd dearly: where a machine is busy
	// they take in what is there, and copy their buffers each time these grow.
	minWindow  = 512 << 10
	maxWindow  = 16 << 20
	windowRate = 200 << 20 // bytes a second

	// tightWindow is what a stream gets while others have used up the memory.
	tightWindow = 64 << 10

	// ackDelay is how long an acknowledgement waits for data to go with.
	ackDelay = 40 * time.Millisecond
	// ackSize is what is taken meanwhile at most.
	ackSize = 512 << 10
)

// Stream is one end. It is a net.Conn whose methods may be called from any
// goroutine. It has come to its end when Done is closed.
type Stream struct {
	id     id
	secret secret
	memory *memory // shared with others; nil for none

	writing, reading sync.Mutex // held by the one Write, and Read, at a time

	mu       sync.Mutex // guards what follows
	sendable sync.Cond  // something may have come up for a sender
	readable sync.Cond
	writable sync.Cond

	// What we send: acked <= sent <= furthest <= end. out holds acked to end,
	// or nothing once the peer has closed.
	out      queue
	end      uint64 // written
	acked    uint64 // taken by the peer
	sent     uint64 // on this link
	furthest uint64 // on any link
	limit    uint64 // granted by the peer
	ended    bool   // nothing more is written: CloseWrite or Close
	endTold  bool   // an EOF or a BYE has said where, on any link

	// What we receive: taken <= in.ready <= granted.
	in      arrivals
	taken   uint64 // by the sink
	told    uint64 // what the peer knows of taken
	granted uint64
	final   uint64 // where the peer's bytes end, if known
	atFinal bool

	dialed  bool          // a client's: its transport goes with it
	closed  bool          // Close was called
	closing chan struct{} // closed then
	parting time.Time     // when, or when the peer has last taken something since
	linger  time.Duration // how long after that we give up
	bye     *byeInfo      // the peer has closed
	abort   *byeInfo      // why we closed, if for a reason
	err     error         // the stream has ended
	done    chan struct{}
	gone    chan struct{} // closed when the peer has closed, or with done
	ackWait *time.Timer

	link       *link
	generation uint64
	heard      bool      // the peer has sent a frame, so it knows that there is a stream
	asking     int       // attaches under way: no acknowledgement may overtake what they say
	detached   time.Time // since when there is no link

	look   time.Time     // when a client's keeper looks next
	sooner chan struct{} // tells it to look now

	readBy, writeBy deadline
	spare           []byte // for ReadFrom
}

// byeInfo is what a BYE says beside its offset.
type byeInfo struct {
	code   Code
	reason string
}

// EndedError says that the other end, or the protocol, ended the stream.
type EndedError struct {
	Code   Code
	Reason string // the peer's words, not yet fit for a terminal; may be empty
}

func (e *EndedError) Error() string {
	if e.Reason != "" {
		return e.Reason
	}
	return e.Code.String()
}

func newStream(i id, k secret, m *memory) *Stream {
	s := &Stream{id: i, secret: k, memory: m, done: make(chan struct{}), gone: make(chan struct{}), closing: make(chan struct{}),
		sooner: make(chan struct{}, 1), detached: time.Now()}
	for _, c := range []*sync.Cond{&s.sendable, &s.readable, &s.writable} {
		c.L = &s.mu
	}
	s.granted = minWindow
	s.readBy.cond, s.writeBy.cond = &s.readable, &s.writable
	s.ackWait = time.AfterFunc(time.Hour, s.ackNow)
	s.ackWait.Stop()
	return s
}

// window is how much may be under way in one direction.
func (s *Stream) windowLocked() int {
	if s.memory.isTight() {
		return tightWindow
	}
	if s.link == nil {
		return minWindow
	}
	return min(max(int(s.link.rtt.Seconds()*windowRate), minWindow), maxWindow)
}

// Read reads what has arrived in order. It returns io.EOF after the peer's
// CloseWrite or Close, *EndedError when the peer ended it for a reason, and
// net.ErrClosed after Close.
func (s *Stream) Read(p []byte) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.waitReadLocked(); err != nil {
		return 0, err
	}
	n := copy(p, s.in.first())
	s.takeLocked(n)
	return n, nil
}

// WriteTo writes to w all that arrives, until the end. What w has taken is
// acknowledged to the peer, and nothing else.
func (s *Stream) WriteTo(w io.Writer) (total int64, err error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	for {
		s.mu.Lock()
		err := s.waitReadLocked()
		p := s.in.first()
		s.mu.Unlock()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(p)
		total += int64(n)
		s.mu.Lock()
		if !s.closed {
			s.takeLocked(n)
		}
		s.mu.Unlock()
		if err != nil {
			return total, err
		}
	}
}

// waitReadLocked returns when there are bytes, or why there will be none.
func (s *Stream) waitReadLocked() error {
	for {
		switch {
		case s.closed:
			return net.ErrClosed
		case s.readBy.passed:
			return os.ErrDeadlineExceeded
		case s.in.size > 0:
			return nil
		case s.atFinal && s.taken == s.final:
			if s.bye != nil && s.bye.code != CodeClosed {
				return &EndedError{s.bye.code, s.bye.reason}
			}
			return io.EOF
		case s.err != nil:
			return s.err
		}
		s.readable.Wait()
	}
}

// takeLocked notes that the sink has n bytes more.
func (s *Stream) takeLocked(n int) {
	s.in.discard(n)
	s.memory.add(-n)
	s.taken += uint64(n)
	s.ackLocked()
}

// ackLocked acknowledges at once what is much, and soon what is little.
func (s *Stream) ackLocked() {
	waiting := s.taken - s.told
	if s.link == nil || waiting == 0 {
		return
	}
	if waiting >= uint64(min(ackSize, s.windowLocked()/8)) || s.atFinal && s.taken == s.final {
		s.link.ackDue = true
		s.sendable.Signal()
	} else if !s.link.ackSoon {
		s.link.ackSoon = true
		s.ackWait.Reset(ackDelay)
	}
}

func (s *Stream) ackNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil && s.link.ackSoon {
		s.link.ackSoon, s.link.ackDue = false, true
		s.sendable.Signal()
	}
}

// grantLocked is the credit that the next acknowledgement gives.
func (s *Stream) grantLocked() uint64 {
	s.granted = max(s.granted, s.taken+uint64(s.windowLocked()))
	return s.granted
}

// Write takes p to be sent, and waits while the window is full.
func (s *Stream) Write(p []byte) (total int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		room, err := s.waitWriteLocked()
		if err != nil {
			return total, err
		}
		n := min(room, len(p))
		s.out.add(p[:n])
		s.wroteLocked(n)
		total += n
		if p = p[n:]; len(p) == 0 {
			return total, nil
		}
	}
}

func (s *Stream) wroteLocked(n int) {
	s.end += uint64(n)
	s.memory.add(n)
	if n > 0 {
		s.sendable.Signal()
	}
}

// waitWriteLocked returns how much may be written, or why nothing may be.
func (s *Stream) waitWriteLocked() (room int, err error) {
	for {
		switch {
		case s.closed || s.ended:
			return 0, net.ErrClosed
		case s.writeBy.passed:
			return 0, os.ErrDeadlineExceeded
		case s.err != nil:
			return 0, s.err
		case s.bye != nil:
			return 0, syscall.EPIPE
		}
		if room := s.windowLocked() - s.out.size; room > 0 {
			return room, nil
		}
		s.writable.Wait()
	}
}

// ReadFrom writes what r has, until its end. It waits with little memory while
// r has nothing.
func (s *Stream) ReadFrom(r io.Reader) (total int64, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	defer func() { s.spare = nil }()
	for size := minChunk; ; {
		if cap(s.spare) < size {
			s.spare = newChunk(size)
		}
		buf := s.spare[:min(cap(s.spare), size)]
		s.mu.Lock()
		room, err := s.waitWriteLocked()
		s.mu.Unlock()
		if err != nil {
			return total, err
		}
		n, err := r.Read(buf[:min(len(buf), room)])
		s.commit(buf[:n])
		total += int64(n)
		if n == len(buf) {
			size = maxChunk
		} else if n < minChunk {
			size = minChunk
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// commit queues what ReadFrom has read into the spare chunk.
func (s *Stream) commit(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.err != nil || s.bye != nil {
		return // nobody is told of it
	}
	if len(p) > maxChunk/2 {
		s.out.push(s.spare[:len(p)])
		s.spare = nil
	} else {
		s.out.add(p)
	}
	s.wroteLocked(len(p))
}

// CloseWrite ends what we write: the peer reads io.EOF after it, also when it
// is delivered on a later link.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.err != nil {
		return net.ErrClosed
	}
	s.ended = true
	s.sendable.Broadcast()
	s.writable.Broadcast()
	return nil
}

// Close ends both directions. What was written before is still delivered, in
// the background; Shutdown waits for that. What has arrived and was not read is
// dropped.
func (s *Stream) Close() error { return s.close(nil) }

// CloseFor closes as Close does, and tells the peer why.
func (s *Stream) CloseFor(code Code, reason string) error { return s.close(&byeInfo{code, reason}) }

func (s *Stream) close(why *byeInfo) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(why)
	return nil
}

func (s *Stream) closeLocked(why *byeInfo) {
	if s.closed {
		return
	}
	s.closed, s.ended, s.abort = true, true, why
	s.parting, s.linger = time.Now(), lingerTime
	close(s.closing)
	s.memory.add(-s.in.size)
	s.in.clear()
	s.in.forget()
	s.broadcastLocked()
	s.partLocked()
}

// Shutdown closes, and returns when the peer knows and has all that was
// written, or when ctx ends; nothing of the stream is left then.
func (s *Stream) Shutdown(ctx context.Context) error {
	s.Close()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		s.finish(net.ErrClosed)
		return ctx.Err()
	}
}

// Done is closed when the stream has ended for good.
func (s *Stream) Done() <-chan struct{} { return s.done }

func (s *Stream) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Err is why the stream ended, nil while it has not and after an orderly end.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.err, net.ErrClosed) {
		return nil
	}
	return s.err
}

// partLocked ends the stream once both ends have closed it and ours has said so.
// A client waits for the relay to end the link, which it does then: with the
// transport goes what is under way, and sshd does not pass on what it has not
// yet when a connection ends (OpenSSH 9.2). A relay that hears no BYE keeps the
// stream.
func (s *Stream) partLocked() {
	if s.closed && s.bye != nil && (s.link == nil || s.link.byeWritten && !s.dialed) {
		s.finishLocked(net.ErrClosed)
	}
}

// finish ends the stream at once.
func (s *Stream) finish(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishLocked(why)
}

func (s *Stream) finishLocked(why error) {
	if s.err != nil {
		return
	}
	s.err = why
	s.memory.add(-s.out.size)
	s.out.clear()
	s.ackWait.Stop()
	if s.link != nil {
		s.loseLocked(s.link, why)
	}
	s.broadcastLocked()
	close(s.done)
	if s.bye == nil {
		close(s.gone)
	}
}

func (s *Stream) broadcastLocked() {
	s.sendable.Broadcast()
	s.readable.Broadcast()
	s.writable.Broadcast()
}

// PeerClosed says whether the peer has closed both directions.
func (s *Stream) PeerClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bye != nil
}
