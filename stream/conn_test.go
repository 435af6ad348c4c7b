//go:build unix

package stream

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// A way makes the two ends of a channel.
type way struct {
	name string
	pair func() (near, far net.Conn, err error)
}

var ways = []way{{"pipe", bufferedPair}, {"socketpair", socketpair}}

func bufferedPair() (near, far net.Conn, err error) {
	near, far = newPipe(simRoom)
	return near, far, nil
}

// socketpair is what sshd gives a command: a pair of unix sockets.
func socketpair() (near, far net.Conn, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		defer f.Close()
		if ends[i], err = net.FileConn(f); err != nil {
			return nil, nil, err
		}
	}
	return ends[0], ends[1], nil
}

// A pairNet is a network of real time between a client and a Server, each
// transport one pair of connections for each channel.
type pairNet struct {
	way     way
	srv     *Server
	serving sync.WaitGroup

	attached chan struct{} // has one in it after a new attach
	attaches *atomic.Int32

	mu   sync.Mutex // guards what follows
	ends []net.Conn // all that are up, of both sides
}

func (n *pairNet) dial(context.Context) (Transport, error) { return &pairTransport{n: n}, nil }

// changed is Config.Changed.
func (n *pairNet) changed(err error) {
	if err != nil {
		return
	}
	n.attaches.Add(1)
	select {
	case n.attached <- struct{}{}:
	default:
	}
}

type pairTransport struct {
	n    *pairNet
	mu   sync.Mutex // guards near
	near []net.Conn
}

func (t *pairTransport) Open(context.Context) (net.Conn, error) {
	near, far, err := t.n.way.pair()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.near = append(t.near, near)
	t.mu.Unlock()
	t.n.mu.Lock()
	t.n.ends = append(t.n.ends, near, far)
	t.n.mu.Unlock()
	t.n.serving.Go(func() { t.n.srv.Serve(far) })
	return near, nil
}

func (t *pairTransport) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.near {
		c.Close()
	}
	return nil
}

// cut ends all channels.
func (n *pairNet) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.ends {
		c.Close()
	}
	n.ends = nil
}

// streamPair is a stream over ways w, and what its server has dialed.
func streamPair(w way, attaches *atomic.Int32) (n *pairNet, client *Stream, target net.Conn, err error) {
	targets := make(chan net.Conn, 1)
	n = &pairNet{way: w, attached: make(chan struct{}, 1), attaches: attaches}
	n.srv = &Server{Dial: func(context.Context, string, time.Duration) (net.Conn, error) {
		here, there := newPipe(simRoom)
		targets <- there
		return here, nil
	}}
	client, err = Dial(context.Background(), &Config{Dial: n.dial, Target: func() string { return "localhost:22" }, Interval: time.Second, Keep: time.Hour, Log: discard, Changed: n.changed})
	if err != nil {
		return nil, nil, nil, err
	}
	return n, client, <-targets, nil
}

// end waits for all that is left.
func (n *pairNet) end(client *Stream, target net.Conn) {
	target.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client.Shutdown(ctx)
	n.srv.Close()
	n.serving.Wait()
}

// TestConn: a stream is a net.Conn like any other, also one that has been cut,
// and one that is cut all the time.
func TestConn(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Run("fresh", func(t *testing.T) {
				testConn(t, w, func(*pairNet) func() { return func() {} })
			})
			t.Run("resumed", func(t *testing.T) {
				testConn(t, w, func(n *pairNet) func() {
					n.cut()
					<-n.attached
					return func() {}
				})
			})
			t.Run("cut often", func(t *testing.T) {
				if n := testConn(t, w, cutOften); n < 20 {
					t.Errorf("attached anew %d times: too few", n)
				}
			})
		})
	}
}

// testConn returns how often the streams were attached anew.
func testConn(t *testing.T, w way, trouble func(*pairNet) (stop func())) int32 {
	var attaches atomic.Int32
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		n, client, target, err := streamPair(w, &attaches)
		if err != nil {
			return nil, nil, nil, err
		}
		calm := trouble(n)
		return client, target, func() {
			calm()
			n.end(client, target)
		}, nil
	})
	return attaches.Load()
}

// cutOften cuts every 2 ms.
func cutOften(n *pairNet) (stop func()) {
	ended := make(chan struct{})
	var cutting sync.WaitGroup
	cutting.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				n.cut()
			}
		}
	})
	return func() {
		close(ended)
		cutting.Wait()
	}
}

// TestNoHello: who comes while too many shake hands can tell that from a lost link.
func TestNoHello(t *testing.T) {
	n := &pairNet{way: ways[0], srv: &Server{handshakes: maxHandshakes}}
	_, err := Dial(t.Context(), &Config{Dial: n.dial, Target: func() string { return "" }, Interval: time.Second, Keep: time.Hour, Log: discard})
	if !errors.Is(err, ErrNoHello) {
		t.Errorf("got %v, want %v", err, ErrNoHello)
	}
	n.serving.Wait()
}
