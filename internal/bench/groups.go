//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// maker makes a group, and what that needs.
type maker struct {
	name string
	make func(*rig) (*group, error)
	part bool // of peers: made only if it is asked for
}

func makers() []maker {
	return []maker{
		{name: "config", make: (*rig).configGroup},
		{name: "idle", make: (*rig).idleGroup}, // before bulk, which a relay forgets in minutes
		{name: "peers", make: (*rig).peersGroup},
		{name: "far", make: (*rig).farGroup},
		{name: "channels", make: (*rig).channelsGroup},
		{name: "typing", make: (*rig).typingGroup},
		{name: "growth", make: (*rig).growthGroup},
		{name: "direct", make: (*rig).directGroup, part: true},
		{name: "jump", make: (*rig).jumpGroup, part: true},
		{name: "resume", make: (*rig).resumeGroup, part: true},
	}
}

func groupNames() (names []string) {
	for _, m := range makers() {
		names = append(names, m.name)
	}
	return names
}

// groups makes those that are asked for, none meaning all.
func (r *rig) groups(only []string) (groups []*group, err error) {
	if err := r.adoptOrphans(); err != nil {
		return nil, err
	}
	if err := r.build(); err != nil {
		return nil, err
	}
	for _, m := range makers() {
		if len(only) == 0 && m.part || len(only) > 0 && !slices.Contains(only, m.name) {
			continue
		}
		g, err := m.make(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		g.name = m.name
		groups = append(groups, g)
	}
	return groups, nil
}

func (r *rig) directGroup() (*group, error) {
	return r.loopback("Straight to the target, on loopback.", plain, fdpass, netcat, direct)
}

func (r *rig) jumpGroup() (*group, error) {
	return r.loopback("Through one jump host, all on loopback.", sshJ, stayJ)
}

func (r *rig) resumeGroup() (*group, error) {
	return r.loopback("Over a stream that can be resumed, on loopback.", sshJ, stayR, stayT)
}

// loopback takes what sessions over those paths do.
func (r *rig) loopback(title string, names ...string) (*group, error) {
	l, err := r.lab(0)
	if err != nil {
		return nil, err
	}
	t := newTrial(l.named(names...), 0)
	t.bytes, t.echoes, t.starts = r.sizes.bytes, r.sizes.echoes, r.sizes.starts
	t.aim()
	return &group{title: title, figures: t.figures(), round: t.round, notes: []string{
		"The CPU time is that of the process between ssh and the network: of `ssh -J` its child `ssh -W`.",
	}}, nil
}

// aim says what each path is beside. A resumed stream is beside ssh -J, a
// connection that dies with its jump host.
func (t *trial) aim() {
	shown := map[string]want{
		fdpass: beside(plain), netcat: beside(plain), socat: beside(plain), auto: beside(plain), direct: beside(netcat),
		stayJ: beside(sshJ), stayR: beside(sshJ), stayT: beside(sshJ),
	}
	bulk := map[string]want{fdpass: atLeast(0.97, plain), direct: atLeast(1, netcat), stayR: atLeast(1, sshJ), stayT: atLeast(1, sshJ)}
	cpu := map[string]want{socat: beside(netcat), stayJ: atMost(1, sshJ)}
	for f, wants := range map[*figure][]map[string]want{
		&t.down:     {bulk, {stayJ: atLeast(1.05, sshJ)}},
		&t.up:       {bulk, {stayJ: atLeast(1.2, sshJ)}},
		&t.cpuDown:  {cpu},
		&t.cpuUp:    {cpu},
		&t.whole:    {{stayJ: atMost(0.85, sshJ)}},
		&t.echo:     {{stayJ: atMost(1.15, sshJ)}},
		&t.echoTail: nil,
	} {
		f.wants = maps.Clone(shown)
		for _, w := range wants {
			maps.Copy(f.wants, w)
		}
	}
}

// farAway is the round trip of the line that most far figures are taken over.
const farAway = 100 * time.Millisecond

func (r *rig) farGroup() (*group, error) {
	l, err := r.lab(farAway / 2)
	if err != nil {
		return nil, err
	}
	t := newTrial(l.named(sshJ, stayJ, stayR), 20*time.Millisecond)
	t.bytes, t.echoes, t.starts = r.sizes.farBytes, r.sizes.farEchoes, 1
	t.down.wants = map[string]want{stayJ: atLeast(19, ""), stayR: beside(sshJ)}
	t.up.wants = map[string]want{stayJ: atLeast(19, ""), stayR: beside(sshJ)}
	t.whole.wants = map[string]want{stayJ: atMost(0.95, sshJ), stayR: beside(sshJ)}
	t.echo.wants = map[string]want{stayJ: atMost(105, ""), stayR: beside(sshJ)}
	return &group{title: "Through one jump host, jump host and target 100 ms of round trip away, loopback between them.",
		figures: []*figure{&t.down, &t.up, &t.whole, &t.echo}, round: t.round, rounds: r.sizes.far}, nil
}
