package stream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxChannels = 8
	maxPongs    = 16
	// maxStuck is how many pings in a row may find the same gap.
	maxStuck = 3
	// channelWindow is what an SSH channel has under way at most.
	channelWindow = 2 << 20
	// farAway is a round trip below which a channel's window binds nobody.
	farAway = 20 * time.Millisecond
	// pingAgain is how old a round trip gets before it is measured anew, once
	// something goes out.
	pingAgain = 10 * time.Second
	// maxLonger is how many round trips in a row must be longer to be believed.
	maxLonger = 3
	// minData is the least that bulk is cut into. A slow line takes small
	// frames, so that signs of life come through: firstRate is what it is
	// thought to carry before it is known, in bytes a second.
	minData   = 2 << 10
	firstRate = 64 << 10
	// frameTime is how long a frame may take, as measured.
	frameTime = 100 * time.Millisecond
)

// link is what a stream runs over for a time: the channels of one transport.
// A stream has one at most, and the pumps of the one before have stopped when
// the next begins. All fields that are not said to be else are guarded by the
// stream's mutex.
type link struct {
	generation uint64
	channels   []net.Conn
	running    sync.WaitGroup // pumps, and the one who closes the channels
	dead       chan struct{}  // closed with over
	over       bool
	why        error

	ackSoon, ackDue  bool
	eofSent, byeSent bool
	byeWritten       bool
	pongs            []uint64
	pingDue          bool
	ping             uint64 // token of the last one
	pinged           time.Time
	alone            bool            // nothing of ours was under way then
	arrived          uint64          // what had been received then
	departed         uint64          // what had been sent then
	answered         bool            // it was, or there was none
	rtt              time.Duration   // the least of late; 0: not known yet
	longer           []time.Duration // that have been seen since
	last             time.Duration   // the last, of a ping; 0: none yet

	start   time.Time    // carries the monotonic clock
	heard   atomic.Int64 // nanoseconds after start: last byte of the peer's
	wall    atomic.Int64 // the same on the wall clock, which runs on in a sleep
	waiting time.Time    // since when data is under way that the peer has not shown to have; zero: none is
	written time.Time    // last data
	urgent  time.Time    // the network changed: an answer is due

	stuckAt    uint64 // what was received when a gap was first seen
	stuckSince time.Time
	stuck      int // pings that have seen it since

	frame int // bytes of data in a frame at most
	rate  meter
	flow  [2]meter      // bytes sent, bytes received
	more  chan struct{} // another channel would carry more
}

// attach starts the stream's next link on a channel. The caller has stopped the
// one before, and has checked received, which is what the peer has. rtt is the
// round trip if that is known already, before data queues up; else 0.
func (s *Stream) attach(generation uint64, c net.Conn, received, granted uint64, rtt time.Duration) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	l := &link{generation: generation, dead: make(chan struct{}), start: now, rtt: rtt, more: make(chan struct{}, 1),
		ackDue: true, pingDue: true, answered: true, frame: firstRate * int(frameTime) / int(time.Second)}
	l.wall.Store(now.UnixNano())
	if s.err != nil {
		l.over, l.why = true, s.err
		close(l.dead)
		c.Close()
		return l
	}
	s.link, s.generation = l, generation
	s.sent = received
	s.limit = max(s.limit, granted)
	s.in.forget()
	l.running.Go(func() { l.closeChannels(s) }) // ends with the link
	s.addLocked(l, c)
	s.broadcastLocked()
	return l
}

// addLocked gives the link one more channel, both of whose pumps end with the link.
func (s *Stream) addLocked(l *link, c net.Conn) {
	l.channels = append(l.channels, c)
	l.running.Go(func() { s.send(l, c) })
	l.running.Go(func() { s.receive(l, c) })
}

// join gives the link one more channel, unless it has ended or has enough.
func (s *Stream) join(generation uint64, c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.link
	if l == nil || l.generation != generation || len(l.channels) >= maxChannels {
		return false
	}
	s.addLocked(l, c)
	return true
}

