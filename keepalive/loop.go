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
	// tick is how often the loop compares the clocks, so that a machine that
	// has slept probes at once: the monotonic clock stands still in a sleep.
	tick = 5 * time.Second
	// jump is the difference between the clocks that means a sleep.
	jump = 5 * time.Second
)

// Loop probes a peer that has been silent for Interval and gives it up after
// GiveUp of silence. Whatever the peer sends counts as life, so an answer needs
// no more than Life.Touch. At most one probe is outstanding.
type Loop struct {
	Interval time.Duration // 0: never probe
	GiveUp   time.Duration
	Life     *Life
	// Probe sends a probe and returns when it was answered, in whatever way.
	// It may block until the connection is closed.
	Probe func() error
	// Wall is the wall clock; nil means the system's.
	Wall func() time.Time

	probes  sync.WaitGroup
	waiting atomic.Bool
}

// Run returns a *SilentError when the peer is given up, else ctx.Err(). The
// caller then closes the connection, which ends a probe that still waits, and
// calls Wait.
func (l *Loop) Run(ctx context.Context) error {
	if l.Interval <= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	timer := time.NewTimer(min(l.Interval, tick))
	defer timer.Stop()
	clock := l.newClock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		silence := l.Life.Silence()
		if silence >= l.GiveUp {
			return &SilentError{silence}
		}
		if silence >= l.Interval || clock.jumped() {
			l.probe()
		}
		timer.Reset(l.next(l.Life.Silence()))
	}
}

// next is how long to sleep: to the next deadline, or the next look at the
// clocks.
func (l *Loop) next(silence time.Duration) time.Duration {
	deadline := l.Interval
	if silence >= l.Interval {
		deadline = l.GiveUp
	}
	return min(max(deadline-silence, time.Millisecond), tick)
}

// Wait returns when no probe is outstanding.
func (l *Loop) Wait() { l.probes.Wait() }

// probe sends one unless one is outstanding.
func (l *Loop) probe() {
	if !l.waiting.CompareAndSwap(false, true) {
		return
	}
	// Ends with the answer, or when the caller closes the connection; Wait
	// waits for it.
	l.probes.Go(func() {
		if l.Probe() == nil {
			l.Life.Touch()
		}
		l.waiting.Store(false)
	})
}

// clock notices that wall time has run ahead of the monotonic clock.
type clock struct {
	wall  func() time.Time
	start time.Time
	ahead time.Duration
}

func (l *Loop) newClock() *clock {
	c := &clock{wall: l.Wall, start: time.Now()}
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
