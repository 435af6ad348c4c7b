//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// typed takes the echoes of keys on a far line. All paths are typed on at once:
// keys are too few to be in each other's way, and share the same moments.
type typed struct {
	paths []path
	mosh  *moshPath // nil: there is none
	keys  int       // of each interval

	every     []time.Duration
	p50s, p99 []figure // by interval
	login     figure
}

func (r *rig) typingGroup() (*group, error) {
	l, err := r.lab(farAway / 2)
	if err != nil {
		return nil, err
	}
	g := &group{title: "A person who types, 100 ms of round trip away: without a proxy and by mosh straight to a host, and through one jump host.",
		rounds: r.sizes.typing}
	t := &typed{paths: l.named(plain, sshJ, stayJ, stayR), keys: r.sizes.keys,
		every: []time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond},
		login: figure{name: "a session that runs true", unit: "ms", paths: []string{plain}, wants: map[string]want{mosh: beside(plain)}}}
	names := []string{plain, sshJ, stayJ, stayR}
	if missing := lacks(mosh); missing != "" {
		g.notes = append(g.notes, missing)
	} else {
		g.notes = append(g.notes, "mosh with --predict=never: what a prediction shows is no echo.")
		t.mosh = &moshPath{path: l.paths[plain]}
		names = append(names, mosh)
		t.login.paths = append(t.login.paths, mosh)
	}
	for _, every := range t.every {
		name := fmt.Sprintf("a key every %v, ", every)
		t.p50s = append(t.p50s, figure{name: name + "p50", unit: "ms", paths: names,
			wants: map[string]want{sshJ: beside(plain), stayJ: atMost(105, ""), stayR: atMost(105, ""), mosh: beside(plain)}})
		t.p99 = append(t.p99, figure{name: name + "p99", unit: "ms", paths: names,
			wants: map[string]want{sshJ: beside(plain), stayJ: beside(plain), stayR: beside(plain), mosh: beside(plain)}})
	}
	for i := range t.every {
		g.figures = append(g.figures, &t.p50s[i], &t.p99[i])
	}
	g.figures, g.round = append(g.figures, &t.login), t.round
	return g, nil
}

func (t *typed) round(ctx context.Context, n int) (err error) {
	if err := t.logins(ctx); err != nil {
		return err
	}
	names, terminals, err := t.open(ctx)
	defer func() {
		for _, s := range terminals {
			err = errors.Join(err, s.close())
		}
	}()
	if err != nil {
		return err
	}
	for i, every := range t.every {
		times, errs := make([][]time.Duration, len(names)), make([]error, len(names))
		var group sync.WaitGroup
		for j, s := range terminals {
			group.Go(func() { times[j], errs[j] = typing(s, t.keys, every) }) // ends after its keys
		}
		group.Wait()
		for j, name := range names {
			if errs[j] != nil {
				return fmt.Errorf("%s: %w", name, errs[j])
			}
			slices.Sort(times[j])
			t.p50s[i].add(name, quantile(times[j], 0.5).Seconds()*1e3)
			t.p99[i].add(name, quantile(times[j], 0.99).Seconds()*1e3)
		}
	}
	return nil
}

// logins times what starts a session as a whole, one after the other.
func (t *typed) logins(ctx context.Context) error {
	took, err := t.paths[0].wholeSession(ctx)
	if err != nil {
		return err
	}
	t.login.add(plain, took.Seconds()*1e3)
	if t.mosh == nil {
		return nil
	}
	if took, err = t.mosh.wholeSession(ctx); err != nil {
		return err
	}
	t.login.add(mosh, took.Seconds()*1e3)
	return nil
}

// open logs in on every path at once. The caller closes what there is, also with
// an error.
func (t *typed) open(ctx context.Context) (names []string, all []terminal, err error) {
	openers := make(map[string]func() (terminal, error))
	for _, p := range t.paths {
		names = append(names, p.name)
		openers[p.name] = func() (terminal, error) { return p.open(ctx, "exec cat") }
	}
	if t.mosh != nil {
		names = append(names, mosh)
		openers[mosh] = func() (terminal, error) { return t.mosh.open(ctx) }
	}
	opened, errs := make([]terminal, len(names)), make([]error, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		group.Go(func() { opened[i], errs[i] = openers[name]() })
	}
	group.Wait()
	for i, s := range opened {
		if errs[i] == nil {
			all = append(all, s)
		}
	}
	return names, all, errors.Join(errs...)
}
