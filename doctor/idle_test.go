package doctor

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a flow that is forgotten after some silence.
type wire struct {
	last   time.Time
	forget time.Duration // 0: never
	speaks time.Duration // the host says something that often; 0: never
	reset  bool          // the one who forgets it says so
	ends   time.Duration // the host ends it; 0: never
	ended  <-chan struct{}
	closed *int
}

func (w *wire) Done() <-chan struct{} { return w.ended }

func (w *wire) Silence() time.Duration {
	silent := time.Since(w.last)
	if w.ends > 0 && silent >= w.ends { // it has said so
		return silent - w.ends
	}
	if w.speaks > 0 {
		silent %= w.speaks
	}
	return silent
}

func (w *wire) Probe(ctx context.Context) error {
	switch {
	case w.ends > 0 && time.Since(w.last) >= w.ends:
		return ErrClosed
	case w.forget == 0 || time.Since(w.last) < w.forget:
		w.last = time.Now()
		return nil
	case w.reset:
		return errors.New("connection reset by peer")
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (w *wire) Close() error { *w.closed++; return nil }

func TestIdle(t *testing.T) {
	for _, tc := range []struct {
		name string
		wire wire
		want Lifetime
		took time.Duration
		text string
		said []string
	}{
		{"dies between two steps", wire{forget: 270 * time.Second}, Lifetime{Lived: 240 * time.Second, Died: 300 * time.Second}, 310 * time.Second,
			"flows die between 240 and 300 s of silence",
			[]string{"silent for 30 s: alive", "silent for 60 s: alive", "silent for 120 s: alive", "silent for 240 s: alive", "silent for 300 s: dead, no answer within 10s"}},
		{"reset", wire{forget: 100 * time.Second, reset: true}, Lifetime{Lived: 60 * time.Second, Died: 120 * time.Second}, 120 * time.Second,
			"flows die between 60 and 120 s of silence", []string{"silent for 30 s: alive", "silent for 60 s: alive", "silent for 120 s: dead, connection reset by peer"}},
		{"dies at once", wire{forget: time.Second}, Lifetime{Died: 30 * time.Second}, 40 * time.Second,
			"flows die within 30 s of silence", []string{"silent for 30 s: dead, no answer within 10s"}},
		{"the host ends it", wire{ends: 100 * time.Second}, Lifetime{Lived: 60 * time.Second, Ended: 120 * time.Second}, 100 * time.Second,
			"the host itself ends a connection between 60 and 120 s of silence, no firewall does",
			[]string{"silent for 30 s: alive", "silent for 60 s: alive", "silent for 120 s: closed by the host itself"}},
		{"lives", wire{}, Lifetime{Lived: 600 * time.Second}, 600 * time.Second, "nothing died within 600 s of silence", nil},
		{"the host speaks", wire{forget: 270 * time.Second, speaks: 50 * time.Second}, Lifetime{Lived: 30 * time.Second, Heard: 60 * time.Second}, 60 * time.Second,
			"nothing died: the host itself says something within 60 s, so that no flow is silent for longer",
			[]string{"silent for 30 s: alive", "within 60 s the host spoke by itself"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opened, closed := 0, 0
				var said []string
				i := &Idle{Max: 10 * time.Minute, Said: func(s string) { said = append(said, s) }, Dial: func(context.Context) (Flow, error) {
					w := tc.wire
					w.last, w.closed = time.Now(), &closed
					if w.ends > 0 {
						ctx, cancel := context.WithTimeout(t.Context(), w.ends)
						t.Cleanup(cancel)
						w.ended = ctx.Done()
					}
					opened++
					return &w, nil
				}}
				start := time.Now()
				got, err := i.Run(t.Context())
				if err != nil || got != tc.want || got.String() != tc.text {
					t.Errorf("got %+v (%v), %v; want %+v (%s)", got, got, err, tc.want, tc.text)
				}
				if took := time.Since(start); took != tc.took {
					t.Errorf("took %v, want %v", took, tc.took)
				}
				if opened != 6 || closed != 6 {
					t.Errorf("opened %d, closed %d, want six", opened, closed)
				}
				if tc.said != nil && !reflect.DeepEqual(said, tc.said) {
					t.Errorf("said %q, want %q", said, tc.said)
				}
			})
		})
	}
}

func TestIdleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := 0
		dials := 0
		failing := errors.New("denied")
		i := &Idle{Max: time.Minute, Dial: func(context.Context) (Flow, error) {
			if dials++; dials == 3 {
				return nil, failing
			}
			return &wire{last: time.Now(), closed: &closed}, nil
		}}
		if _, err := i.Run(t.Context()); !errors.Is(err, failing) || closed != 2 {
			t.Errorf("got %v and %d closed, want the error and two", err, closed)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		l, err := i.Run(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || closed != 8 || l != (Lifetime{Lived: 12 * time.Second}) {
			t.Errorf("got %v, %d closed and %v; want the end of the context, eight, and what has lived", err, closed, l)
		}
	})
}

func TestInterval(t *testing.T) {
	for _, tc := range []struct {
		life Lifetime
		want time.Duration
	}{
		{Lifetime{Lived: 240 * time.Second, Died: 300 * time.Second}, 120 * time.Second},
		{Lifetime{Died: 30 * time.Second}, 7 * time.Second},
		{Lifetime{Lived: 1500 * time.Millisecond, Died: 3 * time.Second}, time.Second},
		{Lifetime{Lived: 600 * time.Second}, 0},
	} {
		if got := tc.life.Interval(); got != tc.want {
			t.Errorf("%+v: got %v, want %v", tc.life, got, tc.want)
		}
	}
}
