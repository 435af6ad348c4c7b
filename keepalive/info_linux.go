package keepalive

import (
	"time"

	"golang.org/x/sys/unix"
)

// readTCP: bytes_acked counts the SYN too (net/ipv4/tcp_input.c), and from
// CloseWrite on the FIN.
func readTCP(fd uintptr) (TCPInfo, error) {
	i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return TCPInfo{}, err
	}
	return TCPInfo{
		Sent:     max(0, int64(i.Bytes_acked)-1),
		Received: int64(i.Bytes_received),
		RTT:      time.Duration(i.Rtt) * time.Microsecond,
		Silence:  time.Duration(min(i.Last_data_recv, i.Last_ack_recv)) * time.Millisecond,
		Missed:   int(i.Probes),
	}, nil
}
