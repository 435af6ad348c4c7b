package sshtest

import (
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

// freePort is a TCP port of addr that is free.
func freePort(addr string) (int, error) {
	var err error
	for range 100 {
		port := firstPort + int((somePort+nextPort.Add(1))%(lastPort-firstPort+1))
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(addr, strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return 0, err
}
