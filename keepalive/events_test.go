package keepalive

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var quietly = slog.New(slog.DiscardHandler)

// script is a source that tells of changes at given times.
type script struct {
	at  []time.Duration
	err error // after the last
}

func (s script) watch(ctx context.Context, changed func()) error {
	start := time.Now()
	for _, at := range s.at {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(at - time.Since(start)):
			changed()
		}
	}
	if s.err == nil {
		<-ctx.Done()
	}
	return s.err
}

// told returns when events were told until d has passed.
func told(t *testing.T, d time.Duration, src source, wall func() time.Time) (at []time.Duration) {
	t.Helper()
	start := time.Now()
	e := newEvents(quietly, src, nil, wall)
	defer e.Close()
	events, cancel := e.Subscribe()
	defer cancel()
	for end := time.After(d); ; {
		select {
		case <-events:
			at = append(at, time.Since(start))
		case <-end:
			return at
		}
	}
}

// ms are as many milliseconds, in a row.
func ms(numbers ...int) (all []time.Duration) {
	for _, n := range numbers {
		all = append(all, time.Duration(n)*time.Millisecond)
	}
	return all
}

func TestBursts(t *testing.T) {
	var storm []int
	for at := 1000; at <= 6000; at += 100 {
		storm = append(storm, at)
	}
	for _, tt := range []struct {
		name          string
		changes, want []int
	}{
		{name: "nothing"},
		{name: "one", changes: []int{100}, want: []int{100}},
		{name: "two", changes: []int{100, 101}, want: []int{100, 351}},
		{name: "DHCP", changes: []int{100, 200, 400, 600}, want: []int{100, 850}},
		{name: "apart", changes: []int{100, 350 + 1, 700}, want: []int{100, 351, 700}},
		{name: "after a burst", changes: []int{100, 200, 500}, want: []int{100, 450, 500}},
		{name: "without end", changes: storm, want: []int{1000, 3000, 5000, 6250}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := told(t, 10*time.Second, script{at: ms(tt.changes...)}, time.Now)
				if want := ms(tt.want...); !slices.Equal(got, want) {
					t.Errorf("got events at %v, want %v", got, want)
				}
			})
		})
	}
}

func TestWake(t *testing.T) {
	for _, tt := range []struct {
		name   string
		at, by time.Duration // the wall clock jumps
		want   []time.Duration
	}{
		{"sleep", 3 * time.Second, time.Hour, ms(4000)},
		{"sleep of 6 s", 3 * time.Second, 6 * time.Second, ms(4000)},
		{"sleep of 5 s", 3 * time.Second, 5 * time.Second, nil},
		{"set back", 3 * time.Second, -time.Hour, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				wall := func() time.Time {
					if time.Since(start) >= tt.at {
						return time.Now().Add(tt.by)
					}
					return time.Now()
				}
				if got := told(t, time.Minute, script{}, wall); !slices.Equal(got, tt.want) {
					t.Errorf("got events at %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// stopAt makes a wall clock that holds up who looks at it, once, from at on for
// d, as a stop of the process would.
func stopAt(at, d time.Duration) func() time.Time {
	start, stopped := time.Now(), false
	return func() time.Time {
		if !stopped && time.Since(start) >= at {
			stopped = true
			time.Sleep(d)
		}
		return time.Now()
	}
}

func TestStop(t *testing.T) {
	for _, tt := range []struct {
		stop time.Duration
		want []time.Duration
	}{
		{8 * time.Second, ms(12000)}, // 4 s + 8 s
		{6 * time.Second, ms(10000)},
		{5 * time.Second, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			if got := told(t, time.Minute, script{}, stopAt(4*time.Second, tt.stop)); !slices.Equal(got, tt.want) {
				t.Errorf("stopped for %v: got events at %v, want %v", tt.stop, got, tt.want)
			}
		})
	}
}

func TestSubscribers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvents(quietly, script{at: ms(1000, 2000, 3000)}, nil, time.Now)
		a, cancelA := e.Subscribe()
		defer cancelA()
		b, cancelB := e.Subscribe()
		time.Sleep(2500 * time.Millisecond)
		if len(a) != 1 || len(b) != 1 {
			t.Errorf("after two events: got %d and %d elements, want 1 and 1", len(a), len(b))
		}
		<-a
		<-b
		cancelB()
		cancelB()
		time.Sleep(time.Second)
		if len(a) != 1 || len(b) != 0 {
			t.Errorf("after one was cancelled: got %d and %d elements, want 1 and 0", len(a), len(b))
		}
		<-a
		e.Close()
		e.Close()
		select {
		case <-a:
			t.Error("got an event of the end")
		default:
		}
	})
	var none *Events
	if events, cancel := none.Subscribe(); events != nil || cancel == nil || none.Close() != nil {
		t.Error("a nil *Events does not keep still")
	}
}

func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := [][]string{nil, {"a"}, {"a"}, {"a", "b"}, nil, {"a", "b"}, {"b"}} // at 0, 5, 10 s...
		p := poller{func() ([]string, error) {
			now := answers[0]
			if len(answers) > 1 {
				answers = answers[1:]
			}
			if now == nil {
				return nil, errors.New("not now")
			}
			return now, nil
		}}
		if got, want := told(t, time.Minute, p, time.Now), ms(15000, 30000); !slices.Equal(got, want) {
			t.Errorf("got events at %v, want %v", got, want)
		}
	})
}

