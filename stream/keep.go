package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

const (
	firstWait = 50 * time.Millisecond
	maxWait   = 10 * time.Second
	// gentleWait is the least after the third failure that the far host has
	// seen: sshd's PerSourcePenalties forgive that (OpenSSH 9.8 and later).
	gentleWait = time.Second
	// dataPatience is how long data may go unanswered, eventPatience how long a
	// ping after a wake or a change of the network.
	dataPatience  = 10 * time.Second
	eventPatience = 3 * time.Second
	// reuseTime is how long the old transport may take to open a channel.
	reuseTime = 2 * time.Second
	// lingerTime is how long a closed stream goes on delivering.
	lingerTime = 10 * time.Second
	// forever is a wait that something else ends.
	forever = 24 * time.Hour
)

// keeper keeps a client's stream attached. Its fields belong to run.
//
// The link it has is probed; when an answer is overdue by a third of the
// patience, a new link is made beside it, and whichever shows life first is
// kept. One attempt is under way at a time.
type keeper struct {
	cfg       *Config
	s         *Stream
	link      *link     // the last one, dead or alive
	transport Transport // that it runs over
	told      bool      // cfg.Changed knows of its death

	generation uint64
	attempt    *attempt // under way; nil for none
	failures   int      // since the last link or event
	seen       int      // of them by the far host
	next       time.Time
	hold       bool
	lastErr    error
	fatal      error       // what an attempt beside a link came to
	joining    chan joined // one more channel is being opened; nil if none
	lone       bool        // the far host allows no more channels
}

// attempt is a link in the making.
type attempt struct {
	started time.Time
	beside  bool // a link that may live
	cancel  context.CancelFunc
	result  chan attached
}

type attached struct {
	transport Transport
	conn      net.Conn
	answer    answer
	err       error
}

type joined struct {
	transport Transport
	conn      net.Conn
	err       error
}

// run is the one place that makes and ends links.
func (p *keeper) run() {
	defer p.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	closing := p.s.closing
	for !p.s.over() {
		timer.Reset(p.act(time.Now()))
		var dead chan struct{}
		if !p.told {
			dead = p.link.dead
		}
		var result chan attached
		if p.attempt != nil {
			result = p.attempt.result
		}
		select {
		case <-p.s.done:
			return
		case <-closing:
			closing = nil
		case <-p.s.sooner:
		case <-dead:
			p.lost()
		case <-p.cfg.Events:
			p.event()
		case r := <-result:
			p.finished(r)
		case <-p.link.more:
			p.widen()
		case j := <-p.joining:
			p.joined(j)
		case <-timer.C:
		}
	}
}

// end leaves nothing behind.
func (p *keeper) end() {
	if p.attempt != nil {
		p.abandon()
	}
	p.transport.Close()
	p.link.running.Wait()
	if p.joining != nil {
		<-p.joining // its channel ends with the transport
	}
}

// abandon ends the attempt that is under way.
func (p *keeper) abandon() {
	p.attempt.cancel()
	r := <-p.attempt.result
	p.attempt = nil
	if r.err != nil {
		return
	}
	if r.transport != p.transport {
		r.transport.Close()
	}
	r.conn.Close()
}

