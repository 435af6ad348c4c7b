package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// lane is a transport of one channel.
type lane struct {
	near, far *pipeEnd
	used      bool
	drops     bool // with the transport what is under way, as sshd does
}

func (w *lane) Open(context.Context) (net.Conn, error) {
	if w.used {
		return nil, errors.New("one channel only")
	}
	w.used = true
	return w.near, nil
}

func (w *lane) Close() error {
	if w.drops {
		w.far.fail(io.ErrUnexpectedEOF)
	}
	return w.near.Close()
}

func (w *lane) freeze(d time.Duration) { w.near.freeze(d); w.far.freeze(d) }
func (w *lane) slow(delay time.Duration) {
	w.near.p.mu.Lock()
	defer w.near.p.mu.Unlock()
	w.near.out.delay, w.far.out.delay = delay, delay
}
func (w *lane) cut() { w.near.fail(syscall.ECONNRESET); w.far.fail(syscall.ECONNRESET) }

// kept is a client's stream, the relay it is kept at, and its ways there.
type kept struct {
	*Stream
	server *Server
	target *pipeEnd // the far end of the target's connection
	ways   []*lane
	dials  int
	refuse error         // by Dial
	login  time.Duration // that a Dial after the first takes
	delay  time.Duration // of what the client sends on later ways
	events chan struct{}
	drops  bool // see lane
	gently bool // is what a refusal means
}

// keep runs test with a stream whose target says nothing by itself.
func keep(t *testing.T, k *kept, test func()) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := newPipe(1 << 16)
		k.target, k.events = far, make(chan struct{}, 1)
		go io.Copy(io.Discard, far)
		k.server = &Server{Dial: func(context.Context, string, time.Duration) (net.Conn, error) { return near, nil }}
		var err error
		k.Stream, err = Dial(t.Context(), &Config{
			Dial: k.dial, Judge: k.judge, Target: func() string { return "x" },
			Interval: 10 * time.Second, Keep: 24 * time.Hour, Events: k.events, Log: discard,
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		test()
		near.Close()
		far.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		k.Shutdown(ctx)
		cancel()
		k.server.Close()
		time.Sleep(time.Minute)
	})
}

func (k *kept) dial(ctx context.Context) (Transport, error) {
	if k.dials++; k.dials > 1 {
		select {
		case <-time.After(k.login):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if k.refuse != nil {
			return nil, k.refuse
		}
	}
	w := &lane{drops: k.drops}
	w.near, w.far = newPipe(1 << 20)
	w.near.out.delay, w.far.out.delay = time.Millisecond, time.Millisecond
	if k.dials > 1 {
		w.near.out.delay += k.delay
	}
	k.ways = append(k.ways, w)
	go k.server.Serve(w.far)
	return w, nil
}

func (k *kept) judge(error) Verdict {
	if k.gently {
		return Gently
	}
	return Hold
}

func (k *kept) attached() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.link != nil
}