// closeChannels unblocks the pumps of a link that has ended.
func (l *link) closeChannels(s *Stream) {
	<-l.dead
	s.mu.Lock()
	channels := l.channels
	s.mu.Unlock()
	for _, c := range channels {
		c.Close()
	}
}

// lose ends a link. The stream goes on.
func (s *Stream) lose(l *link, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loseLocked(l, why)
}

func (s *Stream) loseLocked(l *link, why error) {
	if l.over {
		return
	}
	l.over, l.why = true, why
	close(l.dead)
	if s.link == l {
		s.link, s.detached = nil, time.Now()
	}
	s.broadcastLocked()
	s.partLocked()
}

// send is the pump of one channel to the peer.
func (s *Stream) send(l *link, c net.Conn) {
	for {
		b, bye, ok := s.next(l)
		if !ok {
			return
		}
		_, err := c.Write(b)
		freeChunk(b)
		if err != nil {
			s.lose(l, err)
			return
		}
		if bye {
			s.saidBye(l)
		}
	}
}

// next waits for something to send and returns it: what is due besides data,
// and one frame of data or of the end. It reports whether a BYE is among it, and
// false when the link has ended.
func (s *Stream) next(l *link) (b []byte, bye, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if l.over {
			return nil, false, false
		}
		data := s.unsentLocked()
		last := s.ended && s.sent+uint64(data) == s.end || s.bye != nil
		eof := last && !s.closed && !l.eofSent && s.bye == nil
		bye := last && s.closed && !l.byeSent
		if data > 0 || eof || bye || l.ackDue && s.asking == 0 || l.pingDue || len(l.pongs) > 0 {
			break
		}
		s.sendable.Wait()
	}
	now := time.Now()
	data := min(s.unsentLocked(), l.frame)
	if l.answered && now.Sub(l.pinged) >= pingAgain && (data > 0 || l.ackDue) {
		l.pingDue = true
	}
	b = s.appendControlLocked(newChunk(data+512), l, now)
	said := l.byeSent
	if data > 0 {
		data = min(data, maxFrame-len(b)-headerSize-offsetSize)
		b = s.appendDataLocked(b, l, data, now)
	}
	if s.ended && s.sent == s.end || s.bye != nil {
		b = s.appendEndLocked(b, l)
	}
	if s.unsentLocked() > 0 {
		s.sendable.Signal() // another channel's
	}
	return b, l.byeSent && !said, true
}

// saidBye notes that our BYE is on its way.
func (s *Stream) saidBye(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.byeWritten = true
	s.partLocked()
}

// unsentLocked is how much data may be sent now.
func (s *Stream) unsentLocked() int {
	if s.bye != nil || s.sent >= min(s.limit, s.end) {
		return 0
	}
	return int(min(s.limit, s.end) - s.sent)
}

func (s *Stream) appendControlLocked(b []byte, l *link, now time.Time) []byte {
	if s.asking == 0 && (l.ackDue || s.taken > s.told) {
		l.ackDue, l.ackSoon = false, false
		b = appendPair(b, kindAck, s.taken, s.grantLocked())
		s.told = s.taken
	}
	for _, token := range l.pongs {
		b = appendPair(b, kindPong, token, s.sent)
	}
	l.pongs = l.pongs[:0]
	if l.pingDue {
		l.pingDue, l.answered, l.pinged = false, false, now
		l.alone, l.arrived, l.departed = s.acked == s.sent, s.in.ready, s.sent
		l.ping++
		b = appendPair(b, kindPing, l.ping, s.sent)
	}
	return b
}

