package keepalive

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// TestReadTCP: to the byte, both ways.
func TestReadTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	const up, down = 300_000, 12_345
	sent := make(chan error, 1)
	go func() { // ends when the peer has all
		_, err := c.Write(make([]byte, up))
		sent <- err
	}()
	if _, err := io.ReadFull(peer, make([]byte, up)); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Write(make([]byte, down)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, down)); err != nil {
		t.Fatal(err)
	}
	got, err := ReadTCP(c.(*net.TCPConn))
	if err != nil {
		if runtime.GOOS == "linux" || runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
			t.Fatal(err)
		}
		return // a system that does not tell
	}
	if got.Sent != up || got.Received != down {
		t.Errorf("got %d bytes sent, %d received, want %d and %d", got.Sent, got.Received, up, down)
	}
	if runtime.GOOS == "linux" && (got.RTT <= 0 || got.RTT > time.Second || got.Silence > 10*time.Second || got.Missed != 0) {
		t.Errorf("got %+v, want a short round trip and no probe missed", got)
	}
	c.Close()
	if got, err := ReadTCP(c.(*net.TCPConn)); err == nil || got != (TCPInfo{}) {
		t.Errorf("closed: got %+v, %v, want an error", got, err)
	}
}

func TestMissed(t *testing.T) {
	for _, tc := range []struct {
		silence, interval time.Duration
		want              int
	}{
		{time.Hour, 0, 0}, {0, time.Second, 0}, {1999 * time.Millisecond, time.Second, 0},
		{2 * time.Second, time.Second, 1}, {5 * time.Second, time.Second, 4},
	} {
		if got := Missed(tc.silence, tc.interval); got != tc.want {
			t.Errorf("%v of silence, probes every %v: got %d missed, want %d", tc.silence, tc.interval, got, tc.want)
		}
	}
}
