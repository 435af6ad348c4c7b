//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	chunk = 64 << 10 // written, and read by the remote end, at once
	// warmUp bytes go ahead of those that are timed, in either direction: until
	// TCP's window has opened, a long line tells its own length and not what the
	// path can carry.
	warmUp = 16 << 20
)

// transfer is what one session moved.
type transfer struct {
	down, up       float64 // MB/s
	cpuDown, cpuUp float64 // seconds of the proxy process for a GB; 0 without one

	relayDown, relayUp float64 // of what is at the far end; 0 without one
}

// bulk moves size bytes down and then as many up in one session. The remote
// side waits for a line before it sends, and after the last byte, so that the
// proxy is idle and alive whenever its CPU time is read.
func (p path) bulk(ctx context.Context, size int64) (t transfer, err error) {
	size -= size % chunk
	send, receive := "read x; head -c %d /dev/zero; ", "dd bs=%d count=%d iflag=fullblock of=/dev/null 2>&1; "
	remote := "export LC_ALL=C; " + fmt.Sprintf(send+send, warmUp, size) +
		fmt.Sprintf(receive+receive, chunk, warmUp/chunk, chunk, size/chunk) + "read x"
	s, err := p.open(ctx, remote)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var near, far []int
	if !p.bare {
		pid, err := s.proxy()
		if err != nil {
			return t, fmt.Errorf("%s: %w", p.name, err)
		}
		near = []int{pid}
	}
	if p.relays != nil {
		far = p.relays()
	}
	var costs [2]float64
	if t.down, costs, err = rate(size, [2][]int{near, far}, s.download); err == nil {
		t.cpuDown, t.relayDown = costs[0], costs[1]
		t.up, costs, err = rate(size, [2][]int{near, far}, s.upload)
		t.cpuUp, t.relayUp = costs[0], costs[1]
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", p.name, err, s.errors())
	}
	return t, err
}

// rate moves the warm-up and then size, and returns MB/s and the CPU seconds that
// either set of processes has used for a GB.
func rate(size int64, pids [2][]int, move func(int64) (time.Duration, error)) (mbs float64, costs [2]float64, err error) {
	if _, err := move(warmUp); err != nil {
		return 0, costs, err
	}
	var before, after [2]time.Duration
	for i := range pids {
		if before[i], err = cpuTime(pids[i]...); err != nil {
			return 0, costs, err
		}
	}
	took, err := move(size)
	if err != nil {
		return 0, costs, err
	}
	for i := range pids {
		if after[i], err = cpuTime(pids[i]...); err != nil {
			return 0, costs, err
		}
		costs[i] = (after[i] - before[i]).Seconds() / (float64(size) / 1e9)
	}
	return float64(size) / 1e6 / took.Seconds(), costs, nil
}

// download is the time from the first byte that ssh hands us to the last.
func (s *session) download(size int64) (time.Duration, error) {
	if err := s.write([]byte("\n")); err != nil {
		return 0, err
	}
	buf := make([]byte, 256<<10)
	var start time.Time
	for got := int64(0); got < size; {
		n, err := s.read(buf)
		if err != nil {
			return 0, err
		}
		if got == 0 {
			start = time.Now()
		}
		got += int64(n)
	}
	return time.Since(start), nil
}

// upload is the time from the first byte that we hand to ssh until the remote
// end's word that it has read the last: a round trip is in it.
func (s *session) upload(size int64) (time.Duration, error) {
	buf := make([]byte, chunk)
	start := time.Now()
	for sent := int64(0); sent < size; sent += chunk {
		if err := s.write(buf); err != nil {
			return 0, err
		}
	}
	if err := s.expect(fmt.Sprintf("%d+0 records in\n", size/chunk)); err != nil {
		return 0, err
	}
	took := time.Since(start)
	for range 2 { // dd's other lines
		if _, err := s.line(); err != nil {
			return 0, err
		}
	}
	return took, nil
}

// cpuTime is what the processes have used in user and kernel mode, by their CPU
// clocks, since /proc/PID/stat tells it to 10 ms only. Linux numbers the clock
// that clock_getcpuclockid(3) returns by its process: MAKE_PROCESS_CPUCLOCK of
// include/linux/posix-timers_types.h, with CPUCLOCK_SCHED.
func cpuTime(pids ...int) (sum time.Duration, err error) {
	for _, pid := range pids {
		const sched = 2
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
			return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}
