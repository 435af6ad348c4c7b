// Package keepalive keeps idle connections alive and tells dead ones: TCP
// options for the kernel to probe with, and a loop for protocols that have a
// probe of their own. It knows no ssh.
package keepalive

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Life records when a peer was last heard. Make it with NewLife; its methods
// may be called from any goroutine.
type Life struct {
	start time.Time    // carries the monotonic clock
	heard atomic.Int64 // nanoseconds after start
}

// NewLife returns a Life that was heard just now.
func NewLife() *Life { return &Life{start: time.Now()} }

// Touch notes that the peer was heard just now.
func (l *Life) Touch() { l.heard.Store(int64(time.Since(l.start))) }

// Silence is the time since the peer was last heard.
func (l *Life) Silence() time.Duration {
	return time.Since(l.start) - time.Duration(l.heard.Load())
}

// SilentError says that a peer gave no sign of life for too long.
type SilentError struct{ For time.Duration }

func (e *SilentError) Error() string {
	return fmt.Sprintf("no answer for %v", e.For.Round(time.Second))
}

const (
	// settled is the silence below which a peer is taken to be there still when
	// the network has changed.
	settled = time.Second
	// tick is how often a loop compares the clocks, so that a machine that has slept
	// probes at once: the monotonic clock stands still in a sleep. One with Events
	// does it while a probe is outstanding alone, so that a stop is told from silence.
	tick = 5 * time.Second
	// jump is the difference between the clocks that means a sleep, and how late
	// a timer is that means that the process was stopped.
	jump = 5 * time.Second
)

// Loop probes a peer that has been silent for Interval and gives it up after
// GiveUp of silence. Whatever the peer sends counts as life, so an answer needs
// no more than Life.Touch. At most one probe is outstanding.
type Loop struct {
	Interval time.Duration // 0: never probe
	// GiveUp counts as two intervals if it is less: a peer that has nothing to
	// say is not dead before it has had an interval to answer a probe.
	GiveUp time.Duration
	Life   *Life
	// Probe sends a probe and returns when it was answered, in whatever way.
	// It may block until the connection is closed.
	Probe func() error
	// Events, if not nil, tells when the network may have changed: a peer that
	// is silent then is probed at once. See Events.Subscribe.
	Events <-chan struct{}
	// Wall is the wall clock; nil means the system's.
	Wall func() time.Time

	probes   sync.WaitGroup
	waiting  bool // a probe is outstanding
	answered chan error
}

// Run returns a *SilentError when the peer is given up, else ctx.Err(). The
// caller then closes the connection, which ends a probe that still waits, and
// calls Wait. Run is called once.
func (l *Loop) Run(ctx context.Context) error {
	if l.Interval <= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	l.answered = make(chan error, 1)
	clock := newClock(l.Wall)
	timer := time.NewTimer(l.next())
	defer timer.Stop()
	for {
		wait := l.next()
		timer.Reset(wait)
		due := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-l.answered:
			l.waiting = false
			if err == nil {
				l.Life.Touch()
			}
		case <-l.Events:
			due = l.Life.Silence() > settled
		case <-timer.C:
			due = clock.jumped() || l.Life.Silence() >= l.Interval
		}
		if clock.stopped(wait) {
			// We were not there to hear it: that is no silence of the peer's.
			l.Life.Touch()
			due = true
		}
		if silence := l.Life.Silence(); silence >= l.giveUp() {
			return &SilentError{silence}
		}
		if due {
			l.probe()
		}
	}
}

// next is how long to sleep: until a probe or giving up is due, or until the
// clocks shall be compared again.
func (l *Loop) next() time.Duration {
	silence := l.Life.Silence()
	due := l.Interval
	if silence >= l.Interval {
		due = min(silence+l.Interval, l.giveUp())
	}
	wait := max(due-silence, time.Millisecond)
	if l.Events == nil || l.waiting {
		wait = min(wait, tick)
	}
	return wait
}

func (l *Loop) giveUp() time.Duration { return max(l.GiveUp, 2*l.Interval) }

// Wait returns when no probe is outstanding.
func (l *Loop) Wait() { l.probes.Wait() }

// probe sends one unless one is outstanding.
func (l *Loop) probe() {
	if l.waiting {
		return
	}
	l.waiting = true
	// Ends with the answer, or when the caller closes the connection; Wait
	// waits for it.
	l.probes.Go(func() { l.answered <- l.Probe() })
}

// clock notices time that we have missed: a sleep of the machine, in which wall
// time runs ahead of the monotonic clock, and a stop of the process, after which
// timers are late.
type clock struct {
	wall  func() time.Time
	start time.Time
	ahead time.Duration
	seen  time.Time // the last call of stopped
}

// newClock compares with wall; nil is the system's.
func newClock(wall func() time.Time) *clock {
	c := &clock{wall: wall, start: time.Now(), seen: time.Now()}
	if c.wall == nil {
		c.wall = time.Now
	}
	c.jumped()
	return c
}

// jumped says whether the clocks drifted apart by a sleep since the last call.
func (c *clock) jumped() bool {
	ahead := c.wall().Round(0).Sub(c.start.Round(0)) - time.Since(c.start)
	slept := ahead - c.ahead
	c.ahead = ahead
	return slept > jump
}

// stopped says whether far more than wait has passed since the last call, after
// which nothing was done but to wait for at most that long.
func (c *clock) stopped(wait time.Duration) bool {
	late := time.Since(c.seen) - wait
	c.seen = time.Now()
	return late > jump
}
