package sshtest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// echo answers on l with what it gets until the test ends. It then closes its
// flows itself, since the end of a flow that was cut off never arrives.
func echo(t *testing.T, l net.Listener) {
	var done sync.WaitGroup
	var mu sync.Mutex // guards conns
	var conns []net.Conn
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			done.Go(func() {
				io.Copy(c, c)
				c.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		done.Wait()
	})
}

// through starts an echo server behind p, and connects to it.
func through(t *testing.T, p *Faults) net.Conn {
	Leaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	For(t).must(err)
	echo(t, l)
	p.Target = l.Addr().String()
	For(t).Faults(p)
	c, err := net.Dial("tcp", p.Addr())
	For(t).must(err)
	t.Cleanup(func() { c.Close() })
	exchange(t, c, "hello")
	return c
}

// exchange sends text and expects it back.
func exchange(t *testing.T, c net.Conn, text string) {
	t.Helper()
	send(t, c, text)
	expect(t, c, text)
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

// silent expects nothing from c for a while: neither bytes nor an end.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := c.Read(make([]byte, 100))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %d bytes, %v; want silence", n, err)
	}
}

// fired waits until a count of p's is above zero.
func fired(t *testing.T, p *Faults, count func(FaultStats) int) {
	t.Helper()
	if !poll(5*time.Second, func() bool { return count(p.Stats()) > 0 }) {
		t.Fatalf("the fault did not fire: %+v", p.Stats())
	}
}

func TestFreezeAndThaw(t *testing.T) {
	for _, d := range []Direction{ToServer, ToClient, Both} {
		p := &Faults{}
		c := through(t, p)
		before := p.Stats()
		p.Freeze(d)
		send(t, c, "late")
		fired(t, p, func(s FaultStats) int { return s.Withheld })
		silent(t, c)
		passed := p.Stats().ToServer - before.ToServer
		if got, want := passed == 4, d == ToClient; got != want {
			t.Errorf("direction %d: %d bytes went to the server", d, passed)
		}
		p.Thaw()
		expect(t, c, "late")
	}
}

func TestFreezeHoldsNewFlowsAndEnds(t *testing.T) {
	p := &Faults{}
	c := through(t, p)
	p.Freeze(Both)
	c.(*net.TCPConn).CloseWrite()
	late, err := net.Dial("tcp", p.Addr())
	For(t).must(err)
	defer late.Close()
	send(t, late, "x")
	silent(t, late)
	silent(t, c)
	p.Thaw()
	expect(t, late, "x")
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := io.Copy(io.Discard, c); n != 0 || err != nil {
		t.Errorf("got %d bytes, %v; want the end", n, err)
	}
}

func TestReset(t *testing.T) {
	p := &Faults{}
	c := through(t, p)
	p.Reset()
	fired(t, p, func(s FaultStats) int { return s.Reset })
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want %v", err, syscall.ECONNRESET)
	}
}

func TestCloseAll(t *testing.T) {
	p := &Faults{}
	c := through(t, p)
	p.CloseAll()
	fired(t, p, func(s FaultStats) int { return s.Closed })
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v, want %v", err, io.EOF)
	}
	c.Close()
	if !poll(5*time.Second, func() bool { return p.Stats().Open == 0 }) {
		t.Errorf("the flow stays open: %+v", p.Stats())
	}
}

func TestForgetIdle(t *testing.T) {
	p := &Faults{ForgetAfter: 200 * time.Millisecond}
	c := through(t, p)
	for range 4 { // twice the limit in all, but never silent for so long
		silent(t, c)
		exchange(t, c, "still here")
	}
	if p.Stats().Forgot != 0 {
		t.Fatalf("forgot a busy flow: %+v", p.Stats())
	}
	for range 3 {
		silent(t, c)
	}
	send(t, c, "too late")
	fired(t, p, func(s FaultStats) int { return s.Forgot })
	silent(t, c)
}

func TestForget(t *testing.T) {
	p := &Faults{}
	c := through(t, p)
	p.Forget()
	send(t, c, "lost")
	silent(t, c)
	fired(t, p, func(s FaultStats) int { return s.Forgot })
	next, err := net.Dial("tcp", p.Addr())
	For(t).must(err)
	defer next.Close()
	exchange(t, next, "another flow")
}

func TestRefuse(t *testing.T) {
	p := &Faults{}
	c := through(t, p)
	for range 3 {
		p.Refuse()
		if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("got %v, want %v", err, syscall.ECONNREFUSED)
		}
		exchange(t, c, "the open flow")
		For(t).must(p.Admit())
		next, err := net.Dial("tcp", p.Addr())
		For(t).must(err)
		exchange(t, next, "a new flow")
		next.Close()
	}
}

// TestListenAndRedirect: flows come from the address that they are listened for
// on, and go to the target of the day.
func TestListenAndRedirect(t *testing.T) {
	p := &Faults{Listen: "127.0.0.9:0"}
	c := through(t, p)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	For(t).must(err)
	defer l.Close()
	p.Redirect(l.Addr().String())
	exchange(t, c, "the old target")
	next, err := net.Dial("tcp", p.Addr())
	For(t).must(err)
	defer next.Close()
	came, err := l.Accept()
	For(t).must(err)
	defer came.Close()
	if got := came.RemoteAddr().(*net.TCPAddr).IP.String(); got != "127.0.0.9" {
		t.Errorf("comes from %s, want 127.0.0.9", got)
	}
}

func TestSlice(t *testing.T) {
	p := &Faults{Slice: true}
	c := through(t, p)
	exchange(t, c, "one byte at a time")
	if s := p.Stats(); int64(s.Slices) != s.ToServer+s.ToClient || s.Slices == 0 {
		t.Errorf("got %d writes for %d bytes", s.Slices, s.ToServer+s.ToClient)
	}
}

func TestHalfClose(t *testing.T) {
	c := through(t, &Faults{})
	send(t, c, "last words")
	c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "last words" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestNoTarget(t *testing.T) {
	Leaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	For(t).must(err)
	l.Close()
	p := For(t).Faults(&Faults{Target: l.Addr().String()})
	c, err := net.Dial("tcp", p.Addr())
	if err == nil { // else the reset was here before Dial returned
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want %v", err, syscall.ECONNRESET)
	}
}