func (s *Stream) appendDataLocked(b []byte, l *link, n int, now time.Time) []byte {
	b = appendNumber(b, kindData, s.sent)
	length := offsetSize + n
	h := b[len(b)-headerSize-offsetSize:]
	h[1], h[2], h[3] = byte(length>>16), byte(length>>8), byte(length)
	b = s.out.appendFrom(b, int(s.sent-s.acked), n)
	s.sent += uint64(n)
	s.furthest = max(s.furthest, s.sent)
	l.written = now
	if l.waiting.IsZero() {
		l.waiting = now
		s.lookLocked(now.Add(dataPatience / 3))
	}
	s.flowLocked(l, 0, n, now)
	return b
}

// lookLocked has the keeper look at the link at t, if it would later.
func (s *Stream) lookLocked(t time.Time) {
	if s.look.After(t) {
		s.look = t
		select {
		case s.sooner <- struct{}{}:
		default:
		}
	}
}

func (s *Stream) appendEndLocked(b []byte, l *link) []byte {
	switch {
	case s.closed && !l.byeSent:
		l.byeSent, s.endTold = true, true
		why := byeInfo{}
		if s.abort != nil {
			why = *s.abort
		}
		return appendBye(b, s.end, why.code, why.reason)
	case !s.closed && !l.eofSent && s.bye == nil:
		l.eofSent, s.endTold = true, true
		return appendNumber(b, kindEOF, s.end)
	}
	return b
}

func (l *link) lastHeard() time.Time { return l.start.Add(time.Duration(l.heard.Load())) }

// absent is how long the peer has not been heard, sleep included.
func (l *link) absent() time.Duration { return time.Duration(time.Now().UnixNano() - l.wall.Load()) }

// listener notes life on a channel.
type listener struct {
	net.Conn
	l *link
}

func (r listener) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	if n > 0 {
		now := time.Now()
		r.l.heard.Store(int64(now.Sub(r.l.start)))
		r.l.wall.Store(now.UnixNano())
	}
	return n, err
}

// receive is the pump of one channel from the peer.
func (s *Stream) receive(l *link, c net.Conn) {
	in := bufio.NewReaderSize(listener{c, l}, minChunk)
	for {
		f, err := readFrame(in)
		if err == nil {
			err = s.handle(l, f)
		}
		if _, broken := err.(*ProtocolError); broken {
			s.finish(err)
			return
		}
		if err != nil {
			s.lose(l, noEOF(err))
			return
		}
	}
}

// handle applies a frame. Its errors end the stream, but for io.EOF, which says
// that the link has ended.
func (s *Stream) handle(l *link, f frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = true
	if l.over {
		return io.EOF
	}
	switch f.kind {
	case kindData:
		return s.arrivedLocked(l, f)
	case kindAck:
		return s.ackedLocked(l, f)
	case kindPing:
		s.gapLocked(l, f.offset)
		if len(l.pongs) < maxPongs {
			l.pongs = append(l.pongs, f.token)
			s.sendable.Signal()
		}
	case kindPong:
		s.gapLocked(l, f.offset)
		if f.token == l.ping && !l.answered {
			l.answered, l.urgent = true, time.Time{}
			l.hasLocked(l.written.Before(l.pinged))
			l.last = time.Since(l.pinged)
			s.measuredLocked(l, l.last)
		}
	case kindEOF:
		return s.endsLocked(f.offset)
	case kindBye:
		return s.byeLocked(f)
	}
	return nil
}

// gapLocked ends a link that lives but has swallowed data: the peer has sent up
// to an offset that we still wait for, and nothing has come in the time of
// several pings. One of several channels may end like that.
func (s *Stream) gapLocked(l *link, sent uint64) {
	if s.closed || s.in.ready >= sent || s.in.ready != l.stuckAt {
		l.stuckAt, l.stuck, l.stuckSince = s.in.ready, 0, time.Now()
		return
	}
	if l.stuck++; l.stuck >= maxStuck && time.Since(l.stuckSince) >= dataPatience/2 {
		s.loseLocked(l, errSwallowed)
	}
}

