package keepalive

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// peer counts the probes of a loop and says when they came.
type peer struct {
	start  time.Time
	rtt    time.Duration // of an answer
	silent bool          // never answers
	closed chan struct{} // ends the probes that wait for an answer

	probes      []time.Duration
	outstanding atomic.Int32
}

func newPeer() *peer { return &peer{start: time.Now(), closed: make(chan struct{})} }

func (p *peer) probe() error {
	p.probes = append(p.probes, time.Since(p.start))
	if p.outstanding.Add(1) > 1 {
		panic("two probes outstanding")
	}
	defer p.outstanding.Add(-1)
	if p.silent {
		<-p.closed
		return errors.New("closed")
	}
	time.Sleep(p.rtt)
	return nil
}

// run runs l against p until d has passed and returns what Run did, and when.
func run(l *Loop, p *peer, d time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	l.Probe = p.probe
	if l.Life == nil {
		l.Life = NewLife()
	}
	err := l.Run(ctx)
	at := time.Since(p.start)
	close(p.closed)
	l.Wait()
	return at, err
}

func TestProbeTimes(t *testing.T) {
	s := time.Second
	for _, tt := range []struct {
		name             string
		interval, giveUp time.Duration
		rtt, runFor      time.Duration
		want             []time.Duration
	}{
		{"at once answered", 30 * s, 900 * s, 0, 100 * s, []time.Duration{30 * s, 60 * s, 90 * s}},
		{"long line", 30 * s, 900 * s, 200 * time.Millisecond, 100 * s,
			[]time.Duration{30 * s, 60*s + 200*time.Millisecond, 90*s + 400*time.Millisecond}},
		{"shorter than the clock's tick", 2 * s, 10 * s, 0, 7 * s, []time.Duration{2 * s, 4 * s, 6 * s}},
		{"no multiple of the tick", 7 * s, 60 * s, 0, 22 * s, []time.Duration{7 * s, 14 * s, 21 * s}},
		{"answer slower than the interval", 10 * s, 60 * s, 25 * s, 70 * s, []time.Duration{10 * s, 45 * s}},
		{"interval 0", 0, 60 * s, 0, 1000 * s, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer()
				p.rtt = tt.rtt
				at, err := run(&Loop{Interval: tt.interval, GiveUp: tt.giveUp}, p, tt.runFor)
				if !errors.Is(err, context.DeadlineExceeded) || at != tt.runFor {
					t.Errorf("got %v after %v, want the context's end after %v", err, at, tt.runFor)
				}
				if !slices.Equal(p.probes, tt.want) {
					t.Errorf("got probes at %v, want %v", p.probes, tt.want)
				}
			})
		})
	}
}

func TestGiveUp(t *testing.T) {
	s := time.Second
	for _, tt := range []struct {
		interval, giveUp, want time.Duration
	}{
		{30 * s, 900 * s, 900 * s},
		{15 * s, 45 * s, 45 * s},
		{7 * s, 23 * s, 23 * s},
		{s, 3 * s, 3 * s},
		{30 * s, 30 * s, 60 * s}, // ServerAliveCountMax 1
		{30 * s, 5 * s, 60 * s},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer()
			p.silent = true
			at, err := run(&Loop{Interval: tt.interval, GiveUp: tt.giveUp}, p, time.Hour)
			silent := (*SilentError)(nil)
			if !errors.As(err, &silent) || silent.For != tt.want || at != tt.want {
				t.Errorf("interval %v, give up %v: got %v after %v, want a SilentError after %v", tt.interval, tt.giveUp, err, at, tt.want)
			}
			if want := []time.Duration{tt.interval}; !slices.Equal(p.probes, want) {
				t.Errorf("interval %v: got probes at %v, want one at %v: the first has no answer yet", tt.interval, p.probes, want)
			}
		})
	}
}

// A peer that fails every probe without a delay is given up all the same.
func TestFailingProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		l := &Loop{Interval: 10 * time.Second, GiveUp: 60 * time.Second, Life: NewLife()}
		l.Probe = func() error { p.probes = append(p.probes, time.Since(p.start)); return errors.New("refused") }
		err := l.Run(t.Context())
		l.Wait()
		if silent := (*SilentError)(nil); !errors.As(err, &silent) || silent.For != 60*time.Second {
			t.Errorf("got %v, want a SilentError after 60 s", err)
		}
		if len(p.probes) < 5 || p.probes[0] != 10*time.Second {
			t.Errorf("got probes at %v, want at least five from 10 s on", p.probes)
		}
	})
}