// An acknowledgement on a link that comes back to life must not overtake the
// attach that replaces it.
func TestLinkThawsDuringAttach(t *testing.T) {
	k := &kept{delay: 200 * time.Millisecond}
	keep(t, k, func() {
		go func() { // a steady download; ends with the target
			for {
				if _, err := k.target.Write(make([]byte, 10_000)); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
		go io.Copy(io.Discard, k.Stream)
		time.Sleep(time.Second)
		k.ways[0].freeze(6850 * time.Millisecond)
		k.Write([]byte("x"))
		time.Sleep(20 * time.Second)
		if !k.attached() || k.Err() != nil || k.link.generation != 2 {
			t.Errorf("attached %v, %v, after %d dials; want the second link", k.attached(), k.Err(), k.dials)
		}
	})
}

// What an attempt beside a stalled link came to does not outlast the stall.
func TestRefusalDuringStall(t *testing.T) {
	k := &kept{refuse: errors.New("nobody answers")}
	keep(t, k, func() {
		k.ways[0].freeze(25 * time.Second) // more than two intervals, less than three
		time.Sleep(40 * time.Second)
		if !k.attached() || k.dials != 2 {
			t.Fatalf("attached %v after %d dials, want the old link and one attempt beside it", k.attached(), k.dials)
		}
		k.refuse = nil
		time.Sleep(5 * time.Minute)
		k.ways[0].cut()
		time.Sleep(time.Second)
		if !k.attached() {
			t.Error("not attached again")
		}
	})
}

// A refused login is repeated after a while, and not more often than that.
func TestRefused(t *testing.T) {
	k := &kept{refuse: errors.New("permission denied")}
	keep(t, k, func() {
		k.ways[0].cut()
		var got []int
		for _, wait := range []time.Duration{50 * time.Second, 20 * time.Second, 6 * time.Minute, 16 * time.Minute, 2 * time.Hour} {
			before := k.dials
			time.Sleep(wait)
			got = append(got, k.dials-before)
		}
		if want := [5]int{1, 1, 1, 1, 2}; [5]int(got) != want {
			t.Errorf("logins: got %v, want %v", got, want)
		}
		k.refuse = nil
		time.Sleep(time.Hour)
		if !k.attached() {
			t.Error("not attached once it was let in")
		}
	})
}

// sshd shuts a source out for 15 s, and longer if it goes on.
func TestGently(t *testing.T) {
	for range 20 { // by chance
		k := &kept{refuse: errors.New("not allowed at this time"), gently: true}
		keep(t, k, func() {
			before := k.dials
			k.ways[0].cut()
			time.Sleep(15 * time.Second)
			if got := k.dials - before; got != 4 {
				t.Errorf("%d logins in 15 s, want 4", got)
			}
		})
	}
}

// A network that comes and goes neither keeps logins from their end nor makes
// many of them.
func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		name         string
		every, login time.Duration
		refuse       error
		most         int
	}{
		{"shorter than a login", 300 * time.Millisecond, 400 * time.Millisecond, nil, 1},
		{"longer than half a login", 5 * time.Second, 6 * time.Second, nil, 2},
		{"refused", 300 * time.Millisecond, 40 * time.Millisecond, errors.New("permission denied"), 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &kept{login: tt.login, refuse: tt.refuse}
			keep(t, k, func() {
				k.ways[0].cut()
				for range int(time.Minute / tt.every) {
					time.Sleep(tt.every)
					select {
					case k.events <- struct{}{}:
					default:
					}
				}
				if got := k.dials - 1; got < 1 || got > tt.most {
					t.Errorf("got %d logins in a minute, want 1 to %d", got, tt.most)
				}
				if k.attached() != (tt.refuse == nil) {
					t.Errorf("attached: %v", k.attached())
				}
			})
		})
	}
}

// An event makes a held login be tried at once.
func TestEventFrees(t *testing.T) {
	k := &kept{refuse: errors.New("permission denied")}
	keep(t, k, func() {
		k.ways[0].cut()
		time.Sleep(2 * time.Minute)
		k.refuse = nil
		k.events <- struct{}{}
		time.Sleep(time.Second)
		if !k.attached() {
			t.Error("not attached after an event")
		}
	})
}

// The relay hears that it is over, although our transport goes at once.
func TestLastWordArrives(t *testing.T) {
	k := &kept{drops: true}
	keep(t, k, func() {
		go io.Copy(io.Discard, k.Stream)
		k.target.CloseWrite()
		k.CloseWrite()
		time.Sleep(time.Second) // the relay has closed
		if !k.PeerClosed() || k.server.Busy() != 1 {
			t.Fatalf("peer closed: %v, %d streams at the relay", k.PeerClosed(), k.server.Busy())
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := k.Shutdown(ctx); err != nil || time.Since(start) > 10*time.Millisecond {
			t.Errorf("%v after %v, want an end within some round trips", err, time.Since(start))
		}
		synctest.Wait()
		if n := k.server.Busy(); n != 0 {
			t.Errorf("%d streams are left at the relay", n)
		}
	})
}

// What the peer says does not show that it hears us.
func TestUnheardKeystroke(t *testing.T) {
	k := &kept{}
	keep(t, k, func() {
		go io.Copy(io.Discard, k.Stream)
		k.ways[0].near.freeze(time.Hour) // nothing of ours comes through
		k.Write([]byte("x"))
		time.Sleep(100 * time.Millisecond)
		k.target.Write([]byte("words"))
		time.Sleep(100 * time.Millisecond)
		k.ways[0].far.freeze(time.Hour)
		time.Sleep(dataPatience)
		if !k.attached() || k.link.generation != 2 {
			t.Errorf("attached: %v after %d dials, want the second link", k.attached(), k.dials)
		}
	})
}

// A PONG shows nothing of the data that went out with its PING.
func TestPingBesideData(t *testing.T) {
	k := &kept{}
	keep(t, k, func() {
		go io.Copy(io.Discard, k.Stream)
		k.Write([]byte("a")) // so that a ping is due with the next, and none of silence before
		time.Sleep(9500 * time.Millisecond)
		w := k.ways[0]
		w.near.p.mu.Lock()
		ping := pipeFault{w.near.out.read + headerSize + 2*offsetSize, func() { w.near.freeze(time.Hour) }}
		w.near.out.faults = append(w.near.out.faults, ping)
		w.near.p.mu.Unlock()
		k.Write([]byte("x"))
		time.Sleep(dataPatience)
		if k.dials != 2 || len(w.near.out.faults) > 0 {
			t.Errorf("%d dials after the data was lost, want a second link", k.dials)
		}
	})
}

// What is read after the end is no longer counted.
func TestReadFromAfterEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		s := newStream(id{}, secret{}, m)
		r, w := io.Pipe()
		done := make(chan struct{})
		go func() { // ends with what is read after the end
			s.ReadFrom(r)
			close(done)
		}()
		w.Write([]byte("before"))
		synctest.Wait()
		s.finish(net.ErrClosed)
		w.Write([]byte("after"))
		<-done
		if got := m.used.Load(); got != 0 {
			t.Errorf("got %d bytes of memory in use, want 0", got)
		}
	})
}

