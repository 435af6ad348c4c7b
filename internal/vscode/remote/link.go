package remote

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// link is one connection under a protocol. Its fields are guarded by the protocol's mu.
//
//	living --error, silence, Disconnect, replaced, closed--> dead
type link struct {
	p *protocol
	c net.Conn

	out    []byte
	wake   *sync.Cond // on p.mu: out grew, or a flag below changed
	paused bool       // the peer asked us to hold our bytes
	last   bool       // end when out is written
	dead   bool
	cause  error         // why dead
	lost   chan struct{} // closed when dead

	lastRead                     time.Time
	ackDue                       bool
	asked                        time.Time // when we last requested a replay
	silence, keepAlive, ackTimer *time.Timer

	pulse     *time.Timer // see beat
	lastBeat  time.Time
	busyUntil time.Time
}

// attach gives p a connection whose handshake is done, and what was read of it. The one before,
// if any, ends. The frames in first go out before all others. It takes c over.
func (p *protocol) attach(c net.Conn, r *bufio.Reader, first ...frame) (*link, error) {
	l := &link{p: p, c: c, lost: make(chan struct{}), wake: sync.NewCond(&p.mu), lastRead: time.Now(), lastBeat: time.Now()}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		c.Close()
		return nil, net.ErrClosed
	}
	old := p.link
	replaced := old != nil && old.dieLocked(errReplaced)
	p.link = l
	l.startTimersLocked()
	for _, f := range first {
		l.queueLocked(f)
	}
	if old != nil {
		// Maybe the last ack was lost with the connection that carried it.
		p.told = p.received
		l.queueLocked(frame{kind: kindAck, ack: p.received})
		l.replayLocked()
	}
	p.links.Add(2) // both end with l: a dead link's connection is closed
	go l.read(r)
	go l.write()
	p.mu.Unlock()
	if replaced {
		old.c.Close()
	}
	return l, nil
}

func (l *link) startTimersLocked() {
	l.ackTimer = time.AfterFunc(time.Hour, l.sendAck)
	l.ackTimer.Stop()
	l.silence = time.AfterFunc(time.Hour, l.checkSilence)
	l.armSilenceLocked()
	l.pulse = time.AfterFunc(l.p.beat(), l.beat)
	l.keepAlive = time.AfterFunc(l.p.keepAlive, l.sendKeepAlive)
	if l.p.clocks.paused {
		l.keepAlive.Stop()
	}
}

func (l *link) queueLocked(f frame) {
	l.out = f.append(l.out)
	l.wake.Signal()
}

func (l *link) replayLocked() {
	now := time.Now()
	for i := range l.p.unacked {
		l.p.unacked[i].written = now
		l.queueLocked(l.p.unacked[i].frame)
	}
	l.armSilenceLocked()
}

// dieLocked reports whether l was alive; then the caller closes the connection, without the lock.
func (l *link) dieLocked(cause error) bool {
	if l.dead {
		return false
	}
	l.dead, l.cause = true, cause
	for _, t := range []*time.Timer{l.silence, l.keepAlive, l.ackTimer, l.pulse} {
		t.Stop()
	}
	l.wake.Broadcast()
	close(l.lost)
	return true
}

func (l *link) fail(cause error) {
	l.p.mu.Lock()
	died := l.dieLocked(cause)
	l.p.mu.Unlock()
	if died {
		l.c.Close()
	}
}

func (l *link) read(r *bufio.Reader) {
	defer l.p.links.Done()
	stamped := stampReader{l, r}
	for {
		f, err := readFrame(stamped)
		if err == nil {
			err = l.p.receive(l, f)
		}
		if err != nil {
			l.fail(err)
			return
		}
	}
}

// stampReader notes when bytes came: VS Code counts any byte as life, not whole frames only.
type stampReader struct {
	l *link
	r *bufio.Reader
}

func (s stampReader) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if n > 0 {
		s.l.p.mu.Lock()
		s.l.lastRead = time.Now()
		s.l.armSilenceLocked()
		s.l.p.mu.Unlock()
	}
	return n, err
}

func (l *link) write() {
	defer l.p.links.Done()
	for {
		l.p.mu.Lock()
		for !l.dead && !l.last && (len(l.out) == 0 || l.paused) {
			l.wake.Wait()
		}
		b, last, dead := l.out, l.last, l.dead
		l.out = nil
		l.p.mu.Unlock()
		if dead {
			return
		}
		if _, err := l.c.Write(b); err != nil {
			l.fail(err)
			return
		}
		if last {
			l.fail(net.ErrClosed)
			return
		}
	}
}

func (l *link) sendAck() {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.ackDue = false
	if l.dead || l.p.told == l.p.received {
		return
	}
	l.p.told = l.p.received
	l.queueLocked(frame{kind: kindAck, ack: l.p.received})
}

func (l *link) sendKeepAlive() {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.dead {
		return
	}
	l.p.told = l.p.received
	l.queueLocked(frame{kind: kindKeepAlive, ack: l.p.received})
	l.keepAlive.Reset(l.p.keepAlive)
}

// silentUntilLocked is when l counts as dead if no byte comes; false: never. Since 1.120 that is
// a Timeout after the last byte, and before, as in a window without keepalives, only if a message
// of ours is that long without its ack as well.
func (l *link) silentUntilLocked() (time.Time, bool) {
	from := l.lastRead
	if l.p.clocks.paused {
		if len(l.p.unacked) == 0 {
			return time.Time{}, false
		}
		if w := l.p.unacked[0].written; w.After(from) {
			from = w
		}
	}
	until := from.Add(l.p.timeout)
	if until.Before(l.busyUntil) {
		until = l.busyUntil
	}
	return until, !l.p.forgiving
}

func (l *link) armSilenceLocked() {
	until, ok := l.silentUntilLocked()
	if ok && !l.dead {
		l.silence.Reset(time.Until(until))
	} else {
		l.silence.Stop()
	}
}

func (l *link) checkSilence() {
	l.p.mu.Lock()
	l.noteBeatLocked()
	until, ok := l.silentUntilLocked()
	if !ok || l.dead || time.Now().Before(until) {
		l.armSilenceLocked()
		l.p.mu.Unlock()
		return
	}
	died := l.dieLocked(ErrSilent)
	l.p.mu.Unlock()
	if died {
		l.c.Close()
	}
}

// beat runs once a twentieth of Timeout: each second. VS Code's LoadEstimator keeps the times of
// the last ten such beats, and while half of the last 11 s lacks them (the process was stopped, or
// the machine slept) no socket counts as silent: it gets some six seconds for its bytes.
func (p *protocol) beat() time.Duration { return p.timeout / 20 }

func (l *link) beat() {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.noteBeatLocked()
	if !l.dead {
		l.pulse.Reset(l.p.beat())
	}
}

func (l *link) noteBeatLocked() {
	now := time.Now()
	if now.Sub(l.lastBeat) > 6*l.p.beat() {
		l.busyUntil = now.Add(5 * l.p.beat())
	}
	l.lastBeat = now
}
