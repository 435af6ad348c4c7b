//go:build unix

package proxy

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// CanPass reports whether a descriptor can be sent over f.
func CanPass(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	local := false
	raw.Control(func(fd uintptr) {
		name, err := unix.Getsockname(int(fd))
		_, local = name.(*unix.SockaddrUnix)
		local = local && err == nil
	})
	return local
}

// Pass sends the socket of conn over stdout with one byte, as ssh expects it
// under ProxyUseFdpass (sshconnect.c). The socket's options go with it. conn
// stays open and is the caller's to close.
func Pass(stdout *os.File, conn *Conn) error {
	tcp, ok := conn.Conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("pass descriptor: %T has none", conn.Conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		sent = syscall.Sendmsg(int(stdout.Fd()), []byte{0}, syscall.UnixRights(int(fd)), nil, 0)
	})
	if err != nil {
		return err
	}
	if sent != nil {
		return fmt.Errorf("pass descriptor: %w", sent)
	}
	return nil
}
