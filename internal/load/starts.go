//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"ssh-stay/internal/sshtest"
)

// startEvery is 300 starts a minute.
const startEvery = time.Minute / 300

// limited is what sshd takes by default: of more than ten at once that have not
// logged in yet it drops three in ten, and of more than a hundred all.
// PerSourcePenalties, where sshd knows them (OpenSSH 9.8), are on by default.
func limited() []string { return []string{"MaxStartups 10:30:100", quickKex} }

// playStarts is L3: sessions that start, one after the other and all at once. What
// a host drops of the latter is as it was told to; ours are to fail no more often
// than others.
func playStarts(ctx context.Context, size sizes) (*table, error) {
	t := &table{title: fmt.Sprintf("`ssh HOST true`, 300 a minute for %v (%s: a fifth of that) and then %d at once; %s on the jump host, %s.",
		size.startsOf, stock, size.burst, limited()[0], penalties())}
	return t, play(ctx, size, hosts{jump: limited(), target: roomy()}, func(s *scene, w way) error {
		steady := int(size.startsOf / startEvery)
		if w.name == stock {
			steady = max(steady/5, 1)
		}
		return errors.Join(
			s.starts(ctx, t, w, "in turn", steady, startEvery, exactly(0)),
			s.starts(ctx, t, w, "at once", size.burst, 0, lessThanStock()))
	})
}

func (s *scene) starts(ctx context.Context, t *table, w way, name string, n int, every time.Duration, failures want) error {
	before := drops(s.jump)
	times, failed := s.startMany(ctx, w, n, every)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.tell("%d %s: %d failed", n, name, len(failed))
	if len(failed) > 0 {
		s.tell("%v", alike(failed))
	}
	t.add(w.name, name+": failed", float64(len(failed)), failures)
	t.addTimes(w.name, name, times, want{})
	t.add(w.name, name+": dropped by the jump host's sshd", float64(drops(s.jump)-before), want{})
	return nil
}

// penalties says whether this sshd has them.
func penalties() string {
	s, err := sshtest.StartSshd(sshtest.SshdConfig{Lines: []string{"PerSourcePenalties yes"}})
	if err != nil {
		return "without PerSourcePenalties, which this sshd does not know"
	}
	s.Close()
	return "PerSourcePenalties as by default"
}

// drops is how many connections a host has closed unheard.
func drops(s *sshtest.Sshd) int { return strings.Count(s.Log(), "past MaxStartups") }

// startMany starts n sessions, one at each interval or all at once, and returns
// what those took that came to a good end, sorted.
func (s *scene) startMany(ctx context.Context, w way, n int, every time.Duration) (times []time.Duration, failed []error) {
	var all sync.WaitGroup
	var mu sync.Mutex // guards times and failed
	begin := time.Now()
	for i := range n {
		if wait(ctx, time.Until(begin.Add(time.Duration(i)*every))) != nil {
			break
		}
		all.Go(func() { // ends with ssh
			took, err := s.startOne(ctx, w)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, err)
				return
			}
			times = append(times, took)
		})
	}
	all.Wait()
	slices.Sort(times)
	return times, failed
}

// startOne is `ssh HOST true`, whole.
func (s *scene) startOne(ctx context.Context, w way) (time.Duration, error) {
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer nothing.Close()
	start := time.Now()
	n, err := s.start(ctx, w, nothing, nil, "true")
	if err != nil {
		return 0, err
	}
	err = n.gone()
	return time.Since(start), err
}
