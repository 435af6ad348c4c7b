package keepalive

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// rtmCloned marks a route that is a cache entry, as one that path MTU discovery
// makes (RTM_F_CLONED in linux/rtnetlink.h).
const rtmCloned = 0x200

// openSource subscribes to rtnetlink(7), which needs no privilege. The socket is
// of the network namespace of the calling thread.
func openSource() (source, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	r := routes{}
	return &socket{file: os.NewFile(uintptr(fd), "rtnetlink"), matters: r.matter, lost: func() { clear(r) }}, nil
}

// routes tells changes from repetitions in messages of rtnetlink. It maps an
// address to its flags: every router advertisement tells of its addresses anew,
// with nothing but another lifetime.
type routes map[string]uint32

// matter is whether one of the messages in b tells of a change. What cannot be
// understood does.
func (r routes) matter(b []byte) bool {
	found := false
	for len(b) >= unix.NLMSG_HDRLEN {
		n := binary.NativeEndian.Uint32(b)
		if n < unix.NLMSG_HDRLEN || uint64(n) > uint64(len(b)) {
			return true // cut off
		}
		kind := binary.NativeEndian.Uint16(b[4:])
		if r.matters(kind, b[unix.NLMSG_HDRLEN:n]) {
			found = true // look at the others all the same, for their addresses
		}
		b = b[min(align(int(n)), len(b)):]
	}
	return found
}

func (r routes) matters(kind uint16, body []byte) bool {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// Drivers tell by these of every scan for wireless networks.
		_, wireless := attributes(body, unix.SizeofIfInfomsg)[unix.IFLA_WIRELESS]
		return !wireless
	case unix.RTM_NEWADDR:
		address, flags := address(body)
		before, known := r[address]
		r[address] = flags
		return !known || before != flags
	case unix.RTM_DELADDR:
		address, _ := address(body)
		delete(r, address)
		return true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return len(body) < unix.SizeofRtMsg || binary.NativeEndian.Uint32(body[8:])&rtmCloned == 0
	}
	return false
}

// address tells an address from others, and its flags: one that is "tentative"
// cannot be used yet.
func address(body []byte) (key string, flags uint32) {
	if len(body) < unix.SizeofIfAddrmsg {
		return "", 0
	}
	all := attributes(body, unix.SizeofIfAddrmsg)
	flags = uint32(body[2])
	if b := all[unix.IFA_FLAGS]; len(b) == 4 {
		flags = binary.NativeEndian.Uint32(b)
	}
	// Family, prefix length and link, then the addresses of both ends.
	return string(body[:2]) + string(body[4:8]) + string(all[unix.IFA_ADDRESS]) + string(all[unix.IFA_LOCAL]), flags
}

// attributes are what follows the fixed part of a message.
func attributes(body []byte, fixed int) map[uint16][]byte {
	all := map[uint16][]byte{}
	for b := body[min(fixed, len(body)):]; len(b) >= unix.SizeofRtAttr; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			break
		}
		all[binary.NativeEndian.Uint16(b[2:])] = b[unix.SizeofRtAttr:n]
		b = b[min(align(n), len(b)):]
	}
	return all
}

// align rounds up to where the next message or attribute begins.
func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
