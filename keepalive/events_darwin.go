package keepalive

import (
	"encoding/binary"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openSource subscribes to route(4).
func openSource() (source, error) {
	syscall.ForkLock.RLock() // no SOCK_CLOEXEC here
	fd, err := unix.Socket(unix.AF_ROUTE, unix.SOCK_RAW, unix.AF_UNSPEC)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &socket{file: os.NewFile(uintptr(fd), "route"), matters: routesMatter}, nil
}

// routesMatter is whether one of the messages in b (net/route.h) tells of a
// change. Entries of the ARP and neighbour caches are routes here, too.
func routesMatter(b []byte) bool {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return true // cut off
		}
		switch b[3] {
		case unix.RTM_IFINFO, unix.RTM_NEWADDR, unix.RTM_DELADDR:
			return true
		case unix.RTM_ADD, unix.RTM_DELETE, unix.RTM_CHANGE:
			const cache = unix.RTF_LLINFO | unix.RTF_WASCLONED | unix.RTF_MULTICAST | unix.RTF_BROADCAST
			if n < 12 || binary.NativeEndian.Uint32(b[8:])&cache == 0 {
				return true
			}
		}
		b = b[n:]
	}
	return false
}
