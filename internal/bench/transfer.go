//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
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
	cpu := func() (time.Duration, error) { return 0, nil }
	if !p.bare {
		pid, err := s.proxy()
		if err != nil {
			return t, fmt.Errorf("%s: %w", p.name, err)
		}
		cpu = func() (time.Duration, error) { return cpuTime(pid) }
	}
	if t.down, t.cpuDown, err = rate(size, cpu, s.download); err == nil {
		t.up, t.cpuUp, err = rate(size, cpu, s.upload)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", p.name, err, s.errors())
	}
	return t, err
}

// rate moves the warm-up and then size, and returns MB/s and CPU seconds for a GB.
func rate(size int64, cpu func() (time.Duration, error), move func(int64) (time.Duration, error)) (mbs, cost float64, err error) {
	if _, err := move(warmUp); err != nil {
		return 0, 0, err
	}
	before, err := cpu()
	if err != nil {
		return 0, 0, err
	}
	took, err := move(size)
	if err != nil {
		return 0, 0, err
	}
	after, err := cpu()
	return float64(size) / 1e6 / took.Seconds(), (after - before).Seconds() / (float64(size) / 1e9), err
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

// cpuTime is what the process has used in user and kernel mode, to 10 ms, as
// proc_pid_stat(5) tells it. The name there is in brackets and may hold any byte.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const utime, stime, tick = 11, 12, time.Second / 100 // USER_HZ
	var sum time.Duration
	for _, i := range []int{utime, stime} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}
