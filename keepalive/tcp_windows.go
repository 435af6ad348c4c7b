package keepalive

import (
	"time"

	"golang.org/x/sys/windows"
)

// tcpMaxRT is TCP_MAXRT of <ws2ipdef.h>: seconds of retransmission.
const tcpMaxRT = 5

func setUserTimeout(fd uintptr, d time.Duration) error {
	return windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_TCP, tcpMaxRT, int(d.Seconds()))
}
