package keepalive

import (
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// sioTCPInfo is SIO_TCP_INFO of <mstcpip.h>, which Windows 10 1703 and later have.
const sioTCPInfo = 0xD8000027

// tcpInfoV0 is TCP_INFO_v0.
type tcpInfoV0 struct {
	State             uint32
	Mss               uint32
	ConnectionTimeMs  uint64
	TimestampsEnabled uint8
	RttUs             uint32
	MinRttUs          uint32
	BytesInFlight     uint32
	Cwnd              uint32
	SndWnd            uint32
	RcvWnd            uint32
	RcvBuf            uint32
	BytesOut          uint64
	BytesIn           uint64
	BytesReordered    uint32
	BytesRetrans      uint32
	FastRetrans       uint32
	DupAcksIn         uint32
	TimeoutEpisodes   uint32
	SynRetrans        uint8
}

func readTCP(fd uintptr) (TCPInfo, error) {
	var version, n uint32
	var i tcpInfoV0
	err := windows.WSAIoctl(windows.Handle(fd), sioTCPInfo, (*byte)(unsafe.Pointer(&version)), uint32(unsafe.Sizeof(version)),
		(*byte)(unsafe.Pointer(&i)), uint32(unsafe.Sizeof(i)), &n, nil, 0)
	if err != nil {
		return TCPInfo{}, err
	}
	return TCPInfo{Sent: int64(i.BytesOut), Received: int64(i.BytesIn), RTT: time.Duration(i.RttUs) * time.Microsecond}, nil
}
