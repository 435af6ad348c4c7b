package sshtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
)

// Servers get ports below those that kernels give to connections (from 32768 on
// Linux, from 49152 on macOS): one that is down for a minute finds its own again.
const (
	firstPort = 10000
	lastPort  = 32767
)

// Ports go round from a random one, so that nobody gets that of a server that is
// down, here or in the tests of another package.
var (
	somePort = rand.Uint32N(1 << 24)
	nextPort atomic.Uint32 // counts on from it
)

// freePort is a TCP port of addr that is free. A process that is just being
// started may hold what looked for it, for a moment: who listens tries again.
func freePort(addr string) (int, error) {
	l, err := listenFree(addr)
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// listenFree listens on a free TCP port of addr.
func listenFree(addr string) (l net.Listener, err error) {
	for range 100 {
		port := firstPort + int((somePort+nextPort.Add(1))%(lastPort-firstPort+1))
		l, err = listenSilent(net.JoinHostPort(addr, strconv.Itoa(port)))
		if !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
	return nil, err
}

// listenSilent sets no probes: a forwarder that probed would hide what its ends
// do about keepalive.
func listenSilent(address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	return lc.Listen(context.Background(), "tcp", address)
}
