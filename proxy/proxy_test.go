//go:build linux

package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssh-stay/auth"
	"ssh-stay/hop"
	"ssh-stay/internal/sshtest"
)

var discard = slog.New(slog.DiscardHandler)

func dialer() *Dialer { return &Dialer{TOS: -1, Log: discard} }

// echo listens and answers each connection with what it sends, until EOF.
func echo(t *testing.T) (string, int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends when the test closes the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	at := l.Addr().(*net.TCPAddr)
	return at.IP.String(), at.Port
}

// hopTo is a leg to a real sshd that logs in with c's key.
func hopTo(t *testing.T, c *sshtest.Client, s *sshtest.Sshd) Leg {
	known, err := auth.ReadKnownHosts([]string{c.KnownHosts})
	if err != nil {
		t.Fatal(err)
	}
	return Leg{Host: s.Addr, Port: s.Port, Hop: &hop.Config{
		Name: "jump", Log: discard, Interval: time.Second, GiveUp: time.Minute,
		HostKeys: &auth.HostKeys{Host: s.Addr, Port: s.Port, Known: known},
		Login: &auth.Login{
			User: s.User, IdentityFiles: []string{c.Key.Path}, Publickey: true,
			Accepted: []string{"ssh-ed25519"}, Log: discard,
		},
	}}
}

// TestNothingLeft: a route that was dialed, used and closed leaves no goroutine
// and no descriptor, however it ended.
func TestNothingLeft(t *testing.T) {
	rig := sshtest.For(t)
	client := rig.Client()
	j1, j2 := rig.Host(client, "j1"), rig.Host(client, "j2")
	host, port := echo(t)
	for name, legs := range map[string]func(t *testing.T) []Leg{
		"direct": func(*testing.T) []Leg { return nil },
		"one":    func(t *testing.T) []Leg { return []Leg{hopTo(t, client, j1)} },
		"two":    func(t *testing.T) []Leg { return []Leg{hopTo(t, client, j1), hopTo(t, client, j2)} },
	} {
		for _, end := range []string{"eof", "cancel", "gone", "refused"} {
			t.Run(name+"/"+end, func(t *testing.T) {
				sshtest.Leaks(t)
				before := sockets()
				route := &Route{Base: dialer().Dial, Legs: legs(t), Host: host, Port: port, Budget: 10 * time.Second, Log: discard}
				if end == "refused" {
					route.Port = 1
				}
				play(t, route, end)
				sshtest.For(t).Eventually(5*time.Second, "end of all sockets", func() bool { return sockets() <= before })
			})
		}
	}
}

// sockets counts our own. (The runtime keeps pipes, to splice with.)
func sockets() int {
	fds, _ := sshtest.OpenFDs(os.Getpid())
	return strings.Count(strings.Join(fds, "\n"), "socket:")
}

