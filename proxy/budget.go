package proxy

import (
	"context"
	"sync"
	"time"
)

// budgetError is the cause of a context that ended with its budget.
type budgetError struct{}

func (budgetError) Error() string   { return "Connection timed out" }
func (budgetError) Timeout() bool   { return true }
func (budgetError) Temporary() bool { return true }

// budget is the time that a context has left. It stands still while somebody
// is asked: to think is not to be slow.
type budget struct {
	parent *budget

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	left    time.Duration // as of since, or of the first of the pauses
	since   time.Time
	pauses  int
	stopped bool
}

type budgetKey struct{}

// withBudget is context.WithTimeoutCause for a time that Pause can stop.
func withBudget(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	parent, _ := ctx.Value(budgetKey{}).(*budget)
	b := &budget{parent: parent, left: d, since: time.Now()}
	b.timer = time.AfterFunc(d, func() { cancel(budgetError{}) })
	return context.WithValue(ctx, budgetKey{}, b), func() {
		b.mu.Lock()
		b.stopped = true
		b.timer.Stop()
		b.mu.Unlock()
		cancel(context.Canceled)
	}
}

// Pause stops the budgets of ctx, which Route.Dial made, until resume is called.
func Pause(ctx context.Context) (resume func()) {
	b, _ := ctx.Value(budgetKey{}).(*budget)
	for p := b; p != nil; p = p.parent {
		p.pause()
	}
	return func() {
		for p := b; p != nil; p = p.parent {
			p.resume()
		}
	}
}

// pauseFor is Pause that ends by itself after d.
func pauseFor(ctx context.Context, d time.Duration) (resume func()) {
	once := sync.OnceFunc(Pause(ctx))
	end := time.AfterFunc(d, once)
	return func() {
		end.Stop()
		once()
	}
}

func (b *budget) pause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pauses++; b.pauses == 1 {
		b.timer.Stop()
		b.left -= time.Since(b.since)
	}
}

func (b *budget) resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pauses--; b.pauses == 0 && !b.stopped {
		b.since = time.Now()
		b.timer.Reset(max(b.left, 0))
	}
}
