package proxy

import (
	"net"

	"golang.org/x/sys/windows"
)

// downErrnos are what a network that is down for the moment answers.
func downErrnos() []error {
	return []error{
		windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH, windows.WSAENETDOWN, windows.WSAEHOSTDOWN,
		windows.WSAETIMEDOUT,
	}
}

// setTOS does nothing: Windows takes marks from policy alone.
func setTOS(*net.TCPConn, int) error { return nil }