// play runs a route from its dial to the end named.
func play(t *testing.T, route *Route, end string) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	conn, err := route.Dial(ctx)
	if end == "refused" {
		if err == nil {
			t.Error("got a connection, want a refusal")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in, toUs, _ := os.Pipe()
	fromUs, out, _ := os.Pipe()
	client := NewClient(in, out)
	done := make(chan error, 1)
	go func() { done <- Splice(ctx, client, conn) }() // received below
	io.WriteString(toUs, "hello")
	if _, err := io.ReadFull(fromUs, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	var want error
	switch end {
	case "eof":
		toUs.Close()
	case "cancel":
		cancel(stop)
		want = stop
	case "gone":
		fromUs.Close()
		want = ErrClientGone
	}
	if err := <-done; !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	toUs.Close()
	conn.Close()
	fromUs.Close()
	out.Close()
	in.Close()
}

// TestPipesGrow: ssh's pipes stay as they are for keystrokes and grow for bulk,
// except for what the kernel splices.
func TestPipesGrow(t *testing.T) {
	client := sshtest.For(t).Client()
	j := sshtest.For(t).Host(client, "j")
	host, port := echo(t)
	for _, tt := range []struct {
		name string
		legs []Leg
		want [2]int // bytes that the pipes from ssh and to it hold in the end
	}{
		{"direct", nil, [2]int{pipeSize, 64 << 10}},
		{"hop", []Leg{hopTo(t, client, j)}, [2]int{pipeSize, pipeSize}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			route := &Route{Base: dialer().Dial, Legs: tt.legs, Host: host, Port: port, Budget: 10 * time.Second, Log: discard}
			conn, err := route.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			in, toUs, _ := os.Pipe()
			fromUs, out, _ := os.Pipe()
			done := make(chan error, 1)
			go func() { done <- Splice(t.Context(), NewClient(in, out), conn) }() // received below
			pass := func(n int) {
				t.Helper()
				go toUs.Write(make([]byte, n)) // ends when Splice has taken it
				if _, err := io.CopyN(io.Discard, fromUs, int64(n)); err != nil {
					t.Fatal(err)
				}
			}
			sizes := func() [2]int { return [2]int{pipeHolds(t, toUs), pipeHolds(t, fromUs)} }
			before := sizes()
			for range 100 {
				pass(1 << 10)
			}
			if got := sizes(); got != before {
				t.Errorf("after keystrokes: got pipes of %d bytes, want %d", got, before)
			}
			for range 100 { // whether a turn takes as much as a pipe holds is up to the scheduler
				pass(1 << 20)
			}
			if got := sizes(); got != tt.want {
				t.Errorf("after bulk: got pipes of %d bytes, want %d", got, tt.want)
			}
			toUs.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
			fromUs.Close()
			in.Close()
		})
	}
}

func pipeHolds(t *testing.T, f *os.File) (n int) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { n, err = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFallBack: an address that refuses, or never answers, does not keep the
// next one of the name waiting.
func TestFallBack(t *testing.T) {
	_, port := echo(t)
	silent := netip.MustParseAddr("127.0.0.3")
	drop := backlogged(t, netip.AddrPortFrom(silent, uint16(port)))
	defer drop()
	for _, first := range []netip.Addr{netip.MustParseAddr("127.0.0.2"), silent} {
		conn, err := dialer().race(t.Context(), []netip.Addr{first, netip.MustParseAddr("127.0.0.1")}, port)
		if err != nil {
			t.Fatalf("first %v: %v", first, err)
		}
		if got := conn.RemoteAddr().(*net.TCPAddr).IP.String(); got != "127.0.0.1" {
			t.Errorf("first %v: got %v, want 127.0.0.1", first, got)
		}
		conn.Close()
	}
}

// backlogged listens at addr with its queue full: it answers no more SYN.
func backlogged(t *testing.T, addr netip.AddrPort) func() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}),
		unix.Listen(fd, 0),
	); err != nil {
		t.Fatal(err)
	}
	var held []net.Conn
	for range 8 {
		c, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err != nil { // full
			return func() {
				unix.Close(fd)
				for _, c := range held {
					c.Close()
				}
			}
		}
		held = append(held, c)
	}
	t.Fatal("the queue takes everything: nothing is tested")
	return nil
}

// TestFamilyAndBind: the filters filter.
func TestFamilyAndBind(t *testing.T) {
	host, port := echo(t)
	for _, tc := range []struct {
		d    Dialer
		want string // "" for success
		from string
	}{
		{Dialer{Family: "inet"}, "", ""},
		{Dialer{Family: "inet6"}, "Could not resolve hostname 127.0.0.1", ""},
		{Dialer{BindAddress: "127.0.0.9"}, "", "127.0.0.9"},
		{Dialer{BindAddress: "::1"}, "no address of the target's family", ""},
		{Dialer{BindInterface: "lo"}, "", "127.0.0.1"},
		{Dialer{BindInterface: "nosuch0"}, "bind to nosuch0", ""},
	} {
		tc.d.TOS, tc.d.Log = -1, discard
		conn, err := tc.d.Dial(t.Context(), host, port)
		if err != nil {
			if tc.want == "" || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%+v: got %v, want %q", tc.d, err, tc.want)
			}
			continue
		}
		if tc.want != "" {
			t.Errorf("%+v: got a connection, want %q", tc.d, tc.want)
		}
		if got := conn.LocalAddr().(*net.TCPAddr).IP.String(); tc.from != "" && got != tc.from {
			t.Errorf("%+v: got from %s, want %s", tc.d, got, tc.from)
		}
		conn.Close()
	}
}