var errSwallowed = errors.New("a channel swallows data")

// hasLocked notes that the peer has got what was sent, or some of it. What it says
// of itself shows nothing of the way there.
func (l *link) hasLocked(all bool) {
	switch {
	case all:
		l.waiting = time.Time{}
	case !l.waiting.IsZero():
		l.waiting = time.Now()
	}
}

// measuredLocked takes a ping's round trip. A shorter one is believed at once. A
// longer one may be the time behind bulk, or of a busy machine: it counts if there
// was no bulk, and if those that follow are no shorter.
func (s *Stream) measuredLocked(l *link, rtt time.Duration) {
	rtt = max(rtt, 1)
	if l.rtt != 0 && rtt > l.rtt {
		if !l.alone || s.in.ready-l.arrived > minChunk || s.sent-l.departed > minChunk {
			return
		}
		if l.longer = append(l.longer, rtt); len(l.longer) < maxLonger {
			return
		}
		rtt = slices.Min(l.longer)
	}
	l.rtt, l.longer = rtt, l.longer[:0]
	s.writable.Broadcast() // the window follows it
}

func (s *Stream) arrivedLocked(l *link, f frame) error {
	end := f.offset + uint64(len(f.data))
	switch {
	case end < f.offset || end > s.granted:
		return violation("data up to %d, and %d were granted", end, s.granted)
	case s.atFinal && end > s.final:
		return violation("data up to %d after an end at %d", end, s.final)
	}
	s.flowLocked(l, 1, len(f.data), time.Now())
	if s.closed {
		freeChunk(f.data)
		return nil
	}
	had := s.in.size
	if !s.in.add(f.offset, f.data) {
		return violation("too many pieces of data")
	}
	if s.in.size > had {
		s.memory.add(s.in.size - had)
		s.readable.Signal()
	}
	return nil
}

// ackedLocked drops what the peer has taken. Acknowledgements may overtake each
// other on their channels; a smaller one says nothing new. One may be of more than
// this link has sent: of what came over the one before after the peer had said, in
// its request, how much it has.
func (s *Stream) ackedLocked(l *link, f frame) error {
	if f.offset > s.furthest {
		return violation("acknowledged %d of %d", f.offset, s.furthest)
	}
	s.sent = max(s.sent, f.offset)
	now := time.Now()
	if n := int(f.offset - min(f.offset, s.acked)); n > 0 && s.bye == nil {
		s.out.discard(n)
		s.memory.add(-n)
		s.acked = f.offset
		if s.closed {
			s.parting = now
		}
		l.hasLocked(s.acked == s.sent)
		s.writable.Signal()
		if rate, ok := l.rate.add(n, max(l.frame, 16<<10), now); ok {
			l.frame = min(max(int(rate*frameTime.Seconds()), minData), maxData)
		}
	}
	if f.granted > s.limit {
		s.limit = f.granted
		s.sendable.Signal()
	}
	return nil
}

// endsLocked notes where the peer's bytes end.
func (s *Stream) endsLocked(final uint64) error {
	if s.closed {
		return nil
	}
	last := s.in.ready
	for _, p := range s.in.beyond {
		last = max(last, p.end())
	}
	if final < last || final > s.granted || s.atFinal && final != s.final {
		return violation("end at %d, with %d received and %d granted", final, last, s.granted)
	}
	s.atFinal, s.final = true, final
	s.readable.Broadcast()
	s.ackLocked()
	return nil
}

// byeLocked notes that the peer has closed: it takes nothing more.
func (s *Stream) byeLocked(f frame) error {
	if err := s.endsLocked(f.offset); err != nil {
		return err
	}
	if s.bye == nil {
		s.bye = &byeInfo{f.code, f.reason}
		if s.err == nil {
			close(s.gone)
		}
		s.memory.add(-s.out.size)
		s.out.clear()
	}
	s.broadcastLocked()
	s.partLocked()
	return nil
}
