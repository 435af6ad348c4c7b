package keepalive

import (
	"time"

	"golang.org/x/sys/unix"
)

// tcpRxtConnDropTime is TCP_RXT_CONNDROPTIME of <netinet/tcp.h>: seconds after
// which unacknowledged data drops the connection.
const tcpRxtConnDropTime = 0x80

func setUserTimeout(fd uintptr, d time.Duration) error {
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, tcpRxtConnDropTime, int(d.Seconds()))
}
