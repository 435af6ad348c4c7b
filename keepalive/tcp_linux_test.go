package keepalive

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func loopbackConn(t *testing.T) *net.TCPConn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := (&net.Dialer{KeepAlive: -1}).Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func sockopt(t *testing.T, c *net.TCPConn, level, opt int) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var value int
	var optErr error
	if err := raw.Control(func(fd uintptr) { value, optErr = unix.GetsockoptInt(int(fd), level, opt) }); err != nil {
		t.Fatal(err)
	}
	if optErr != nil {
		t.Fatal(optErr)
	}
	return value
}

func TestSetTCP(t *testing.T) {
	day := 24 * time.Hour
	for _, tt := range []struct {
		interval, giveUp                   time.Duration
		idle, interv, count, timeoutMillis int
	}{
		{30 * time.Second, 15 * time.Minute, 30, 30, 29, 900_000},
		{15 * time.Second, 45 * time.Second, 15, 15, 2, 45_000},
		{60 * time.Second, 60 * time.Second, 60, 60, 1, 60_000},
		{time.Second, time.Hour, 1, 1, 127, 3_600_000},
		{100 * time.Millisecond, 3 * time.Second, 1, 1, 2, 3_000},
		{day, 10 * day, 32767, 32767, 26, 864_000_000},
		{30 * time.Second, 100 * day, 30, 30, 127, 24 * 86_400_000},
	} {
		c := loopbackConn(t)
		if err := SetTCP(c, tt.interval, tt.giveUp); err != nil {
			t.Errorf("SetTCP(%v, %v): %v", tt.interval, tt.giveUp, err)
			continue
		}
		for _, o := range []struct {
			name             string
			level, opt, want int
		}{
			{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, tt.idle},
			{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, tt.interv},
			{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, tt.count},
			{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, tt.timeoutMillis},
		} {
			if got := sockopt(t, c, o.level, o.opt); got != o.want {
				t.Errorf("SetTCP(%v, %v): got %s %d, want %d", tt.interval, tt.giveUp, o.name, got, o.want)
			}
		}
	}
}

func TestSetTCPOff(t *testing.T) {
	c := loopbackConn(t)
	if err := c.SetKeepAlive(true); err != nil {
		t.Fatal(err)
	}
	if err := SetTCP(c, 0, 15*time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := sockopt(t, c, unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != 0 {
		t.Errorf("got SO_KEEPALIVE %d, want 0", got)
	}
	if got := sockopt(t, c, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); got != 0 {
		t.Errorf("got TCP_USER_TIMEOUT %d, want 0", got)
	}
}

func TestSetTCPClosed(t *testing.T) {
	c := loopbackConn(t)
	c.Close()
	if err := SetTCP(c, 30*time.Second, time.Minute); err == nil {
		t.Error("got no error for a closed connection, want one")
	}
}
