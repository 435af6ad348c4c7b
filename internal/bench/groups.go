//go:build linux

package main

import (
	"context"
	"errors"
	"time"

	"ssh-stay/internal/sshtest"
)

func groupNames() []string { return []string{"config", "jump", "resume", "direct", "idle", "far"} }

// groups makes those that are asked for, "" meaning all, and what they need.
func (r *rig) groups(only string) ([]*group, error) {
	if err := r.adoptOrphans(); err != nil {
		return nil, err
	}
	if err := r.build(); err != nil {
		return nil, err
	}
	conf, err := r.configGroup()
	if err != nil || only == "config" {
		return []*group{conf}, err
	}
	groups := []*group{conf}
	if only != "far" {
		l, err := r.newLab(nil, nil)
		if err != nil {
			return nil, err
		}
		paths, err := l.paths(r.bin)
		if err != nil {
			return nil, err
		}
		idle, err := r.idleGroup(l, paths)
		if err != nil {
			return nil, err
		}
		groups = append(groups, r.jumpGroup(paths), r.resumeGroup(paths), r.directGroup(paths), idle)
	}
	if only == "" || only == "far" {
		far, err := r.farGroup()
		if err != nil {
			return nil, err
		}
		groups = append(groups, far)
	}
	for _, g := range groups {
		if g.name == only {
			return []*group{g}, nil
		}
	}
	return groups, nil
}

func (r *rig) jumpGroup(paths map[string]path) *group {
	t := newTrial([]path{paths[sshJ], paths[stayJ]}, 0)
	t.bytes, t.echoes, t.starts = r.sizes.bytes, r.sizes.echoes, r.sizes.starts
	t.down.wants = map[string]want{stayJ: atLeast(1.05, sshJ)}
	t.up.wants = map[string]want{stayJ: atLeast(1.2, sshJ)}
	t.cpuDown.wants = map[string]want{stayJ: atMost(1, sshJ)}
	t.cpuUp.wants = map[string]want{stayJ: atMost(1, sshJ)}
	t.whole.wants = map[string]want{stayJ: atMost(0.85, sshJ)}
	t.echo.wants = map[string]want{stayJ: atMost(1.15, sshJ)}
	return &group{"jump", "Through one jump host, all on loopback. The proxy of `ssh -J` is its child `ssh -W`.", t.figures(), t.round}
}

// resumeGroup compares with ssh -J, since what is beside a resumed stream is a
// connection that dies with its jump host.
func (r *rig) resumeGroup(paths map[string]path) *group {
	t := newTrial([]path{paths[sshJ], paths[stayR], paths[stayT]}, 0)
	t.bytes, t.echoes, t.starts = r.sizes.bytes, r.sizes.echoes, r.sizes.starts
	for _, f := range []*figure{&t.down, &t.up} {
		f.wants = map[string]want{stayR: atLeast(1, sshJ), stayT: atLeast(1, sshJ)}
	}
	for _, f := range []*figure{&t.whole, &t.echo, &t.cpuDown, &t.cpuUp} {
		f.wants = map[string]want{stayR: beside(sshJ), stayT: beside(sshJ)}
	}
	return &group{"resume", "Over a stream that can be resumed, on loopback. The CPU time is that of the proxy alone.", t.figures(), t.round}
}

func (r *rig) directGroup(paths map[string]path) *group {
	t := newTrial([]path{paths[plain], paths[netcat], paths[direct], paths[fdpass]}, 0)
	t.bytes, t.echoes, t.starts = r.sizes.bytes, r.sizes.echoes, r.sizes.starts
	for _, f := range []*figure{&t.down, &t.up} {
		f.wants = map[string]want{netcat: beside(plain), direct: atLeast(1, netcat), fdpass: atLeast(0.97, plain)}
	}
	for _, f := range []*figure{&t.whole, &t.echo} {
		f.wants = map[string]want{netcat: beside(plain), direct: beside(netcat), fdpass: beside(plain)}
	}
	for _, f := range []*figure{&t.cpuDown, &t.cpuUp} {
		f.wants = map[string]want{direct: beside(netcat)}
	}
	return &group{"direct", "Straight to the target, on loopback.", t.figures(), t.round}
}

// farGroup has the user 50 ms away from jump host and target.
func (r *rig) farGroup() (*group, error) {
	d, err := sshtest.NewDelay(50 * time.Millisecond)
	if err != nil {
		return nil, err
	}
	r.onClose(d.Close)
	l, err := r.newLab(d.Client, d.Server)
	if err != nil {
		return nil, err
	}
	paths, err := l.paths(r.bin)
	if err != nil {
		return nil, err
	}
	t := newTrial([]path{paths[sshJ], paths[stayJ], paths[stayR]}, 20*time.Millisecond)
	t.bytes, t.echoes, t.starts = r.sizes.farBytes, r.sizes.farEchoes, 1
	t.down.wants = map[string]want{stayJ: atLeast(19, ""), stayR: beside(sshJ)}
	t.up.wants = map[string]want{stayJ: atLeast(19, ""), stayR: beside(sshJ)}
	t.whole.wants = map[string]want{stayJ: atMost(0.95, sshJ), stayR: beside(sshJ)}
	t.echo.wants = map[string]want{stayJ: atMost(105, ""), stayR: beside(sshJ)}
	m := newMuxed([]path{paths[sshJ], paths[stayJ], paths[stayR]}, 4, r.sizes.farBytes)
	m.down.wants = map[string]want{stayJ: beside(sshJ), stayR: atLeast(3, sshJ)}
	m.up.wants = map[string]want{stayJ: beside(sshJ), stayR: atLeast(4, sshJ)}
	round := func(ctx context.Context, n int) error { return errors.Join(t.round(ctx, n), m.round(ctx, n)) }
	return &group{"far", "Through one jump host, jump host and target 100 ms of round trip away, loopback between them.",
		[]*figure{&t.down, &t.up, &t.whole, &t.echo, &m.down, &m.up}, round}, nil
}
