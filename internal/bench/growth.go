//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// growth takes what one of many sessions costs that run at once, each with a
// connection of its own.
type growth struct {
	paths  []path
	crowd  []int // how many, in growing order
	settle time.Duration
	hold   time.Duration // that the CPU time is taken for
	starts int           // whole sessions beside each crowd

	pss, cpu, whole []figure // by crowd
}

func (r *rig) growthGroup() (*group, error) {
	l, err := r.lab(0)
	if err != nil {
		return nil, err
	}
	t := &growth{paths: l.named(netcat, direct, sshJ, stayJ, stayR), crowd: r.sizes.crowd, settle: r.sizes.settle, hold: r.sizes.crowdHold,
		starts: r.sizes.starts}
	var near []string
	for i := range t.paths {
		p := &t.paths[i]
		if p.name == sshJ {
			p.name = sshW
		}
		p.life = 10 * time.Minute
		near = append(near, p.name)
	}
	all := append(near[:len(near):len(near)], relay)
	ratios := map[string]want{direct: beside(netcat), stayJ: beside(sshW), stayR: beside(sshW)}
	for i, n := range t.crowd {
		memory := maps.Clone(ratios)
		if i == len(t.crowd)-1 { // few share the binary's text with nobody
			memory[stayJ] = atMost(1, sshW)
		}
		t.pss = append(t.pss, figure{name: fmt.Sprintf("PSS of one of %d", n), unit: "MiB", paths: all, wants: memory})
		t.cpu = append(t.cpu, figure{name: fmt.Sprintf("CPU of one of %d, an echo a second", n), unit: "ms/s", paths: all, wants: ratios})
		t.whole = append(t.whole, figure{name: fmt.Sprintf("ssh HOST true beside %d", n), unit: "ms", paths: near, wants: ratios})
	}
	g := &group{title: "One of many sessions that run at once, each with its own connection, on loopback: nc and ssh-stay straight to the target, " +
		"the others through one jump host.",
		notes: []string{
			"A relay serves all, and what it takes is divided among them.",
			"No proxy and fdpass are not here: no process is left beside ssh.",
		}, round: t.round, rounds: r.sizes.growth}
	for _, kind := range [][]figure{t.pss, t.cpu, t.whole} {
		for i := range kind {
			g.figures = append(g.figures, &kind[i])
		}
	}
	return g, nil
}

func (t *growth) round(ctx context.Context, n int) error {
	for _, p := range rotated(t.paths, n) {
		if err := t.grow(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// grow adds sessions to those that are there, and looks at them.
func (t *growth) grow(ctx context.Context, p path) (err error) {
	var all []*session
	defer func() { err = errors.Join(err, closeAll(all)) }()
	for i, n := range t.crowd {
		const atOnce = 8
		more, err := openMany(ctx, p, "exec cat", n-len(all), atOnce)
		all = append(all, more...)
		if err != nil {
			return err
		}
		if err := pause(ctx, t.settle); err != nil {
			return err
		}
		if err := t.look(ctx, p, i, all); err != nil {
			return err
		}
		for range t.starts {
			took, err := p.wholeSession(ctx)
			if err != nil {
				return err
			}
			t.whole[i].add(p.name, took.Seconds()*1e3)
		}
	}
	return nil
}

// look takes memory, and then the CPU time of an echo a second.
func (t *growth) look(ctx context.Context, p path, i int, all []*session) error {
	processes := map[string][]int{p.name: nil}
	for _, s := range all {
		pid, err := s.proxy()
		if err != nil {
			return err
		}
		processes[p.name] = append(processes[p.name], pid)
	}
	if p.relays != nil {
		processes[relay] = p.relays()
	}
	before := make(map[string]time.Duration)
	for name, pids := range processes {
		sum, err := pss(pids)
		if err != nil {
			return err
		}
		t.pss[i].add(name, sum/float64(len(all)))
		if before[name], err = cpuTime(pids...); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := echoInTurn(ctx, all, t.hold); err != nil {
		return err
	}
	took := time.Since(start).Seconds() * float64(len(all))
	for name, pids := range processes {
		after, err := cpuTime(pids...)
		if err != nil {
			return err
		}
		t.cpu[i].add(name, (after-before[name]).Seconds()*1e3/took)
	}
	return nil
}

// echoInTurn has each session echo a byte a second, spread over the second.
func echoInTurn(ctx context.Context, all []*session, hold time.Duration) error {
	next := time.Now()
	for range hold / time.Second {
		for _, s := range all {
			b := []byte{'k'}
			if err := s.write(b); err != nil {
				return err
			}
			if _, err := s.read(b); err != nil {
				return fmt.Errorf("%w: %s", err, s.errors())
			}
			next = next.Add(time.Second / time.Duration(len(all)))
			if err := pause(ctx, time.Until(next)); err != nil {
				return err
			}
		}
	}
	return nil
}
