package hop

import (
	"context"
	"net"
	"testing"
	"time"
)

// Both of these end although the library hangs; what it leaves is goroutines
// that hold nothing, so that no bubble of fake time could end.

// within fails the test unless f ends soon.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { // ends with f
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: got no end", what)
	}
}

func rawHop(t *testing.T, set func(*raw)) *Hop {
	t.Helper()
	r, near := newRaw(t)
	set(r)
	go r.serve() // ends with the pipe
	h, err := Dial(t.Context(), newConfig(t), func(context.Context) (net.Conn, error) { return near, nil })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestR9OpenWhileTheHopEnds: a Dial that begins while the connection breaks
// fails as well, or ends with its context.
func TestR9OpenWhileTheHopEnds(t *testing.T) {
	for range 20 {
		h := rawHop(t, func(r *raw) {
			r.undecid = func(r *raw, id uint32) {
				r.send(message(msgOpenFailure, number(id), number(1), text("x"), text("")))
			}
		})
		within(t, "dials and close", func() {
			for range 2 { // the second one while the answer too many to the first ends the connection
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				h.Dial(ctx, "target", 22)
				cancel()
			}
			h.Close()
		})
	}
}

// TestR9CloseOfAFloodedHop: a hop whose host broke the protocol, and goes on
// sending, ends and can be closed.
func TestR9CloseOfAFloodedHop(t *testing.T) {
	h := rawHop(t, func(r *raw) {
		r.opened = func(r *raw, _ uint32) {
			r.send(message(msgChannelData, number(hostileUnknownChan), text("x"))) // ends x/crypto's mux
			for range 100 {
				r.send([]byte{msgRequestFailure}) // more than its read loop buffers
			}
		}
	})
	within(t, "dial and close", func() {
		h.Dial(t.Context(), "target", 22)
		h.Close()
	})
	if h.Err() == nil {
		select {
		case <-h.Done():
		default:
			t.Error("got a hop that goes on, want it ended")
		}
	}
}
