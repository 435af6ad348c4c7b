package proxy

import (
	"context"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A budget stands still while it is paused, and so do those around it.
func TestBudgetPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		outer, cancel := withBudget(t.Context(), 10*time.Second)
		defer cancel()
		inner, cancelInner := withBudget(outer, 4*time.Second)
		defer cancelInner()
		time.Sleep(3 * time.Second)
		resume, again := Pause(inner), Pause(inner)
		time.Sleep(time.Hour)
		resume()
		time.Sleep(time.Hour)
		again()
		<-inner.Done()
		if d := time.Since(start) - 2*time.Hour; d != 4*time.Second || (budgetError{}) != context.Cause(inner) {
			t.Errorf("got an end after %v of its own time by %v, want 4s by the budget", d, context.Cause(inner))
		}
		<-outer.Done()
		if d := time.Since(start) - 2*time.Hour; d != 10*time.Second {
			t.Errorf("got the outer one's end after %v, want 10s", d)
		}
		Pause(t.Context())() // no budget: nothing to stop
		ended, cancelEnded := withBudget(t.Context(), time.Second)
		resume = Pause(ended)
		cancelEnded()
		resume()
		if cause := context.Cause(ended); cause != context.Canceled {
			t.Errorf("got %v, want it cancelled", cause)
		}
	})
}

// Once the user was asked something, the network's being down ends the dial: to
// go on would ask again.
func TestNoRetryAfterAQuestion(t *testing.T) {
	for _, asked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			dials := 0
			r := &Route{
				Base: func(context.Context, string, int) (net.Conn, error) {
					dials++
					return nil, &ConnectError{"h", 22, syscall.ENETUNREACH}
				},
				Host: "h", Port: 22, Budget: 5 * time.Second, Asked: func() bool { return asked }, Log: slog.New(slog.DiscardHandler),
			}
			_, err := r.Dial(t.Context())
			if err == nil || (dials == 1) != asked {
				t.Errorf("asked %v: got %d dials and %v, want one alone where the user was asked", asked, dials, err)
			}
		})
	}
}
