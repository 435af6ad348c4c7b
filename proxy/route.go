// Package proxy is what stands between ssh and the network: it dials a route,
// directly or through hops, and splices the connection with ssh's stdin and
// stdout, or hands the socket over.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"ssh-stay/hop"
)

// DialFunc connects to a host, given by name or address, and port.
type DialFunc func(ctx context.Context, host string, port int) (net.Conn, error)

// Leg is one hop of a route.
type Leg struct {
	Host    string // dialed by the leg before, which resolves it
	Port    int
	Timeout time.Duration // ConnectTimeout of the hop; 0: the route's alone
	Hop     *hop.Config
}

// Route is the way to a host: the first leg, or the host itself, is dialed by
// Base, each further one over the leg before.
type Route struct {
	Base DialFunc
	Legs []Leg
	Host string
	Port int
	// Budget bounds dialing in all, but for the time that Pause takes out of it. 0
	// is for one attempt that nothing bounds.
	Budget time.Duration
	// Login is how long the budget stands still while a host does not answer a
	// login, where the user may have to confirm it elsewhere: sshd waits for 120 s
	// (LoginGraceTime). Reconnect does without.
	Login time.Duration
	// Retrying, if not nil, is told of every error after which dialing goes on, and
	// of a name that is waited for; nil takes that back.
	Retrying func(error)
	// Asked, if not nil, says whether the user was asked something: then no
	// other attempt is made, which would ask again.
	Asked func() bool
	// Listening, if not nil, is told whenever Meet has a connection, and waits no
	// longer for the route but for what the host says.
	Listening func()
	Log       *slog.Logger
}

// Conn is a dialed route. Close closes the hops below it too.
type Conn struct {
	net.Conn
	path *Path // nil where there is none

	// Of Meet, for Splice: what was heard, and a read that is under way.
	heard []byte
	ahead readAhead

	up, down atomic.Int64 // bytes that went through our hands: see Stats
}

// CloseWrite half-closes the connection.
func (c *Conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close ends the first hop first: a close of what runs over it could wait for
// a dead link.
func (c *Conn) Close() error {
	c.path.Close()
	return c.Conn.Close()
}

// Path is the hops of a route. Its zero value and nil have none.
type Path struct{ hops []*hop.Hop }

// Last is the hop at the far end.
func (p *Path) Last() *hop.Hop { return p.hops[len(p.hops)-1] }

// Pin is a route whose hops must show the host keys that they have shown on
// path, which r made.
func (r *Route) Pin(path *Path) *Route {
	pinned := *r
	pinned.Legs = slices.Clone(r.Legs)
	for i, h := range path.hops {
		cfg := *pinned.Legs[i].Hop
		cfg.Pinned = h.HostKey()
		pinned.Legs[i].Hop = &cfg
	}
	return &pinned
}

// Close ends all hops, the first one first.
func (p *Path) Close() error {
	if p == nil {
		return nil
	}
	for _, h := range p.hops {
		h.Close()
	}
	return nil
}

// GaveUpError says that the network was down for all of the budget.
type GaveUpError struct {
	After time.Duration
	Err   error // of the last attempt
}

func (e *GaveUpError) Error() string { return fmt.Sprintf("%v (gave up after %v)", e.Err, e.After) }
func (e *GaveUpError) Unwrap() error { return e.Err }

// Dial dials the route. While the network is down it holds and tries again
// until the budget is spent; what a host refuses ends it at once.
func (r *Route) Dial(ctx context.Context) (conn *Conn, err error) {
	err = r.hold(ctx, func(ctx context.Context) error {
		conn, err = r.dialOnce(ctx)
		return err
	})
	return conn, err
}

// Connect makes the hops alone, as Dial does.
func (r *Route) Connect(ctx context.Context) (path *Path, err error) {
	err = r.hold(ctx, func(ctx context.Context) error {
		path, _, err = r.connectOnce(ctx)
		return err
	})
	return path, err
}

// Reconnect makes the hops alone, and holds for nothing: it tries once, within
// the budget.
func (r *Route) Reconnect(ctx context.Context) (*Path, error) {
	ctx, cancel := withBudget(ctx, r.Budget)
	defer cancel()
	path, _, err := r.connectOnce(ctx)
	if err != nil && ctx.Err() != nil {
		err = r.ended(ctx, nil, err)
	}
	return path, err
}

// hold calls dial until it has succeeded or there is no use in going on.
func (r *Route) hold(ctx context.Context, dial func(context.Context) error) error {
	ctx = context.WithValue(context.WithValue(ctx, retryingKey{}, r.Retrying), loginKey{}, r.Login)
	if r.Budget > 0 {
		var cancel context.CancelFunc
		ctx, cancel = withBudget(ctx, r.Budget)
		defer cancel()
	}
	wait := &backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond, Multiplier: 2,
		MaxInterval: 2 * time.Second, RandomizationFactor: 0.2,
	}
	var last error
	for drops := 0; ; {
		err := dial(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return r.ended(ctx, last, err)
		}
		pause, again := wait.NextBackOff(), temporary(err)
		if said, ok := dropped(err); ok {
			pause, again = droppedWait(drops, said)
			drops++
		}
		if !again || r.Budget == 0 || r.Asked != nil && r.Asked() && !r.keepsHops(err) {
			return err
		}
		last = err
		r.Log.Debug("no connection yet, holding", "error", err, "for", pause)
		if r.Retrying != nil {
			r.Retrying(err)
		}
		if !sleep(ctx, pause) {
			return r.ended(ctx, last, err)
		}
	}
}

