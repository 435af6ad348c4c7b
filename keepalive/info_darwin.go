package keepalive

import (
	"time"

	"golang.org/x/sys/unix"
)

func readTCP(fd uintptr) (TCPInfo, error) {
	i, err := unix.GetsockoptTCPConnectionInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_CONNECTION_INFO)
	if err != nil {
		return TCPInfo{}, err
	}
	return TCPInfo{Sent: int64(i.Txbytes), Received: int64(i.Rxbytes), RTT: time.Duration(i.Srtt) * time.Millisecond}, nil
}
