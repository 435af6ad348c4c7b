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
	// dataPatience is how long data may go unanswered, eventPatience how long a
	// ping after a wake or a change of the network.
	dataPatience  = 10 * time.Second
	eventPatience = 3 * time.Second
	// slowest is the longest round trip that patience is had for, six times.
	slowest = 5 * time.Second
	// reuseTime is how long the old transport may take to open a channel.
	reuseTime = 2 * time.Second
	// lingerTime is how long a closed stream goes on when the peer takes nothing.
	lingerTime = 10 * time.Second
	// abandonedTime is that of one that was abandoned. TCP that loses a packet, and then what
	// it sends again, pauses for 0.2 s, 0.4, 0.8, 1.6: 3 s and some round trips.
	abandonedTime = 5 * time.Second
	// forever is a wait that something else ends.
	forever = 24 * time.Hour
)

// gentleWaits are the least after so many failures that the far host has seen.
// sshd counts those of a source, and shuts it out for 15 s at first
// (PerSourcePenalties, OpenSSH 9.8 and later): four connects fall into that.
var gentleWaits = [...]time.Duration{0, 0, time.Second, 5 * time.Second, maxWait}

// holdWaits are how long a login that the far host has refused is left alone:
// it would refuse it again, unless something there was not ready yet.
var holdWaits = [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

// keeper keeps a client's stream attached. Its fields belong to run.
//
// The link it has is probed; when an answer is overdue by a third of the
// patience, a new link is made beside it, and whichever shows life first is
// kept. A peer that speaks and does not hear is not given up before it is
// replaced. One attempt is under way at a time.
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
	held       int       // refusals in a row
	freed      time.Time // when an event last let a refused login be repeated
	abandoned  time.Time // when an event last ended an attempt
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
	generation uint64 // of the link that it was for
	conn       net.Conn
	err        error
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

// abandon ends the attempt that is under way, without waiting for it: it may
// hang on what knows no context, a key on a dead file server, say. Should it
// succeed after all, the relay has been told a generation that comes too late,
// or the next attempt will replace it.
func (p *keeper) abandon() {
	p.attempt.cancel()
	result, current := p.attempt.result, p.transport
	p.attempt = nil
	go func() { // ends with the attempt
		r := <-result
		if r.err != nil {
			return
		}
		if r.transport != current {
			r.transport.Close()
		}
		r.conn.Close()
	}()
}

// act does what is due and returns how long until something may be.
func (p *keeper) act(now time.Time) time.Duration {
	p.s.mu.Lock()
	current, closed, detached, lingers := p.s.link, p.s.closed, p.s.detached, p.s.parting.Add(p.s.linger)
	p.s.mu.Unlock()
	wait := forever
	if closed {
		if wait = lingers.Sub(now); wait <= 0 {
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
	if current != nil && !current.waiting.IsZero() { // since we looked, perhaps
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
	case p.attempt != nil:
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
	pinged, answered := l.pinged, l.answered
	p.s.mu.Unlock()
	if patience == 0 {
		return forever
	}
	third := patience / 3
	silence, quiet := now.Sub(since), min(now.Sub(since), now.Sub(l.lastHeard()))
	if silence < third {
		p.relieve()
		return third - silence
	}
	if answered || pinged.Before(since) {
		p.pingNow(l)
	}
	switch {
	case quiet >= patience:
		p.s.lose(l, fmt.Errorf("no answer for %v", quiet.Round(time.Second)))
		return 0
	case silence < 2*third && !p.s.isUrgent(l):
		p.relieve()
		return 2*third - silence
	case p.attempt == nil && !now.Before(p.next):
		p.start(now, true)
	case p.attempt == nil:
		return min(patience-quiet, p.next.Sub(now))
	}
	return patience - quiet
}

// overdueLocked returns since when an answer is awaited, and how long it may
// take until the link counts as dead; 0 is for ever. Where data lately queued
// up for long, it may do so again.
func (s *Stream) overdueLocked(l *link, interval time.Duration) (since time.Time, patience time.Duration) {
	heard := l.lastHeard()
	if l.urgent.After(heard) {
		return l.urgent, max(eventPatience, 6*min(l.rtt, slowest))
	}
	slow := 6 * min(max(l.rtt, l.last), slowest)
	if !l.waiting.IsZero() {
		return l.waiting, max(dataPatience, slow)
	}
	if interval == 0 {
		return heard, 0
	}
	return heard, max(3*interval, slow)
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
	if over {
		p.cfg.Log.Debug("link ended", "generation", p.link.generation, "why", why)
	} else {
		p.cfg.Log.Info("link lost", "generation", p.link.generation, "why", why)
	}
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

const (
	// An event ends an attempt of some age, which may hang on the old network,
	// and lets a refused login be repeated; but not one after the other, since a
	// network that comes and goes has no end of events.
	hangingTime = time.Second
	abandonTime = 10 * time.Second
	freeTime    = 30 * time.Second
)

// event looks at once: the machine woke, or its network changed. What the far
// host has seen of our failures it has not forgotten.
func (p *keeper) event() {
	p.cfg.Log.Debug("the network may have changed")
	now := time.Now()
	p.failures, p.fatal = 0, nil
	if free := now.Sub(p.freed) > freeTime*time.Duration(p.held+1); p.held == 0 && p.seen < 2 || free {
		p.next = time.Time{}
		if p.held > 0 || p.seen >= 2 {
			p.freed = now
		}
	}
	p.s.mu.Lock()
	l := p.s.link
	if l != nil && !l.urgent.After(l.lastHeard()) {
		l.urgent = now
	}
	p.s.mu.Unlock()
	if l != nil {
		p.pingNow(l)
	}
	asking := p.cfg.Asking != nil && p.cfg.Asking()
	if p.attempt != nil && !asking && now.Sub(p.attempt.started) > hangingTime && now.Sub(p.abandoned) > abandonTime {
		p.abandoned = now
		p.abandon()
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
		late := time.AfterFunc(reuseTime, func() { reuse.Close() })
		r.conn, r.answer, r.err = p.shake(ctx, reuse, q, reuseTime)
		late.Stop()
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
			p.fatal, p.next = r.err, time.Now().Add(holdWaits[0])
			return
		}
		p.lose(p.outcome(r.err))
	case Hold:
		p.next = time.Now().Add(holdWaits[min(p.held, len(holdWaits)-1)])
		p.held++
	case Gently:
		p.seen++
		fallthrough
	default:
		p.next = time.Now().Add(p.backoff())
	}
	if p.told && p.cfg.Changed != nil && !p.s.over() {
		p.cfg.Changed(r.err)
	}
}

// outcome tells a session that was away for too long from one that got lost.
func (p *keeper) outcome(err error) error {
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Code == CodeUnknown && p.link.absent() > p.cfg.Keep {
		return &ExpiredError{p.cfg.Keep, nil}
	}
	return err
}

// backoff doubles from firstWait on, and is jittered by a fifth, or beyond what
// is the least.
func (p *keeper) backoff() time.Duration {
	d := min(firstWait<<min(p.failures-1, 10), maxWait)
	if least := gentleWaits[min(p.seen, len(gentleWaits)-1)]; least >= d {
		return least + rand.N(least/5)
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
	p.link = s.attach(p.generation, r.conn, r.answer.received, r.answer.granted, max(r.answer.took, 1))
	p.transport, p.told, p.failures, p.seen, p.held, p.lone = r.transport, false, 0, 0, 0, false
	p.lastErr, p.fatal = nil, nil
	p.cfg.Log.Info("attached", "generation", p.generation, "after", silent)
	if p.cfg.Changed != nil {
		p.cfg.Changed(nil)
	}
}
