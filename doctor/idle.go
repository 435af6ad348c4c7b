package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Flow is a connection that nobody probes.
type Flow interface {
	// Silence is the time since the far end was last heard.
	Silence() time.Duration
	// Probe asks the far end for an answer. Any error but that of ctx means that
	// the connection is dead; ErrClosed, that the far end itself has ended it.
	Probe(ctx context.Context) error
	// Done is closed when the connection is known to have ended.
	Done() <-chan struct{}
	Close() error
}

// ErrClosed says that a far end has ended a connection in order: what stands
// between drops packets, or resets.
var ErrClosed = errors.New("closed by the host itself")

// Idle measures how long a silent connection lives: what stands between forgets
// it after a time of its own, which nothing but trying tells. All connections are
// silent side by side, each for another time, and probed once.
type Idle struct {
	Max   time.Duration // the longest silence
	Dial  func(context.Context) (Flow, error)
	Said  func(line string) // told as it goes; nil: nobody is
	Await time.Duration     // for the answer to a probe; 0: 10 s
}

// Lifetime is what Idle has measured.
type Lifetime struct {
	Lived time.Duration // the longest silence that a connection has outlived; 0: none
	Died  time.Duration // the shortest that one did not; 0: all lived
	Ended time.Duration // within this the far end itself ended one; 0: it did not
	Heard time.Duration // within this the far end speaks by itself, so that none is silent for longer; 0: it does not
}

func (l Lifetime) String() string {
	switch {
	case l.Died > 0 && l.Lived > 0:
		return fmt.Sprintf("flows die between %s and %s s of silence", seconds(l.Lived), seconds(l.Died))
	case l.Died > 0:
		return fmt.Sprintf("flows die within %s s of silence", seconds(l.Died))
	case l.Ended > 0:
		return fmt.Sprintf("the host itself ends a connection between %s and %s s of silence, no firewall does", seconds(l.Lived), seconds(l.Ended))
	case l.Heard > 0:
		return fmt.Sprintf("nothing died: the host itself says something within %s s, so that no flow is silent for longer", seconds(l.Heard))
	}
	return fmt.Sprintf("nothing died within %s s of silence", seconds(l.Lived))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3g", d.Seconds()) }

// Interval is the longest interval of probes, of whole seconds, that is safe by
// half; 0 where anything is.
func (l Lifetime) Interval() time.Duration {
	if l.Died == 0 {
		return 0
	}
	safe := l.Lived / 2
	if safe == 0 {
		safe = l.Died / 4
	}
	return max(safe.Truncate(time.Second), time.Second)
}

// steps are the silences that are tried, as parts of the longest: of ten minutes
// they are 30 s and 1, 2, 4, 5 and 10 minutes. Each is a connection, and six are
// below any MaxStartups and MaxSessions.
var steps = [...]float64{1. / 20, 1. / 10, 1. / 5, 2. / 5, 1. / 2, 1}

// Flows is how many connections Run opens.
const Flows = len(steps)

// awaitProbe is the default of Await.
const awaitProbe = 10 * time.Second

// Run opens the connections, one after the other, and waits for the first to
// die, or for Max. An error is that of Dial or ctx; what was measured before it
// is returned as well.
func (i *Idle) Run(ctx context.Context) (Lifetime, error) {
	var flows []Flow
	defer func() {
		for _, f := range flows {
			f.Close()
		}
	}()
	for n := range steps {
		f, err := i.Dial(ctx)
		if err != nil {
			return Lifetime{}, fmt.Errorf("open connection %d of %d: %w", n+1, len(steps), err)
		}
		flows = append(flows, f)
	}
	var l Lifetime
	for n, f := range flows {
		want := time.Duration(steps[n] * float64(i.Max))
		over, err := i.try(ctx, f, want, &l)
		if over || err != nil {
			return l, err
		}
	}
	return l, nil
}

// try waits until a connection was silent for as long as is wanted, and probes
// it. It says whether longer ones need not be tried.
func (i *Idle) try(ctx context.Context, f Flow, want time.Duration, l *Lifetime) (over bool, err error) {
	ended, err := sleep(ctx, want-f.Silence(), f.Done())
	if err != nil {
		return true, err
	}
	if !ended && f.Silence() < want*9/10 { // the words of an end count as well
		l.Heard = want
		i.say("within %s s the host spoke by itself", seconds(want))
		return true, nil
	}
	await := i.Await
	if await == 0 {
		await = awaitProbe
	}
	probing, cancel := context.WithTimeout(ctx, await)
	defer cancel()
	err = f.Probe(probing)
	switch {
	case ctx.Err() != nil:
		return true, context.Cause(ctx)
	case err == nil:
		l.Lived = want
		i.say("silent for %s s: alive", seconds(want))
		return false, nil
	case errors.Is(err, ErrClosed):
		l.Ended = want
		i.say("silent for %s s: %v", seconds(want), err)
		return true, nil
	case errors.Is(err, context.DeadlineExceeded):
		i.say("silent for %s s: dead, no answer within %v", seconds(want), await)
	default:
		i.say("silent for %s s: dead, %v", seconds(want), err)
	}
	l.Died = want
	return true, nil
}

func (i *Idle) say(format string, args ...any) {
	if i.Said != nil {
		i.Said(fmt.Sprintf(format, args...))
	}
}

// sleep says whether done ended it; an error is that of ctx.
func sleep(ctx context.Context, d time.Duration, done <-chan struct{}) (ended bool, err error) {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-done:
		return true, nil
	case <-timer.C:
	}
	select {
	case <-done:
		return true, nil
	default:
		return false, nil
	}
}
