//go:build linux

package main

import (
	"context"
	"time"
)

// trial takes the figures of sessions: throughput, CPU time, latency, and the
// time of a whole session, of several paths to the same target.
type trial struct {
	paths  []path
	bytes  int64         // of bulk, in either direction
	echoes int           // single bytes of a session
	every  time.Duration // the interval of keys; 0: each waits for the one before
	starts int           // whole sessions of a round

	starters []path // beside paths, whose start is all that is taken

	down, up, cpuDown, cpuUp, whole, echo, echoTail figure
	relayDown, relayUp                              figure // of paths with a relay
}

func newTrial(paths []path, every time.Duration) *trial {
	t := &trial{every: every,
		down:      figure{name: "bulk down", unit: "MB/s"},
		up:        figure{name: "bulk up", unit: "MB/s"},
		cpuDown:   figure{name: "CPU of the proxy, down", unit: "s/GB"},
		cpuUp:     figure{name: "CPU of the proxy, up", unit: "s/GB"},
		relayDown: figure{name: "CPU of the relay, down", unit: "s/GB"},
		relayUp:   figure{name: "CPU of the relay, up", unit: "s/GB"},
		whole:     figure{name: "ssh HOST true", unit: "ms"},
		echo:      figure{name: "echo of a byte, p50", unit: "us"},
		echoTail:  figure{name: "echo of a byte, p99", unit: "us"},
	}
	if every > 0 {
		t.echo.name, t.echo.unit = "echo of a key every "+every.String()+", p50", "ms"
		t.echoTail.name, t.echoTail.unit = "echo of a key every "+every.String()+", p99", "ms"
	}
	for _, p := range paths {
		t.whole.paths = append(t.whole.paths, p.name)
		if p.startOnly {
			t.starters = append(t.starters, p)
			continue
		}
		t.paths = append(t.paths, p)
		for _, f := range []*figure{&t.down, &t.up, &t.echo, &t.echoTail} {
			f.paths = append(f.paths, p.name)
		}
		if !p.bare {
			t.cpuDown.paths = append(t.cpuDown.paths, p.name)
			t.cpuUp.paths = append(t.cpuUp.paths, p.name)
		}
		if p.relays != nil {
			t.relayDown.paths = append(t.relayDown.paths, p.name)
			t.relayUp.paths = append(t.relayUp.paths, p.name)
		}
	}
	return t
}

func (t *trial) figures() []*figure {
	all := []*figure{&t.down, &t.up, &t.cpuDown, &t.cpuUp}
	if len(t.relayDown.paths) > 0 {
		all = append(all, &t.relayDown, &t.relayUp)
	}
	return append(all, &t.whole, &t.echo, &t.echoTail)
}

// round takes each figure of all paths before the next figure.
func (t *trial) round(ctx context.Context, n int) error {
	paths := rotated(t.paths, n)
	for _, p := range paths {
		moved, err := p.bulk(ctx, t.bytes)
		if err != nil {
			return err
		}
		t.down.add(p.name, moved.down)
		t.up.add(p.name, moved.up)
		t.cpuDown.add(p.name, moved.cpuDown)
		t.cpuUp.add(p.name, moved.cpuUp)
		t.relayDown.add(p.name, moved.relayDown)
		t.relayUp.add(p.name, moved.relayUp)
	}
	for range t.starts {
		for _, p := range append(rotated(t.paths, n), t.starters...) {
			took, err := p.wholeSession(ctx)
			if err != nil {
				return err
			}
			t.whole.add(p.name, took.Seconds()*1e3)
		}
	}
	for _, p := range paths {
		times, err := p.echoes(ctx, t.echoes, t.every)
		if err != nil {
			return err
		}
		t.echo.add(p.name, t.echoValue(quantile(times, 0.5)))
		t.echoTail.add(p.name, t.echoValue(quantile(times, 0.99)))
	}
	return nil
}

func (t *trial) echoValue(d time.Duration) float64 {
	if t.echo.unit == "us" {
		return d.Seconds() * 1e6
	}
	return d.Seconds() * 1e3
}

// rotated begins with the n-th, so that no path is always the first.
func rotated[T any](s []T, n int) []T {
	n %= len(s)
	return append(append([]T(nil), s[n:]...), s[:n]...)
}
