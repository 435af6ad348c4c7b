package keepalive

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// watchTick is how often the clocks are looked at for a sleep or a stop where
	// the system does not tell of them.
	watchTick = 2 * time.Second
	// slowTick is it where it does: of a freezer of cgroups it tells nothing.
	slowTick = 30 * time.Second
	// quiet ends a burst of changes: DHCP brings a link, an address, and a
	// moment later the route that matters.
	quiet = 250 * time.Millisecond
	// hold is the longest that news wait for the end of their burst.
	hold = 2 * time.Second
	// pollInterval is how often addresses are compared where the system does
	// not tell of changes.
	pollInterval = 5 * time.Second
)

// Events tells when the network may have changed, or the machine or the process
// has come back from a sleep: when what was known about a peer is worth nothing
// and asking it is worth something. The first event of a burst is told at once,
// and one more when the burst is over. Its methods may be called from any
// goroutine. A nil *Events never tells anything.
type Events struct {
	log     *slog.Logger
	changed chan struct{} // has an element when a source saw a change
	set     chan struct{} // has an element when the wall clock was set
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu          sync.Mutex // guards subscribers
	subscribers map[chan struct{}]bool
}

// source is what the system tells of its links, addresses and routes.
type source interface {
	// watch calls changed for every change until ctx ends, and then returns. It
	// returns an error if it cannot go on. It closes what it holds.
	watch(ctx context.Context, changed func()) error
}

// NewEvents begins to watch. Close ends it.
func NewEvents(log *slog.Logger) *Events {
	src, err := openSource()
	if err != nil { // as by Android's rules, or those of a sandbox
		log.Debug("the system tells of no network changes: polling", "error", err)
		src = poller{addresses}
	}
	clocks, err := openClocks()
	if err != nil {
		log.Debug("the system tells of no sleep: looking at the clocks", "error", err)
	}
	return newEvents(log, src, clocks, time.Now)
}

// clocks tells when to look at the clocks.
type clocks interface {
	// watch calls set when the wall clock was set, also by a sleep, and continued
	// when the process goes on after a stop, until ctx ends, or an error.
	watch(ctx context.Context, set, continued func()) error
}

func newEvents(log *slog.Logger, src source, clocks clocks, wall func() time.Time) *Events {
	ctx, cancel := context.WithCancel(context.Background())
	e := &Events{
		log: log, cancel: cancel,
		changed:     make(chan struct{}, 1),
		set:         make(chan struct{}, 1),
		subscribers: map[chan struct{}]bool{},
	}
	clock := newClock(wall)
	tick := watchTick
	// All end with Close, which waits for them.
	if clocks != nil {
		tick = slowTick
		e.running.Go(func() {
			err := clocks.watch(ctx, func() { notify(e.set) }, func() { notify(e.changed) })
			if ctx.Err() == nil {
				log.Debug("no more news of the clocks", "error", err)
			}
		})
	}
	e.running.Go(func() { e.listen(ctx, src) })
	e.running.Go(func() { e.run(ctx, clock, tick) })
	return e
}

// Close ends the watch. Subscribers are told nothing more; their channels are
// not closed.
func (e *Events) Close() error {
	if e != nil {
		e.cancel()
		e.running.Wait()
	}
	return nil
}

// Subscribe returns a channel that has an element after an event, one for as
// many as came since it was last received from. cancel ends that.
func (e *Events) Subscribe() (events <-chan struct{}, cancel func()) {
	if e == nil {
		return nil, func() {}
	}
	c := make(chan struct{}, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subscribers[c] = true
	return c, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.subscribers, c)
	}
}

// listen passes on what the source tells.
func (e *Events) listen(ctx context.Context, src source) {
	changed := func() { notify(e.changed) }
	err := src.watch(ctx, changed)
	if ctx.Err() == nil {
		e.log.Debug("no more news of network changes: polling", "error", err)
		poller{addresses}.watch(ctx, changed)
	}
}

// run makes events of changes and of time that was missed.
func (e *Events) run(ctx context.Context, clock *clock, tick time.Duration) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	end := time.NewTimer(quiet) // of the burst
	defer end.Stop()
	var burst, more bool
	var told time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			slept, stopped := clock.jumped(), clock.stopped(tick)
			if !slept && !stopped {
				continue
			}
		case <-e.set:
			if !clock.jumped() {
				continue
			}
		case <-e.changed:
		case <-end.C:
			if more {
				e.tell()
			}
			burst, more = false, false
			continue
		}
		if more = burst && time.Since(told) < hold; !more {
			e.tell()
			burst, told = true, time.Now()
		}
		end.Reset(quiet)
	}
}

func (e *Events) tell() {
	e.log.Debug("the network may have changed")
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.subscribers {
		notify(c)
	}
}

// notify leaves word in c, which holds one element.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// poller is the source of systems that tell of nothing.
type poller struct{ addresses func() ([]string, error) }

func (p poller) watch(ctx context.Context, changed func()) error {
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	last, lastErr := p.addresses()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		now, err := p.addresses()
		if err == nil && lastErr == nil && !slices.Equal(now, last) {
			changed()
		}
		if err == nil {
			last, lastErr = now, nil
		}
	}
}

// addresses are those of this machine, in order.
func addresses() ([]string, error) {
	addrs, err := net.InterfaceAddrs()
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	slices.Sort(all)
	return all, err
}