func TestTouchPostpones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		p.silent = true
		life := NewLife()
		done := make(chan struct{})
		go func() { // ends after the last touch
			defer close(done)
			time.Sleep(29 * time.Second)
			life.Touch()
			time.Sleep(60 * time.Second) // a probe is outstanding since 59 s
			life.Touch()
		}()
		at, err := run(&Loop{Interval: 30 * time.Second, GiveUp: 90 * time.Second, Life: life}, p, time.Hour)
		<-done
		silent := (*SilentError)(nil)
		if !errors.As(err, &silent) || silent.For != 90*time.Second || at != 179*time.Second {
			t.Errorf("got %v after %v, want given up 90 s after the last touch, at 179 s", err, at)
		}
		if want := []time.Duration{59 * time.Second}; !slices.Equal(p.probes, want) {
			t.Errorf("got probes at %v, want %v", p.probes, want)
		}
	})
}

// Traffic without a pause needs no probe.
func TestNoProbeWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		life := NewLife()
		done := make(chan struct{})
		go func() { // ends after 200 touches
			defer close(done)
			for range 200 {
				time.Sleep(time.Second)
				life.Touch()
			}
		}()
		run(&Loop{Interval: 3 * time.Second, GiveUp: 9 * time.Second, Life: life}, p, 201*time.Second)
		<-done
		if len(p.probes) != 0 {
			t.Errorf("got probes at %v, want none", p.probes)
		}
	})
}

func TestWallClockJump(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   time.Duration // when the wall clock jumps
		by   time.Duration
		want time.Duration // of the first probe
	}{
		{"sleep of an hour", 7 * time.Second, time.Hour, 10 * time.Second},
		{"just after a tick", 10*time.Second + 1, time.Hour, 15 * time.Second},
		{"drift of a second", 7 * time.Second, time.Second, 30 * time.Second},
		{"set back", 7 * time.Second, -time.Hour, 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer()
				wall := func() time.Time {
					if time.Since(p.start) >= tt.at {
						return time.Now().Add(tt.by)
					}
					return time.Now()
				}
				run(&Loop{Interval: 30 * time.Second, GiveUp: 900 * time.Second, Wall: wall}, p, 31*time.Second)
				if len(p.probes) == 0 || p.probes[0] != tt.want {
					t.Errorf("got probes at %v, want the first at %v", p.probes, tt.want)
				}
			})
		})
	}
}

// The time from a jump to its probe does not count from a jump that a probe
// had followed already.
func TestJumpWhileProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		p.rtt = 8 * time.Second
		wall := func() time.Time {
			if time.Since(p.start) >= 32*time.Second { // a probe is on its way
				return time.Now().Add(time.Hour)
			}
			return time.Now()
		}
		run(&Loop{Interval: 30 * time.Second, GiveUp: 900 * time.Second, Wall: wall}, p, 60*time.Second)
		if want := []time.Duration{30 * time.Second}; !slices.Equal(p.probes, want) {
			t.Errorf("got probes at %v, want %v", p.probes, want)
		}
	})
}

func TestRunEndsWithContext(t *testing.T) {
	for _, interval := range []time.Duration{0, time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer()
			p.silent = true
			at, err := run(&Loop{Interval: interval, GiveUp: 3 * time.Hour}, p, 90*time.Second)
			if !errors.Is(err, context.DeadlineExceeded) || at != 90*time.Second {
				t.Errorf("interval %v: got %v after %v, want the context's error after 90 s", interval, err, at)
			}
		})
	}
}

// A stop is told from silence of the peer's by how late a timer is, so timers are
// short while a probe is outstanding.
func TestLooksWhileProbing(t *testing.T) {
	l := &Loop{Interval: time.Minute, Life: NewLife(), Events: make(chan struct{})}
	if got := l.next(); got <= tick {
		t.Errorf("idle: got %v, want no look at the clocks before the probe is due", got)
	}
	l.waiting = true
	if got := l.next(); got != tick {
		t.Errorf("with a probe outstanding: got %v, want %v", got, tick)
	}
}
