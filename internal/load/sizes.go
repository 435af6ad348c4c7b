//go:build linux

package main

import "time"

// sizes is how much load there is.
type sizes struct {
	tell func(format string, args ...any) // takes the progress

	alone  int           // echoes of a lone session
	many   int           // sessions at once, a tenth of them bulk
	manyOf time.Duration // for that long

	idle   int // idle sessions of each way, all ways at once
	idleOf time.Duration
	probed time.Duration // interval of the probes

	startsOf time.Duration // starts, 5 a second; for stock ssh a fifth of the time
	burst    int           // starts at once

	bytes int64  // of the long session, in either direction; for stock ssh a fifth
	rekey string // RekeyLimit of its hops

	busy   int // bulk sessions beside the interactive one
	busyOf time.Duration

	slow   int // sessions, one of which is not read from
	slowOf time.Duration
}

func fullSizes() sizes {
	return sizes{
		alone: 200, many: 200, manyOf: time.Minute,
		idle: 500, idleOf: 10 * time.Minute, probed: 15 * time.Second,
		startsOf: 5 * time.Minute, burst: 50,
		bytes: 5 << 30, rekey: "64M",
		busy: 64, busyOf: 30 * time.Second,
		slow: 64, slowOf: 40 * time.Second,
	}
}

func quickSizes() sizes {
	return sizes{
		alone: 5, many: 6, manyOf: time.Second,
		idle: 3, idleOf: 3 * time.Second, probed: time.Second,
		startsOf: time.Second / 2, burst: 12,
		bytes: 8 << 20, rekey: "1M",
		busy: 2, busyOf: time.Second,
		slow: 2, slowOf: time.Second,
	}
}

// part is an nth of the sizes, in counts and times. Of a burst there is no part: what
// matters is how far it is above MaxStartups.
func (s sizes) part(n int) sizes {
	for _, count := range []*int{&s.alone, &s.many, &s.idle, &s.busy, &s.slow} {
		*count = max(*count/n, 2)
	}
	for _, d := range []*time.Duration{&s.manyOf, &s.idleOf, &s.startsOf, &s.busyOf, &s.slowOf} {
		*d /= time.Duration(n)
	}
	s.bytes /= int64(n)
	return s
}
