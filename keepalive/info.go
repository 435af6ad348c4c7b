package keepalive

import (
	"net"
	"time"
)

// TCPInfo is how a TCP connection fares, as its kernel counts. What the system
// does not tell is zero.
type TCPInfo struct {
	Sent, Received int64         // bytes; of those sent, where it can be told, the ones that the peer has
	RTT            time.Duration // smoothed
	Silence        time.Duration // since the peer was last heard
	Missed         int           // probes in a row without an answer
}

// ReadTCP costs nothing but itself: nothing is counted for it.
func ReadTCP(c *net.TCPConn) (TCPInfo, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return TCPInfo{}, err
	}
	var info TCPInfo
	var read error
	if err := raw.Control(func(fd uintptr) { info, read = readTCP(fd) }); err != nil {
		return TCPInfo{}, err
	}
	return info, read
}

// Missed is how many probes have gone unanswered after silence. The first goes
// out after one interval, and an answer has another one to come. An interval of 0
// is that of who never probes.
func Missed(silence, interval time.Duration) int {
	if interval <= 0 {
		return 0
	}
	return max(0, int(silence/interval)-1)
}
