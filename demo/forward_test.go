package demo

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a flow with a client and a host at its ends; closing both ends it.
func pipes(t *testing.T, idle time.Duration) (f *flow, client, host net.Conn) {
	t.Helper()
	client, left := net.Pipe()
	right, host := net.Pipe()
	f = newFlow(idle)
	done := make(chan struct{})
	go func() { // until both pipes are closed
		f.run(left, right)
		close(done)
	}()
	t.Cleanup(func() {
		for _, c := range []net.Conn{client, left, right, host} {
			c.Close()
		}
		<-done
	})
	return f, client, host
}

// passes reports whether a byte written to one end comes out of the other.
func passes(t *testing.T, from, to net.Conn) bool {
	t.Helper()
	if _, err := from.Write([]byte("x")); err != nil {
		t.Fatalf("write: %v", err)
	}
	to.SetReadDeadline(time.Now().Add(time.Nanosecond))
	_, err := io.ReadFull(to, make([]byte, 1))
	return err == nil
}

func TestFlowForgetsOnlyWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = 3 * time.Second
		f, client, host := pipes(t, idle)
		for range 5 { // either direction keeps both alive
			time.Sleep(idle - time.Millisecond)
			if !passes(t, client, host) {
				t.Fatalf("a byte was swallowed after %v", idle-time.Millisecond)
			}
			time.Sleep(idle - time.Millisecond)
			if !passes(t, host, client) {
				t.Fatalf("a byte back was swallowed after %v", idle-time.Millisecond)
			}
		}
		time.Sleep(idle)
		for range 2 { // for ever, and writes still succeed
			if passes(t, client, host) || passes(t, host, client) {
				t.Fatalf("a byte passed after %v", idle)
			}
		}
		var got stats
		f.addTo(&got)
		if got.forgotten != 1 || got.swallowed != 4 || got.longest < idle {
			t.Errorf("got %+v, want 1 forgotten flow, 4 bytes, longest at least %v", got, idle)
		}
	})
}

func TestFlowIsForgottenUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, _ := pipes(t, time.Second)
		for _, want := range []int{0, 1} {
			var got stats
			f.addTo(&got)
			if got.forgotten != want {
				t.Errorf("after %v got %d forgotten, want %d", got.silence, got.forgotten, want)
			}
			time.Sleep(time.Second)
		}
	})
}

// A flow that is alive passes the end of a direction on; a forgotten one drops
// that too.
func TestFlowEnd(t *testing.T) {
	for name, silence := range map[string]time.Duration{"alive": 0, "forgotten": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, client, host := pipes(t, time.Second)
				time.Sleep(silence)
				client.Close()
				host.SetReadDeadline(time.Now().Add(time.Minute))
				_, err := host.Read(make([]byte, 1))
				if ended := err == io.EOF; ended != (silence == 0) {
					t.Errorf("after %v of silence got %v at the other end", silence, err)
				}
			})
		})
	}
}
