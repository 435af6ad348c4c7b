//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// wholeSession is the time of `ssh HOST true`, from its start to its end.
func (p path) wholeSession(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stderr, err := errorFile()
	if err != nil {
		return 0, err
	}
	defer stderr.Close()
	cmd := p.command(ctx, "true")
	cmd.Stderr = stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", p.name, err, readAll(stderr))
	}
	return time.Since(start), nil
}

// echoes are the round trips of single bytes through a session with a remote
// `cat`. Each waits for the one before; or, with every above 0, they go out at
// that interval as from a typist, whether echoed or not.
func (p path) echoes(ctx context.Context, n int, every time.Duration) (times []time.Duration, err error) {
	s, err := p.open(ctx, "exec cat")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if every > 0 {
		times, err = typing(s, n, every)
	} else {
		times, err = s.pingPong(n)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", p.name, err, s.errors())
	}
	slices.Sort(times)
	return times, nil
}

func (s *session) pingPong(n int) ([]time.Duration, error) {
	const first = 100 // not counted
	times := make([]time.Duration, 0, n)
	b := []byte{'k'}
	for i := range first + n {
		start := time.Now()
		if err := s.write(b); err != nil {
			return nil, err
		}
		if _, err := s.read(b); err != nil {
			return nil, err
		}
		if i >= first {
			times = append(times, time.Since(start))
		}
	}
	return times, nil
}

// terminal is where keys are typed, and their echoes come from.
type terminal interface {
	write(p []byte) error
	read(p []byte) (int, error)
	kill() // ends a read or write that waits
	close() error
}

// typing is n keys, one every so often.
func typing(s terminal, n int, every time.Duration) ([]time.Duration, error) {
	sent := make(chan time.Time, n)
	failed := make(chan error, 1)
	go func() { // ends after n keys or with the terminal; received below
		next := time.Now()
		var err error
		for range n {
			time.Sleep(time.Until(next))
			next = next.Add(every)
			sent <- time.Now()
			if err = s.write([]byte{'k'}); err != nil {
				break
			}
		}
		failed <- err
	}()
	times, err := echoed(s, n, sent)
	if err != nil {
		s.kill()
	}
	return times, errors.Join(err, <-failed)
}

// echoed reads n bytes and returns how long each was under way.
func echoed(s terminal, n int, sent <-chan time.Time) ([]time.Duration, error) {
	var times []time.Duration
	buf := make([]byte, 64)
	for len(times) < n {
		got, err := s.read(buf)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		for range got {
			times = append(times, now.Sub(<-sent))
		}
	}
	return times, nil
}

// quantile is the least of sorted durations that this share of them does not
// exceed.
func quantile(times []time.Duration, share float64) time.Duration {
	return times[max(int(math.Ceil(share*float64(len(times))))-1, 0)]
}