// TestConnectionAttempts: that many rounds, a second apart.
func TestConnectionAttempts(t *testing.T) {
	d := dialer()
	d.Attempts = 2
	start := time.Now()
	_, err := d.Dial(t.Context(), "127.0.0.1", 1)
	if took := time.Since(start); !errors.Is(err, syscall.ECONNREFUSED) || took < time.Second {
		t.Errorf("got %v after %v, want a refusal after 1 s", err, took)
	}
}

// TestMark: the socket carries the TOS and the probes asked for.
func TestMark(t *testing.T) {
	host, port := echo(t)
	d := &Dialer{TOS: 0x48, KeepAlive: true, Interval: 7 * time.Second, GiveUp: 70 * time.Second, Log: discard}
	conn, err := d.Dial(t.Context(), host, port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, _ := conn.(*net.TCPConn).SyscallConn()
	raw.Control(func(fd uintptr) {
		for _, o := range []struct {
			name             string
			level, opt, want int
		}{
			{"IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, 0x48},
			{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 7},
			{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 70000},
		} {
			if got, err := unix.GetsockoptInt(int(fd), o.level, o.opt); err != nil || got != o.want {
				t.Errorf("%s: got %d, %v; want %d", o.name, got, err, o.want)
			}
		}
	})
}

func TestTemporary(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{&ConnectError{"h", 22, syscall.ENETUNREACH}, true},
		{&ConnectError{"h", 22, syscall.EHOSTUNREACH}, true},
		{&ConnectError{"h", 22, os.ErrDeadlineExceeded}, true},
		{&ConnectError{"h", 22, syscall.ETIMEDOUT}, true},
		{&ConnectError{"h", 22, syscall.ECONNREFUSED}, false},
		{&ConnectError{"h", 22, &BindError{"b", syscall.ENETUNREACH}}, false},
		{&ResolveError{"h", &net.DNSError{IsNotFound: true}}, false},
		{&ResolveError{"h", &net.DNSError{IsTemporary: true}}, true},
		{&hop.HandshakeError{Hop: "h", Err: &auth.DeniedError{}}, false},
		{&hop.OpenError{Hop: "h"}, false},
		{io.EOF, false},
	} {
		if got := temporary(tc.err); got != tc.want {
			t.Errorf("%v: got %v, want %v", tc.err, got, tc.want)
		}
	}
}

func TestWords(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&ConnectError{"h", 22, syscall.ECONNREFUSED}, "connect to host h port 22: Connection refused"},
		{&ConnectError{"h", 22, os.ErrDeadlineExceeded}, "connect to host h port 22: Connection timed out"},
		{&ResolveError{"h", &net.DNSError{IsNotFound: true}}, "Could not resolve hostname h: Name or service not known"},
		{&ResolveError{"h", &net.DNSError{}}, "Could not resolve hostname h: Temporary failure in name resolution"},
		{judge(syscall.ECONNRESET), "connection lost: Connection reset by peer"},
		{judge(syscall.EPIPE), ErrClientGone.Error()},
		{judge(syscall.ENOSPC), "write stdout: no space left on device"},
		{judge(fmt.Errorf("read: %w", &hop.LostError{Hop: "j", Err: syscall.ECONNRESET})), "connection lost: read: hop j lost: connection reset by peer"},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestParseQoS(t *testing.T) {
	for word, want := range map[string]int{"none": -1, "ef": 0xb8, "EF": 0xb8, "af21": 0x48, "cs1": 0x20, "lowdelay": 0x10, "throughput": 8, "le": 4, "0x20": 0x20, "16": 16} {
		if got, err := ParseQoS(word); err != nil || got != want {
			t.Errorf("%s: got %#x, %v; want %#x", word, got, err, want)
		}
	}
	for _, bad := range []string{"", "af51", "af2", "cs8", "256", "-1", "fast"} {
		if got, err := ParseQoS(bad); err == nil {
			t.Errorf("%q: got %#x, want an error", bad, got)
		}
	}
}

// TestStdoutFull: a full disk under stdout is an error that says so.
func TestStdoutFull(t *testing.T) {
	host, port := echo(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Create(filepath.Join(t.TempDir(), "in"))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, "hello")
	in.Seek(0, io.SeekStart)
	conn, err := (&Route{Base: dialer().Dial, Host: host, Port: port, Budget: time.Second, Log: discard}).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := Splice(t.Context(), NewClient(in, full), conn); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want no space left", err)
	}
}