// act does what is due and returns how long until something may be.
func (p *keeper) act(now time.Time) time.Duration {
	p.s.mu.Lock()
	current, closed, detached, parting := p.s.link, p.s.closed, p.s.detached, p.s.parting
	p.s.mu.Unlock()
	wait := forever
	if closed {
		if wait = parting.Add(lingerTime).Sub(now); wait <= 0 {
			p.s.finish(net.ErrClosed)
			return forever
		}
	}
	if current == nil {
		wait = min(wait, p.seek(now, detached))
	} else {
		wait = min(wait, p.probe(now, current))
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if current != nil && current.waiting.After(current.lastHeard()) { // since we looked, perhaps
		if left := current.waiting.Add(dataPatience / 3).Sub(now); left > 0 {
			wait = min(wait, left)
		}
	}
	p.s.look = now.Add(wait)
	return wait
}

// seek is for a stream without a link.
func (p *keeper) seek(now, detached time.Time) time.Duration {
	left := detached.Add(p.cfg.Keep).Sub(now)
	switch {
	case left <= 0:
		p.s.finish(&ExpiredError{p.cfg.Keep, p.lastErr})
		return forever
	case p.attempt != nil || p.hold:
		return left
	case now.Before(p.next):
		return min(left, p.next.Sub(now))
	}
	p.start(now, false)
	return left
}

// probe is for a stream that has a link.
func (p *keeper) probe(now time.Time, l *link) time.Duration {
	p.s.mu.Lock()
	since, patience := p.s.overdueLocked(l, p.cfg.Interval)
	pinged, rtt := l.pinged, l.rtt
	p.s.mu.Unlock()
	if patience == 0 {
		return forever
	}
	patience = max(patience, 6*rtt)
	third := patience / 3
	silence := now.Sub(since)
	if silence < third {
		p.relieve()
		return third - silence
	}
	if pinged.Before(since) {
		p.pingNow(l)
	}
	switch {
	case silence >= patience:
		p.s.lose(l, fmt.Errorf("no answer for %v", silence.Round(time.Second)))
		return 0
	case silence < 2*third && !p.s.isUrgent(l):
		p.relieve()
		return 2*third - silence
	case p.attempt == nil && !p.hold && !now.Before(p.next):
		p.start(now, true)
	case p.attempt == nil && !p.hold:
		return min(patience-silence, p.next.Sub(now))
	}
	return patience - silence
}

// overdueLocked returns since when an answer is awaited, and how long it may
// take until the link counts as dead; 0 is for ever.
func (s *Stream) overdueLocked(l *link, interval time.Duration) (since time.Time, patience time.Duration) {
	heard := l.lastHeard()
	if l.urgent.After(heard) {
		return l.urgent, eventPatience
	}
	if l.waiting.After(heard) {
		return l.waiting, dataPatience
	}
	return heard, 3 * interval
}

func (s *Stream) isUrgent(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.urgent.After(l.lastHeard())
}

// relieve ends an attempt beside a link that has shown life.
func (p *keeper) relieve() {
	if p.attempt != nil && p.attempt.beside {
		p.abandon()
	}
	p.failures, p.seen, p.fatal = 0, 0, nil
}

func (p *keeper) pingNow(l *link) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	l.pingDue = true
	p.s.sendable.Signal()
}

// lost notes that the link has ended.
func (p *keeper) lost() {
	p.told = true
	p.s.mu.Lock()
	why, over := p.link.why, p.s.err != nil || p.s.closed
	p.s.mu.Unlock()
	p.cfg.Log.Info("link lost", "generation", p.link.generation, "why", why)
	if p.cfg.Changed != nil && !over {
		p.cfg.Changed(why)
	}
	if p.fatal != nil {
		p.lose(p.fatal)
	}
}

// lose ends the stream.
func (p *keeper) lose(why error) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.s.closed {
		why = net.ErrClosed // nobody waits for what was lost
	}
	p.s.finishLocked(why)
}

// event starts over at once: the machine woke, or its network changed.
func (p *keeper) event() {
	p.cfg.Log.Debug("the network may have changed")
	p.failures, p.seen, p.hold, p.next, p.fatal = 0, 0, false, time.Time{}, nil
	now := time.Now()
	p.s.mu.Lock()
	l := p.s.link
	if l != nil && !l.urgent.After(l.lastHeard()) {
		l.urgent = now
	}
	p.s.mu.Unlock()
	if l != nil {
		p.pingNow(l)
	}
	if p.attempt != nil && now.Sub(p.attempt.started) > firstWait {
		p.abandon() // it may hang on the old network
	}
}

// start begins an attempt. A transport that has lost a channel, and not all,
// can be tried for another.
func (p *keeper) start(now time.Time, beside bool) {
	ctx, cancel := context.WithCancel(context.Background())
	a := &attempt{started: now, beside: beside, cancel: cancel, result: make(chan attached, 1)}
	p.attempt = a
	p.generation++
	var reuse Transport
	if !beside && p.failures == 0 && errors.Is(p.link.why, io.ErrUnexpectedEOF) {
		reuse = p.transport
	} else if !beside {
		p.transport.Close()
	}
	p.cfg.Log.Debug("attaching", "generation", p.generation, "beside", beside, "failures", p.failures)
	q := request{want: wantAttach, generation: p.generation}
	go func() { a.result <- p.attach(ctx, reuse, q) }() // ends with ctx, at the latest
}

