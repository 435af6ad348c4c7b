package keepalive

import (
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout bounds unacknowledged data as well as unanswered probes: with
// it set, Linux counts time and not probes (tcp(7), TCP_USER_TIMEOUT).
func setUserTimeout(fd uintptr, d time.Duration) error {
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
}
