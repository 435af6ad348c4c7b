//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"ssh-stay/internal/sshtest"
)

// crowd is sessions over the same way at the same time.
type crowd struct {
	tell    func(format string, args ...any)
	way     way
	typists []*typist
	bulks   []*bulk
}

// openers is how many sessions of a crowd log in at once.
const openers = 6

// gather opens that many typists and bulk sessions. The caller closes the crowd.
func (s *scene) gather(ctx context.Context, w way, typists, bulks int, move transfer) (*crowd, error) {
	c := &crowd{tell: s.tell, way: w}
	var mu sync.Mutex // guards c
	err := inParallel(openers, typists+bulks, func(i int) error {
		if i < typists {
			t, err := s.newTypist(ctx, w, uint64(i))
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				c.typists = append(c.typists, t)
			}
			return err
		}
		b, err := s.newBulk(ctx, w, uint64(i), move)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			c.bulks = append(c.bulks, b)
		}
		return err
	})
	if err != nil {
		c.close()
		return nil, fmt.Errorf("open the sessions: %w", err)
	}
	for _, b := range c.bulks {
		b.begin()
	}
	return c, nil
}

// inParallel calls f for each number below n, a few at once, and returns what failed
// as alike does.
func inParallel(few, n int, f func(i int) error) error {
	errs := make([]error, n)
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(few, n) {
		workers.Go(func() { // ends when all numbers are taken
			for i := range next {
				errs[i] = f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	return alike(errs)
}

// alike is the first of each kind of error, and how many there are of it: hundreds of
// sessions may have one reason to end, and differ in its numbers.
func alike(errs []error) error {
	first, count := map[string]error{}, map[string]int{}
	var kinds []string
	for _, err := range errs {
		if err == nil {
			continue
		}
		kind := strings.Map(func(r rune) rune {
			if unicode.IsDigit(r) {
				return -1
			}
			return r
		}, err.Error())
		if count[kind]++; count[kind] == 1 {
			kinds, first[kind] = append(kinds, kind), err
		}
	}
	var all []error
	for _, kind := range kinds {
		all = append(all, fmt.Errorf("%d x %w", count[kind], first[kind]))
	}
	return errors.Join(all...)
}

func (c *crowd) sessions() (all []*session) {
	for _, t := range c.typists {
		all = append(all, t.session)
	}
	for _, b := range c.bulks {
		all = append(all, b.session)
	}
	return all
}

// proxies are the processes between ssh and the network: the only children of the
// sshs, since the shell that ssh starts execs the proxy.
func (c *crowd) proxies() ([]int, error) { return proxiesOf(c.sessions()...) }

func proxiesOf(sessions ...*session) ([]int, error) {
	var parents []int
	for _, n := range sessions {
		parents = append(parents, n.cmd.Process.Pid)
	}
	found := sshtest.Children(parents...)
	if len(found) != len(parents) {
		return nil, fmt.Errorf("%d sessions have %d proxies, want one each", len(parents), len(found))
	}
	return found, nil
}

// typeFor has all typists type for d, and returns what their keys took, sorted.
func (c *crowd) typeFor(ctx context.Context, d, every time.Duration) ([]time.Duration, error) {
	typing, stop := context.WithTimeout(ctx, d)
	defer stop()
	var times []time.Duration
	err := inParallel(len(c.typists), len(c.typists), func(i int) error {
		c.typists[i].times = nil
		return c.typists[i].typeUntil(typing, every)
	})
	for _, t := range c.typists {
		times = append(times, t.times...)
	}
	slices.Sort(times)
	return times, errors.Join(err, ctx.Err())
}

// settled is what settle does, for who reads the table.
const settled = "All bulk begins at one moment; keys and bytes count after a tenth of that time more."

// settle has the typists type for a tenth of d, uncounted.
func (c *crowd) settle(ctx context.Context, d time.Duration) error {
	_, err := c.typeFor(ctx, d/10, time.Second)
	return err
}

// over is how many sessions have ended by themselves.
func (c *crowd) over() (n int) {
	for _, s := range c.sessions() {
		if s.isOver() {
			n++
		}
	}
	return n
}

// end ends all sessions and returns how many were INTACT, and why others were not.
func (c *crowd) end() (intact int, err error) {
	var mu sync.Mutex // guards intact
	n := len(c.typists)
	err = inParallel(n+len(c.bulks), n+len(c.bulks), func(i int) (err error) {
		if i < n {
			err = c.typists[i].end()
		} else {
			err = c.bulks[i-n].end()
		}
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			intact++
		}
		return err
	})
	return intact, err
}

// close kills what has not ended.
func (c *crowd) close() {
	for _, t := range c.typists {
		t.close()
	}
	for _, b := range c.bulks {
		b.close()
	}
}

// finish ends all sessions and notes how many were INTACT. What was not is told
// as the error that it is for ours, and is a figure for stock ssh.
func (c *crowd) finish(t *table) error {
	all := len(c.sessions())
	intact, err := c.end()
	t.add(c.way.name, fmt.Sprintf("INTACT, of %d", all), float64(intact), exactly(all))
	if err != nil && c.way.name == stock {
		c.tell("%s, which is none of our losses: %v", stock, err)
		return nil
	}
	return err
}

// giveUp is for a load that cannot go on: err, and what has become of all sessions
// unless that is our own doing.
func (c *crowd) giveUp(ctx context.Context, t *table, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return errors.Join(err, c.finish(t))
}

const mib = 1 << 20

// far are the processes of ours at the far end.
func (c *crowd) far() []int {
	if c.way.relays == nil {
		return nil
	}
	return c.way.relays()
}

// addMemory notes the PSS of a session: that of its proxy, and of its part of what
// runs at the far end.
func (c *crowd) addMemory(t *table, w want) error {
	proxies, err := c.proxies()
	if err != nil {
		return err
	}
	near, err := sshtest.PSS(proxies...)
	if err != nil {
		return err
	}
	far, err := sshtest.PSS(c.far()...)
	if err != nil {
		return err
	}
	each := func(bytes int64) float64 { return float64(bytes) / mib / float64(len(proxies)) }
	t.add(c.way.name, "PSS of a session, MiB", each(near+far), w)
	t.add(c.way.name, "of that the proxy, MiB", each(near), want{})
	return nil
}