// Both ends follow the path as it gets longer and shorter under a link, and take
// what stands in the way of bulk for no part of it.
func TestRoundTripFollows(t *testing.T) {
	k := &kept{}
	keep(t, k, func() {
		go io.Copy(io.Discard, k.Stream)
		there := k.server.streams[k.id].Stream
		for _, tt := range []struct {
			delay         time.Duration // one way
			up, down      int           // bytes at a time
			every         time.Duration
			client, relay time.Duration // what they take for the round trip
		}{
			{1 * time.Millisecond, 1, 1, time.Second, 2 * time.Millisecond, 2 * time.Millisecond},
			{50 * time.Millisecond, 1, 1, time.Second, 100 * time.Millisecond, 100 * time.Millisecond},
			{5 * time.Millisecond, 1, 1, time.Second, 10 * time.Millisecond, 10 * time.Millisecond},
			{20 * time.Millisecond, 10_000, 10_000, 10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond},
			{2 * time.Millisecond, 10_000, 10_000, 10 * time.Millisecond, 4 * time.Millisecond, 4 * time.Millisecond},
			{20 * time.Millisecond, 0, 50_000, 9 * time.Second, 40 * time.Millisecond, 4 * time.Millisecond}, // the client sends ACKs alone
		} {
			k.ways[0].slow(tt.delay)
			for start := time.Now(); time.Since(start) < 2*time.Minute; time.Sleep(tt.every) {
				k.Write(make([]byte, tt.up))
				k.target.Write(make([]byte, tt.down))
			}
			k.mu.Lock()
			there.mu.Lock()
			if k.link.rtt != tt.client || there.link.rtt != tt.relay || k.link.generation != 1 {
				t.Errorf("%v one way, %d and %d bytes every %v: round trips of %v and %v on link %d, want %v and %v", tt.delay, tt.up, tt.down, tt.every,
					k.link.rtt, there.link.rtt, k.link.generation, tt.client, tt.relay)
			}
			there.mu.Unlock()
			k.mu.Unlock()
		}
	})
}

// A line that answers ever more slowly is not given up, and is no longer waited for
// once it is fast again.
func TestSlowLine(t *testing.T) {
	k := &kept{refuse: errors.New("nobody answers")}
	keep(t, k, func() {
		go io.Copy(io.Discard, k.Stream)
		for _, delay := range []time.Duration{4 * time.Second, 6 * time.Second, time.Millisecond} {
			k.ways[0].slow(delay)
			for range 2 { // keys: too few to believe a longer round trip
				k.Write([]byte("x"))
				time.Sleep(15 * time.Second)
			}
			if !k.attached() || k.link.generation != 1 {
				t.Fatalf("attached: %v, with %v one way", k.attached(), delay)
			}
		}
		k.refuse = nil
		k.ways[0].freeze(time.Hour)
		k.Write([]byte("x"))
		time.Sleep(dataPatience)
		k.events <- struct{}{} // which lets a login be repeated
		time.Sleep(time.Second)
		if !k.attached() || k.link.generation == 1 {
			t.Errorf("attached: %v after %d dials, want a new link", k.attached(), k.dials)
		}
	})
}
