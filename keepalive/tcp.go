package keepalive

import (
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	// maxCount is the largest TCP_KEEPCNT that Linux takes.
	maxCount = 127
	// maxInterval is the longest TCP_KEEPIDLE and TCP_KEEPINTVL that Linux takes.
	maxInterval = 32767 * time.Second
	// maxGiveUp fits the milliseconds of TCP_USER_TIMEOUT into a C int.
	maxGiveUp = 24 * 24 * time.Hour
)

// SetTCP has the kernel probe c after interval of silence, again every
// interval, and give the connection up after giveUp without an answer, be it to
// a probe or to data. Resolution is a second. An interval of zero turns probes
// off and leaves the rest to the kernel. The options stay with the socket when
// another process takes it over. Longer times than the kernel takes are cut.
// An error is of what the kernel does not do. The rest is set, but for what follows a
// refused one of SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT.
func SetTCP(c *net.TCPConn, interval, giveUp time.Duration) error {
	if interval <= 0 {
		return c.SetKeepAlive(false)
	}
	interval = min(max(interval, time.Second), maxInterval)
	giveUp = min(giveUp, maxGiveUp)
	err := c.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable:   true,
		Idle:     interval,
		Interval: interval,
		Count:    probeCount(interval, giveUp),
	})
	if err != nil {
		err = fmt.Errorf("set TCP keepalive: %w", err)
	}
	raw, failed := c.SyscallConn()
	if failed != nil {
		return errors.Join(err, failed)
	}
	var set error
	failed = raw.Control(func(fd uintptr) { set = setUserTimeout(fd, giveUp) })
	if set != nil {
		set = fmt.Errorf("set TCP user timeout: %w", set)
	}
	return errors.Join(err, failed, set)
}

// probeCount is how many unanswered probes make giveUp: the first goes out
// after one interval, and the kernel gives up one interval after the last.
func probeCount(interval, giveUp time.Duration) int {
	n := int((giveUp+interval-1)/interval) - 1
	return min(max(n, 1), maxCount)
}
