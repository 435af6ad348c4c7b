package keepalive

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssh-stay/internal/sshtest"
)

// in watches a namespace.
func in(t *testing.T, ns *sshtest.Netns) <-chan struct{} {
	t.Helper()
	var e *Events
	if err := ns.Do(func() error { e = NewEvents(quietly); return nil }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	events, _ := e.Subscribe()
	return events
}

// within says whether there is an event within d.
func within(events <-chan struct{}, d time.Duration) bool {
	select {
	case <-events:
		return true
	case <-time.After(d):
		return false
	}
}

// settle waits until there are no more events of what was done before.
func settle(t *testing.T, events <-chan struct{}) {
	t.Helper()
	for range 20 {
		if !within(events, time.Second) {
			return
		}
	}
	t.Fatal("events without end")
}

func TestNetworkChanges(t *testing.T) {
	sshtest.Leaks(t)
	r := sshtest.For(t)
	l := r.Link()
	events := in(t, l.Client)
	for _, tt := range []struct {
		command string
		want    bool
	}{
		{"link set eth0 up", true},
		{"addr add 192.0.2.77/32 dev eth0", true},
		{"neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0", false},
		{"neigh del 192.0.2.9 dev eth0", false},
		{"neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 dev eth0", false},
		{"route add default via 192.0.2.2", true},
		{"route del default", true},
		{"addr del 192.0.2.77/32 dev eth0", true},
		{"-6 addr add 2001:db8::1/64 dev eth0 nodad valid_lft 1000 preferred_lft 1000", true},
		{"-6 addr change 2001:db8::1/64 dev eth0 nodad valid_lft 2000 preferred_lft 2000", false}, // as a router advertisement does
		{"-6 route add 2001:db8:1::/64 dev eth0", true},
		{"-6 addr del 2001:db8::1/64 dev eth0", true},
		{"link add v0 type veth peer name v1", true},
		{"link set eth0 down", true},
	} {
		settle(t, events)
		if err := l.Client.IP(tt.command); err != nil {
			t.Fatal(err)
		}
		if got := within(events, time.Second); got != tt.want {
			t.Errorf("ip %s: got an event %v, want %v", tt.command, got, tt.want)
		}
	}
}

func TestNothingHappens(t *testing.T) {
	r := sshtest.For(t)
	l := r.Link()
	events := in(t, l.Client)
	if within(events, 3*time.Second) {
		t.Error("got an event of nothing")
	}
	if err := l.Up(); err != nil {
		t.Fatal(err)
	}
	if !within(events, time.Second) {
		t.Error("got no event of something")
	}
}

// More than the socket holds: that is an event, too, and the last change is told
// after it.
func TestOverflow(t *testing.T) {
	r := sshtest.For(t)
	l := r.Link()
	var src source
	if err := l.Client.Do(func() (err error) { src, err = openSource(); return err }); err != nil {
		t.Fatal(err)
	}
	s := src.(*socket)
	conn, err := s.file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	conn.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 { // nobody reads yet
		if err := l.Client.IP(fmt.Sprintf("addr add 192.0.2.%d/32 dev lo", 100+i)); err != nil {
			t.Fatal(err)
		}
	}
	lost := make(chan struct{}, 1)
	forget := s.lost
	s.lost = func() { forget(); notify(lost) }
	e := newEvents(quietly, s, nil, time.Now)
	defer e.Close()
	events, cancel := e.Subscribe()
	defer cancel()
	if !within(lost, 5*time.Second) {
		t.Fatal("nothing was lost")
	}
	if !within(events, time.Second) {
		t.Error("got no event of lost messages")
	}
	settle(t, events)
	if err := l.Client.IP("addr add 192.0.2.77/32 dev lo"); err != nil {
		t.Fatal(err)
	}
	if !within(events, time.Second) {
		t.Error("got no event of what came after lost messages")
	}
}

// link makes a message of a link's state, with one attribute.
func link(attribute uint16) []byte {
	b := make([]byte, unix.NLMSG_HDRLEN+unix.SizeofIfInfomsg+unix.SizeofRtAttr)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_NEWLINK)
	a := b[unix.NLMSG_HDRLEN+unix.SizeofIfInfomsg:]
	binary.NativeEndian.PutUint16(a, unix.SizeofRtAttr)
	binary.NativeEndian.PutUint16(a[2:], attribute)
	return b
}

// No namespace has a radio: its messages are made here.
func TestScansAreNoChanges(t *testing.T) {
	scan, state := link(unix.IFLA_WIRELESS), link(unix.IFLA_OPERSTATE)
	for _, tt := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"scan", scan, false},
		{"state", state, true},
		{"both", append(append([]byte{}, scan...), state...), true},
		{"cut off", state[:len(state)-1], true},
		{"nothing", nil, false},
	} {
		if got := (routes{}).matter(tt.b); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// What cannot be parsed does no harm, and is not kept.
func FuzzRoutes(f *testing.F) {
	f.Add(link(unix.IFLA_WIRELESS))
	f.Add(link(0))
	endless := link(0)
	clear(endless[unix.NLMSG_HDRLEN+unix.SizeofIfInfomsg:]) // an attribute of length 0
	f.Add(endless)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := routes{}
		r.matter(b)
		for key := range r {
			if len(key) > len(b) {
				t.Errorf("a key of %d bytes from a message of %d", len(key), len(b))
			}
		}
	})
}

// TestStopped stops a process that watches, for real.
func TestStopped(t *testing.T) {
	if os.Getenv("KEEPALIVE_WATCH") != "" {
		watchAndTell()
		return
	}
	r := sshtest.For(t)
	ns := r.Link().Client // where nothing changes
	cmd := ns.Enter(exec.Command(os.Args[0], "-test.run=^TestStopped$"))
	cmd.Env = append(os.Environ(), "KEEPALIVE_WATCH=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Scan()
	if got := lines.Text(); got != "watching" {
		t.Fatalf("got %q, want watching", got)
	}
	cmd.Process.Signal(syscall.SIGSTOP)
	<-time.After(8 * time.Second)
	continued := time.Now()
	cmd.Process.Signal(syscall.SIGCONT)
	lines.Scan()
	if got, took := lines.Text(), time.Since(continued); got != "event" || took > 2*time.Second {
		t.Errorf("got %q %v after the stop, want an event at once", got, took)
	}
}

// TestClockSet sets the wall clock a microsecond on and back. A sleep is told of in
// the same way.
func TestClockSet(t *testing.T) {
	c, err := openClocks()
	if err != nil {
		t.Fatal(err)
	}
	set := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.watch(ctx, func() { notify(set) }, func() {}) }()
	for _, by := range []unix.Timeval{{Usec: 1}, {Sec: -1, Usec: 999_999}} {
		if within(set, 100*time.Millisecond) {
			t.Error("told of nothing")
		}
		if _, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_SETOFFSET, Time: by}); errors.Is(err, unix.EPERM) {
			t.Skip("root alone may set the clock")
		} else if err != nil {
			t.Fatal(err)
		}
		if !within(set, 5*time.Second) {
			t.Error("not told that the clock was set")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func watchAndTell() {
	e := NewEvents(quietly)
	events, _ := e.Subscribe()
	fmt.Println("watching")
	if within(events, 12*time.Second) {
		fmt.Println("event")
	}
	e.Close()
	os.Exit(0)
}
