//go:build linux

package sshtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// serve starts an echo server in ns and returns its address.
func serve(t *testing.T, ns *Netns) string {
	t.Helper()
	l := listen(t, ns)
	echo(t, l)
	return l.Addr().String()
}

func listen(t *testing.T, ns *Netns) (l net.Listener) {
	t.Helper()
	For(t).must(ns.Do(func() (err error) {
		l, err = net.Listen("tcp", ns.Addr+":0")
		return err
	}))
	return l
}

// dial connects from ns, without TCP keepalive.
func dial(t *testing.T, ns *Netns, addr string) (c net.Conn, err error) {
	t.Helper()
	dialer := net.Dialer{KeepAlive: -1, Timeout: 5 * time.Second}
	err = ns.Do(func() error {
		c, err = dialer.DialContext(context.Background(), "tcp", addr)
		return err
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func TestFirewallForgets(t *testing.T) {
	Leaks(t)
	r := For(t)
	f := r.Firewall(2 * time.Second)
	c, err := dial(t, f.Client, serve(t, f.Server))
	r.must(err)
	exchange(t, c, "hello")
	known := func() int {
		n, err := f.Known()
		r.must(err)
		return n
	}
	dropped := func() int {
		n, err := f.Dropped()
		r.must(err)
		return n
	}
	if known() != 1 || dropped() != 0 {
		t.Fatalf("got %d connections and %d packets dropped, want 1 and 0", known(), dropped())
	}
	if !poll(6*time.Second, func() bool { return known() == 0 }) {
		t.Fatal("the firewall does not forget")
	}
	send(t, c, "too late")
	silent(t, c)
	if dropped() == 0 {
		t.Error("no packet was dropped")
	}
}

func TestSSHThroughFirewall(t *testing.T) {
	r := For(t)
	f, c := r.Firewall(time.Minute), r.Client()
	s := r.Sshd(SshdConfig{In: f.Server})
	r.must(c.AddHost("inside", s))
	cmd := f.Client.Enter(c.Command(within(t, 10*time.Second), "inside", "echo $SSH_CONNECTION"))
	out, err := cmd.CombinedOutput()
	if want := "198.51.100.2 "; err != nil || len(out) < len(want) || string(out[:len(want)]) != want {
		t.Errorf("got %q, %v; want %q first", out, err, want)
	}
	// A dial from here would leave by the machine's own gateway.
	if _, err := net.Listen("tcp", s.HostPort()); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("got %v, want the server's address in its namespace alone", err)
	}
}

func TestLinkUpAndDown(t *testing.T) {
	Leaks(t)
	r := For(t)
	l := r.Link()
	addr := serve(t, l.Server)
	if _, err := dial(t, l.Client, addr); !errors.Is(err, syscall.ENETUNREACH) {
		t.Fatalf("got %v, want %v", err, syscall.ENETUNREACH)
	}
	for range 2 {
		r.must(l.Up())
		c, err := dial(t, l.Client, addr)
		r.must(err)
		exchange(t, c, "up")
		r.must(l.Down())
		send(t, c, "held")
		silent(t, c)
		r.must(l.Up())
		expect(t, c, "held")
		r.must(l.Down())
	}
}

func TestDelay(t *testing.T) {
	Leaks(t)
	r := For(t)
	d := r.Delay(50 * time.Millisecond)
	c, err := dial(t, d.Client, serve(t, d.Server))
	r.must(err)
	var worst time.Duration
	for i := range 10 {
		begin := time.Now()
		exchange(t, c, fmt.Sprint(i))
		rtt := time.Since(begin)
		worst = max(worst, rtt)
		if rtt < 100*time.Millisecond || rtt > time.Second { // late is the machine's doing
			t.Errorf("round trip %d took %v, want 100 ms", i, rtt)
		}
	}
	t.Logf("slowest of 10 round trips: %v", worst)
}

// TestDelayIsWide carries much in flight at once. How fast that is, is
// BenchmarkDelay's to tell.
func TestDelayIsWide(t *testing.T) {
	Leaks(t)
	r := For(t)
	d := r.Delay(5 * time.Millisecond)
	rate := bulk(t, d, 200<<20)
	t.Logf("%.0f MB/s", rate/1e6)
}

// BenchmarkDelay is the rate of one TCP connection at 100 ms, its slow start included.
func BenchmarkDelay(b *testing.B) {
	d := For(b).Delay(50 * time.Millisecond)
	for b.Loop() {
		b.ReportMetric(bulk(b, d, 2<<30)/1e6, "MB/s")
	}
}

// bulk sends n bytes from the client to the server and returns bytes per second.
func bulk(tb testing.TB, d *Delay, n int64) float64 {
	r := For(tb)
	var l net.Listener
	r.must(d.Server.Do(func() (err error) {
		l, err = net.Listen("tcp", d.Server.Addr+":0")
		return err
	}))
	defer l.Close()
	got := make(chan int64, 1)
	go func() { // until the sender, below, closes its end
		defer close(got)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, c, make([]byte, 1<<20))
		got <- n
	}()
	var c net.Conn
	r.must(d.Client.Do(func() (err error) {
		c, err = net.Dial("tcp", l.Addr().String())
		return err
	}))
	begin := time.Now()
	block := make([]byte, 1<<20)
	for sent := int64(0); sent < n; sent += int64(len(block)) {
		if _, err := c.Write(block); err != nil {
			tb.Fatal(err)
		}
	}
	c.Close()
	if arrived := <-got; arrived != n {
		tb.Fatalf("%d of %d bytes arrived", arrived, n)
	}
	return float64(n) / time.Since(begin).Seconds()
}