// attach makes a link. It uses nothing of the keeper that changes meanwhile.
func (p *keeper) attach(ctx context.Context, reuse Transport, q request) (r attached) {
	if reuse != nil {
		r.conn, r.answer, r.err = p.shake(ctx, reuse, q, reuseTime)
		if r.err == nil || isRefusal(r.err) || p.judge(r.err) == Fatal {
			r.transport = reuse
			return r
		}
		reuse.Close()
	}
	if r.transport, r.err = p.cfg.Dial(ctx); r.err != nil {
		return r
	}
	r.conn, r.answer, r.err = p.shake(ctx, r.transport, q, handshakeTime)
	if r.err != nil {
		r.transport.Close()
	}
	return r
}

func isRefusal(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused)
}

// judge says what an error of an attempt means.
func (p *keeper) judge(err error) Verdict {
	var refused *RefusedError
	var version *VersionError
	var protocol *ProtocolError
	switch {
	case errors.As(err, &refused):
		if refused.Code == CodeInUse {
			return Gently
		}
		return Fatal
	case errors.As(err, &version), errors.As(err, &protocol), errors.Is(err, ErrImpostor):
		return Fatal
	case p.cfg.Judge != nil:
		return p.cfg.Judge(err)
	}
	return Again
}

// finished takes the result of an attempt.
func (p *keeper) finished(r attached) {
	beside := p.attempt.beside
	p.attempt.cancel()
	p.attempt = nil
	if r.err == nil {
		p.replace(r)
		return
	}
	verdict := p.judge(r.err)
	p.lastErr = r.err
	p.cfg.Log.Info("attach failed", "generation", p.generation, "failures", p.failures, "error", r.err)
	p.failures++
	switch verdict {
	case Fatal:
		if beside && !p.told { // the link may yet come back
			p.hold, p.fatal = true, r.err
			return
		}
		p.lose(r.err)
	case Hold:
		p.hold = true
	case Gently:
		p.seen++
	}
	p.next = time.Now().Add(p.backoff())
}

// backoff doubles from firstWait on, and is jittered by a fifth.
func (p *keeper) backoff() time.Duration {
	d := min(firstWait<<min(p.failures-1, 10), maxWait)
	if p.seen >= 3 {
		d = max(d, gentleWait)
	}
	return d*4/5 + rand.N(d*2/5)
}

// replace ends the old link, if it still runs, and begins the new one.
func (p *keeper) replace(r attached) {
	s := p.s
	s.mu.Lock()
	if r.answer.received < s.acked || r.answer.received > s.furthest {
		s.finishLocked(&RefusedError{Code: CodeRewind})
	}
	s.loseLocked(p.link, errReplaced)
	silent := time.Since(s.detached)
	s.mu.Unlock()
	if r.transport != p.transport {
		p.transport.Close()
	}
	p.link.running.Wait()
	p.link = s.attach(p.generation, r.conn, r.answer.received, r.answer.granted)
	p.transport, p.told, p.failures, p.seen, p.hold, p.lastErr, p.lone = r.transport, false, 0, 0, false, nil, false
	p.fatal = nil
	p.cfg.Log.Info("attached", "generation", p.generation, "after", silent)
	if p.cfg.Changed != nil {
		p.cfg.Changed(nil)
	}
}

// widen opens one more channel for the link.
func (p *keeper) widen() {
	if p.joining != nil || p.lone || p.told {
		return
	}
	p.joining = make(chan joined, 1)
	t, result := p.transport, p.joining
	q := request{want: wantJoin, generation: p.link.generation}
	go func() { // ends with the transport
		conn, err := t.Open(context.Background())
		if err == nil {
			_, err = p.ask(conn, q)
		}
		result <- joined{t, conn, err}
	}()
}

func (p *keeper) joined(j joined) {
	p.joining = nil
	if j.transport != p.transport {
		return // closed by now
	}
	if j.err != nil {
		p.cfg.Log.Debug("no further channel", "error", j.err)
		p.lone = true
		return
	}
	if !p.s.join(p.link.generation, j.conn) {
		j.conn.Close()
	}
	p.cfg.Log.Debug("one more channel")
}