// One that cannot go on is replaced by polling, which does not tell of changes
// that there are not.
func TestSourceFails(t *testing.T) {
	e := newEvents(quietly, script{at: ms(1), err: errors.New("broken")}, nil, time.Now)
	events, _ := e.Subscribe()
	<-events
	e.Close() // would hang if polling knew no end
}

// events that come at given times, for a Loop.
func eventsAt(at ...time.Duration) (<-chan struct{}, *atomic.Int32) {
	c, left := make(chan struct{}, 1), new(atomic.Int32)
	left.Store(int32(len(at)))
	start := time.Now()
	go func() { // ends after the last event
		for _, d := range at {
			time.Sleep(d - time.Since(start))
			c <- struct{}{}
			left.Add(-1)
		}
	}()
	return c, left
}

func TestProbeOnEvent(t *testing.T) {
	s := time.Second
	for _, tt := range []struct {
		name   string
		rtt    time.Duration
		events []time.Duration
		want   []time.Duration // probes within 50 s
	}{
		{"none", 0, nil, []time.Duration{30 * s}},
		{"one", 0, []time.Duration{7 * s}, []time.Duration{7 * s, 37 * s}},
		{"just heard", 0, []time.Duration{s}, []time.Duration{30 * s}},
		{"heard a little while ago", 0, []time.Duration{s + 1}, []time.Duration{s + 1, 31*s + 1}},
		{"two at once", 0, []time.Duration{7 * s, 7*s + s/4}, []time.Duration{7 * s, 37 * s}},
		{"two", 0, []time.Duration{7 * s, 9 * s}, []time.Duration{7 * s, 9 * s, 39 * s}},
		{"while one is outstanding", 4 * s, []time.Duration{7 * s, 9 * s}, []time.Duration{7 * s, 41 * s}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer()
				p.rtt = tt.rtt
				events, left := eventsAt(tt.events...)
				run(&Loop{Interval: 30 * s, GiveUp: 900 * s, Events: events}, p, 50*s)
				if !slices.Equal(p.probes, tt.want) {
					t.Errorf("got probes at %v, want %v", p.probes, tt.want)
				}
				if left.Load() != 0 {
					t.Errorf("%d events were not told", left.Load())
				}
			})
		})
	}
}

// Events do not keep a dead peer alive, and ask nothing where nothing is asked.
func TestEventsAreNoLife(t *testing.T) {
	s := time.Second
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		p.silent = true
		events, _ := eventsAt(10*s, 50*s, 80*s)
		at, err := run(&Loop{Interval: 30 * s, GiveUp: 90 * s, Events: events}, p, time.Hour)
		if silent := (*SilentError)(nil); !errors.As(err, &silent) || at != 90*s {
			t.Errorf("got %v after %v, want a SilentError after 90 s", err, at)
		}
		if want := []time.Duration{10 * s}; !slices.Equal(p.probes, want) {
			t.Errorf("got probes at %v, want %v", p.probes, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		events := make(chan struct{}, 1)
		events <- struct{}{}
		run(&Loop{Events: events}, p, time.Hour)
		if len(p.probes) != 0 {
			t.Errorf("interval 0: got probes at %v, want none", p.probes)
		}
	})
}

// A process that was stopped for longer than GiveUp asks before it gives up: the
// peer may have been there all the time.
func TestStopIsNoSilence(t *testing.T) {
	s := time.Second
	for _, tt := range []struct {
		name   string
		silent bool
		probes []time.Duration
		end    time.Duration
	}{
		{"peer lives", false, []time.Duration{610 * s, 640 * s}, 650 * s},
		{"peer is dead", true, []time.Duration{610 * s}, 700 * s},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer()
				p.silent = tt.silent
				l := &Loop{Interval: 30 * s, GiveUp: 90 * s, Wall: stopAt(10*s, 600*s)}
				limit := 650 * s
				if tt.silent {
					limit = time.Hour
				}
				at, err := run(l, p, limit)
				if silent := (*SilentError)(nil); errors.As(err, &silent) != tt.silent || at.Round(s) != tt.end {
					t.Errorf("got %v after %v, want the end after %v", err, at, tt.end)
				}
				for i := range p.probes {
					p.probes[i] = p.probes[i].Round(s)
				}
				if !slices.Equal(p.probes, tt.probes) {
					t.Errorf("got probes at %v, want %v", p.probes, tt.probes)
				}
			})
		})
	}
}