// dropped says whether a host has closed before its banner, and whether it said
// why. A reset may come before we know that the connection was made.
func dropped(err error) (said, ok bool) {
	var drop *hop.DroppedError
	var failed *ConnectError
	if errors.As(err, &drop) {
		return drop.Said != "", true
	}
	return false, errors.As(err, &failed) && hop.HungUp(err)
}

// keepsHops says whether an error is of Meet's, after which no hop asks anybody
// again. A route without hops may begin with a command that does.
func (r *Route) keepsHops(err error) bool {
	var drop *hop.DroppedError
	var target *ConnectError
	return len(r.Legs) > 0 && errors.As(err, &drop) && errors.As(err, &target)
}

// droppedWait is the pause after the n-th time that a host has closed before its
// banner; ok says whether there is one. sshd does that to those who come too many
// at once, who better not come together again. A penalty (PerSourcePenalties)
// lasts 15 s at least, which the pauses outlive. What is said five times is
// believed; one that says nothing may be no sshd, and twice is enough.
func droppedWait(n int, said bool) (pause time.Duration, ok bool) {
	pauses := []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond, 5 * time.Second, 14 * time.Second}
	if !said {
		pauses = pauses[:2]
	}
	if n >= len(pauses) {
		return 0, false
	}
	return time.Duration(float64(pauses[n]) * (0.8 + 0.6*rand.Float64())), true
}

// ended picks what to report when ctx has ended: the last error that was not
// made by the end itself.
func (r *Route) ended(ctx context.Context, last, err error) error {
	cause := context.Cause(ctx)
	if (budgetError{}) != cause {
		return cause
	}
	if last == nil {
		last = err
	}
	return &GaveUpError{r.Budget, last}
}

func (r *Route) dialOnce(ctx context.Context) (*Conn, error) {
	path, dial, err := r.connectOnce(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, r.Host, r.Port)
	if err != nil {
		path.Close()
		return nil, err
	}
	return &Conn{Conn: conn, path: path}, nil
}

// connectOnce walks the route from the near end, and returns how to dial from
// its far end.
func (r *Route) connectOnce(ctx context.Context) (*Path, DialFunc, error) {
	path, dial := &Path{}, r.Base
	for _, leg := range r.Legs {
		h, err := leg.dial(ctx, dial)
		if err != nil {
			path.Close()
			return nil, nil, err
		}
		path.hops = append(path.hops, h)
		dial = h.Dial
	}
	path.hops = slices.Clip(path.hops)
	return path, dial, nil
}

// loginKey is where hold leaves Route.Login.
type loginKey struct{}

func (l *Leg) dial(ctx context.Context, dial DialFunc) (*hop.Hop, error) {
	cfg := *l.Hop
	route := ctx
	ctx, over := context.WithCancel(ctx)
	defer over()
	var own *budget
	if l.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = withBudget(ctx, l.Timeout)
		defer cancel()
		own = ctx.Value(budgetKey{}).(*budget)
	}
	cfg.LoggingIn = sync.OnceFunc(func() {
		if own != nil {
			own.pause() // ConnectTimeout is over, as in ssh
		}
		if login, _ := route.Value(loginKey{}).(time.Duration); login > 0 {
			context.AfterFunc(ctx, pauseFor(route, login))
		}
	})
	return hop.Dial(ctx, &cfg, func(ctx context.Context) (net.Conn, error) {
		return dial(ctx, l.Host, l.Port)
	})
}
