//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ssh-stay/internal/sshtest"
)

// playMany is L1: many sessions through one jump host, a tenth of which are bulk,
// at 1 MB/s in either direction, while the others have a key a second.
func playMany(ctx context.Context, size sizes) (*table, error) {
	t := &table{title: fmt.Sprintf("%d sessions at once through one jump host for %v, a tenth of them moving 1 MB/s each way, the others with a key a second. %s", size.many, size.manyOf, settled)}
	bulks := max(1, size.many/10)
	return t, play(ctx, size, hosts{jump: roomy(), target: roomy()}, func(s *scene, w way) error {
		alone, err := s.alone(ctx, w, size.alone)
		if err != nil {
			return err
		}
		c, err := s.gather(ctx, w, size.many-bulks, bulks, transfer{rate: 1e6})
		if err != nil {
			return err
		}
		defer c.close()
		s.tell("%d sessions are there", len(c.sessions()))
		if err := c.settle(ctx, size.manyOf); err != nil {
			return c.giveUp(ctx, t, err)
		}
		times, err := c.typeFor(ctx, size.manyOf, time.Second)
		if err != nil {
			return c.giveUp(ctx, t, err)
		}
		t.addTimes(w.name, "echo of a lone session", alone, want{})
		t.addTimes(w.name, "echo with all", times, want{})
		for _, p := range []int{50, 99} {
			added := quantile(times, p) - quantile(alone, p)
			t.add(w.name, fmt.Sprintf("added, p%d, ms", p), ms(added), or(atMost(5), lessThanStock()))
		}
		// The order matters: what has ended has no memory.
		return errors.Join(c.addMemory(t, plainly(lessThanStock())), c.finish(t))
	})
}

// alone is what keys take that are typed 20 a second while nothing else goes on.
func (s *scene) alone(ctx context.Context, w way, keys int) ([]time.Duration, error) {
	c, err := s.gather(ctx, w, 1, 0, transfer{})
	if err != nil {
		return nil, err
	}
	defer c.close()
	const every = time.Second / 20
	times, err := c.typeFor(ctx, time.Duration(keys)*every, every)
	_, ended := c.end()
	return times, errors.Join(err, ended)
}

// playIdle is L2: sessions that do nothing but live. Those of all ways live at the
// same time, so that none has a better machine than another, and each way has
// hosts of its own, whose logs tell its probes.
func playIdle(ctx context.Context, size sizes) (t *table, err error) {
	t = &table{title: fmt.Sprintf("%d idle sessions of each way, all at once, for %v, probed after %v of silence.", size.idle, size.idleOf, size.probed)}
	var idlers []*idler
	var scenes []*scene
	defer func() { // all sessions end before a scene looks for what is left
		for _, i := range idlers {
			i.close()
		}
		for _, s := range scenes {
			err = errors.Join(err, s.close())
		}
	}()
	for n := range 3 {
		s, err := newScene(size, idleHosts(size.probed))
		if err != nil {
			return t, err
		}
		scenes = append(scenes, s)
		w := s.ways()[n]
		if _, err := s.alone(ctx, w, 1); err != nil { // brings the relay
			return t, fmt.Errorf("%s: %w", w.name, err)
		}
		c, err := s.gather(ctx, w, size.idle, 0, transfer{})
		if err != nil {
			return t, fmt.Errorf("%s: %w", w.name, err)
		}
		s.tell("%s: %d sessions are there", w.name, size.idle)
		idlers = append(idlers, &idler{crowd: c, jump: s.jump})
	}
	return t, livesFor(ctx, t, idlers, size)
}

func idleHosts(probed time.Duration) hosts {
	every := fmt.Sprintf(" %.0f", probed.Seconds())
	return hosts{jump: telling(), target: roomy(),
		ours:   []string{"StayInterval" + every, "StayGiveUp 10m"},
		theirs: []string{"ServerAliveInterval" + every, "ServerAliveCountMax 40"}}
}

// probes is how often a host was asked for an answer, on connections to it.
func probes(s *sshtest.Sshd) int { return strings.Count(s.Log(), "keepalive@openssh.com") }

// idler is a crowd that does nothing, and what was so when it began.
type idler struct {
	*crowd
	jump          *sshtest.Sshd
	proxies, ends []int // processes
	near, far     time.Duration
	probes        int
	since         time.Time
}

// livesFor lets time pass, notes what it has cost, and has each session prove that
// it lives.
func livesFor(ctx context.Context, t *table, idlers []*idler, size sizes) (err error) {
	for _, i := range idlers {
		if err := i.begin(); err != nil {
			return err
		}
	}
	for start := time.Now(); time.Since(start) < size.idleOf; {
		if err := wait(ctx, min(time.Minute, time.Until(start.Add(size.idleOf)))); err != nil {
			return err
		}
		for _, i := range idlers {
			size.tell("%s: idle for %v, dropped: %d", i.way.name, time.Since(start).Round(time.Second), i.over())
		}
	}
	// A session that is probed after each interval has had this many, but for the
	// one that is due, and what a busy machine adds to the intervals.
	due := float64(size.idle) * (0.9*float64(size.idleOf/size.probed) - 1)
	for _, i := range idlers {
		t.add(i.way.name, "dropped", float64(i.over()), exactly(0))
		t.add(i.way.name, "probes that the jump host has seen", float64(probes(i.jump)-i.probes), surely(atLeast(due)))
		if i.over() == 0 { // what has ended has no memory and no clock
			err = errors.Join(err, i.addCPU(t), i.addMemory(t, plainly(lessThanStock())))
		}
	}
	for _, i := range idlers {
		err = errors.Join(err, i.typesOnce(ctx), i.finish(t))
	}
	return err
}

func (i *idler) begin() (err error) {
	if i.proxies, err = i.crowd.proxies(); err != nil {
		return err
	}
	i.ends, i.probes, i.since = i.crowd.far(), probes(i.jump), time.Now()
	i.near, i.far, err = i.used()
	return err
}

// used is the time of the CPU that proxies and far ends have had so far.
func (i *idler) used() (near, far time.Duration, err error) {
	if near, err = sshtest.CPUTime(i.proxies...); err != nil {
		return 0, 0, err
	}
	far, err = sshtest.CPUTime(i.ends...)
	return near, far, err
}

func (i *idler) addCPU(t *table) error {
	near, far, err := i.used()
	if err != nil {
		return err
	}
	share := func(used time.Duration) float64 { return 100 * used.Seconds() / time.Since(i.since).Seconds() }
	t.add(i.way.name, "CPU of all proxies, % of a core", share(near-i.near), atMost(2))
	if len(i.ends) > 0 {
		t.add(i.way.name, "CPU of all that is at the far end, % of a core", share(far-i.far), atMost(2))
	}
	return nil
}

// typesOnce has every session prove that it lives. Those that have ended do not fail
// twice: the end of each is looked at anyway.
func (c *crowd) typesOnce(ctx context.Context) error {
	return inParallel(openers, len(c.typists), func(i int) error {
		switch t := c.typists[i]; {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case t.isOver():
			return nil
		default:
			return t.key(time.Now())
		}
	})
}
