//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"ssh-stay/internal/faults"
	"ssh-stay/internal/sshtest"
)

// playRekey is L4: one long session, both directions at once, whose hops exchange
// new keys again and again.
func playRekey(ctx context.Context, size sizes) (*table, error) {
	t := &table{title: fmt.Sprintf("%s each way (%s: a fifth of that), both at once, through one session with RekeyLimit %s on its hops.", amount(size.bytes), stock, size.rekey)}
	cfg := hosts{jump: telling(), target: roomy(), hop: []string{"RekeyLimit " + size.rekey}}
	return t, play(ctx, size, cfg, func(s *scene, w way) error {
		before, limit := rekeys(s.jump), size.bytes
		if w.name == stock {
			limit /= 5
		}
		c, err := s.gather(ctx, w, 0, 1, transfer{limit: limit})
		if err != nil {
			return err
		}
		defer c.close()
		b, start := c.bulks[0], time.Now()
		hasAll := func(b *faults.Board) bool { return b.At(faults.Received) >= uint64(limit) }
		if err := b.wait(ctx, s.tell, hasAll); err != nil {
			return c.giveUp(ctx, t, err)
		}
		t.add(w.name, "both directions together, MB/s", float64(b.moved())/1e6/time.Since(start).Seconds(), timesStock(0.8))
		t.add(w.name, "key exchanges on the jump host after the first", float64(rekeys(s.jump)-before), surely(atLeast(4)))
		pids, err := c.proxies()
		if err != nil {
			return err
		}
		peak, err := sshtest.PeakRSS(pids...)
		if err != nil {
			return err
		}
		t.add(w.name, "peak RSS of the proxy, MiB", float64(peak)/mib, atMost(48))
		if w.relays != nil {
			if peak, err = sshtest.PeakRSS(c.far()...); err != nil {
				return err
			}
			t.add(w.name, "peak RSS of the relay, MiB", float64(peak)/mib, atMost(64))
		}
		return c.finish(t)
	})
}

// rekeys is how often a host has taken new keys into use on a connection that had
// some.
func rekeys(s *sshtest.Sshd) int { return strings.Count(s.Log(), "rekeying in,") }

func amount(bytes int64) string {
	if bytes >= 1<<30 {
		return fmt.Sprintf("%d GiB", bytes>>30)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

// playBusy is L5: who types while others move all that the machine can carry.
func playBusy(ctx context.Context, size sizes) (*table, error) {
	t := &table{title: fmt.Sprintf("%d sessions moving all they can both ways for %v, each by an ssh of its own, and one with 20 keys a second. %s", size.busy, size.busyOf, settled)}
	return t, play(ctx, size, hosts{jump: roomy(), target: roomy()}, func(s *scene, w way) error {
		c, err := s.gather(ctx, w, 1, size.busy, transfer{})
		if err != nil {
			return err
		}
		defer c.close()
		if err := c.settle(ctx, size.busyOf); err != nil {
			return c.giveUp(ctx, t, err)
		}
		before, start := c.moved(), time.Now()
		times, err := c.typeFor(ctx, size.busyOf, time.Second/20)
		if err != nil {
			return c.giveUp(ctx, t, err)
		}
		rate := float64(c.moved()-before) / 1e6 / time.Since(start).Seconds()
		t.addTimes(w.name, "echo", times, or(atMost(100), lessThanStock()))
		t.add(w.name, "all bulk together, MB/s", rate, want{})
		return c.finish(t)
	})
}

func (c *crowd) moved() (sum uint64) {
	for _, b := range c.bulks {
		sum += b.moved()
	}
	return sum
}

// slowRate is what a session beside a slow reader moves, in bytes a second and each
// way: over the costliest way two cores are idle for a fifth of the time. At 250e3 they
// are for a fiftieth, and keys wait for a core, reader or not: that is what busy shows.
const slowRate = 100e3

// playSlow is L6: one of many readers takes nothing for a while, as if its
// terminal was held; its ssh is stopped, so that everything waits in ssh-stay.
func playSlow(ctx context.Context, size sizes) (*table, error) {
	t := &table{title: fmt.Sprintf("%d sessions of %d kB/s each way and one with 20 keys a second; for %v the ssh of one of the former reads nothing, and its far end sends all it can. %s", size.slow, int(slowRate)/1000, size.slowOf, settled)}
	return t, play(ctx, size, hosts{jump: roomy(), target: roomy()}, func(s *scene, w way) error {
		c, err := s.gather(ctx, w, 1, size.slow, transfer{rate: slowRate})
		if err != nil {
			return err
		}
		defer c.close()
		others := &crowd{tell: c.tell, way: w, typists: c.typists, bulks: c.bulks[1:]}
		if err := c.settle(ctx, size.slowOf); err != nil {
			return c.giveUp(ctx, t, err)
		}
		ahead, before, err := others.movesFor(ctx, size.slowOf/2)
		if err != nil {
			return c.giveUp(ctx, t, err)
		}
		held, err := c.hold(ctx, c.bulks[0], func() error {
			during, beside, err := others.movesFor(ctx, size.slowOf)
			t.addTimes(w.name, "echo before", ahead, want{})
			t.addTimes(w.name, "echo beside it", during, or(atMost(100), lessThanStock()))
			t.add(w.name, "rate of the slowest other, % of before", 100*slowest(before, beside), atLeast(90))
			return err
		})
		if err != nil {
			return c.giveUp(ctx, t, err)
		}
		t.add(w.name, "bytes under way to it, MiB", float64(held.under)/mib, atMost(16))
		t.add(w.name, "peak RSS of its proxy, MiB", float64(held.proxy)/mib, atMost(32))
		if w.relays != nil {
			t.add(w.name, "growth of the relay meanwhile, MiB", float64(held.relay)/mib, atMost(16))
		}
		return c.finish(t)
	})
}

// movesFor lets time pass, and returns what keys took and what each bulk session
// moved a second.
func (c *crowd) movesFor(ctx context.Context, d time.Duration) (keys []time.Duration, rates []float64, err error) {
	start := time.Now()
	for _, b := range c.bulks {
		rates = append(rates, -float64(b.moved()))
	}
	keys, err = c.typeFor(ctx, d, time.Second/20)
	for i, b := range c.bulks {
		rates[i] = (rates[i] + float64(b.moved())) / time.Since(start).Seconds()
	}
	return keys, rates, err
}

// slowest is the least part of its earlier rate that a session has kept.
func slowest(before, after []float64) float64 {
	least := 1.0
	for i := range before {
		if before[i] > 0 {
			least = min(least, after[i]/before[i])
		}
	}
	return least
}

// holding is what a held session costs.
type holding struct {
	under        uint64 // bytes sent to it and not received
	proxy, relay int64  // peak of its proxy, growth of all relays
}

// hold stops the reader of b while f runs. It is an error if the reader has read
// meanwhile: then f has shown nothing.
func (c *crowd) hold(ctx context.Context, b *bulk, f func() error) (h holding, err error) {
	pids, err := proxiesOf(b.session)
	if err != nil {
		return h, err
	}
	before, err := c.relayMemory()
	if err != nil {
		return h, err
	}
	b.far.Set(faults.Hurry, 1)
	if err := b.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return h, err
	}
	defer b.cmd.Process.Signal(syscall.SIGCONT)
	const piped = 64 << 10 // in ssh's pipe, for the near end to take
	if err := wait(ctx, 200*time.Millisecond); err != nil {
		return h, err
	}
	got := b.near.At(faults.Received)
	if err := f(); err != nil {
		return h, err
	}
	if more := b.near.At(faults.Received) - got; more > piped {
		return h, fmt.Errorf("the slow reader has read %d bytes", more)
	}
	h.under = b.far.At(faults.Sent) - got
	after, err := c.relayMemory()
	if err != nil {
		return h, err
	}
	h.relay = after - before
	h.proxy, err = sshtest.PeakRSS(pids...)
	b.far.Set(faults.Hurry, 0)
	return h, err
}

func (c *crowd) relayMemory() (int64, error) { return sshtest.PSS(c.far()...) }
