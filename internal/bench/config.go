//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ssh-stay/config"
)

// resolver takes the time to find one host's settings, by us in process and by a
// run of ssh -G.
type resolver struct {
	files   []string
	times   int       // a round
	figures []*figure // one a file
}

// Where ours is the only one that has a target.
const (
	inProcess = "ssh-stay, in process"
	sshG      = "ssh -G"
)

func (r *rig) configGroup() (*group, error) {
	dir, err := os.MkdirTemp("", "bench-config-")
	if err != nil {
		return nil, err
	}
	r.onClose(func() error { return os.RemoveAll(dir) })
	var hosts strings.Builder
	for i := range 400 {
		fmt.Fprintf(&hosts, "Host web%d web%d.example.org\n    HostName 192.0.2.%d\n    User deploy\n    Port %d\n"+
			"    IdentityFile ~/.ssh/id_%d\n    ProxyJump gate\n\n", i, i, i%256, 2200+i, i)
	}
	c := &resolver{times: r.sizes.dials}
	for _, f := range []struct {
		name, text string
		limit      float64
	}{
		{"an empty file", "", 0.1},
		{"400 Host blocks", hosts.String(), 3},
	} {
		file := filepath.Join(dir, strings.Fields(f.name)[0])
		if err := os.WriteFile(file, []byte(f.text), 0o600); err != nil {
			return nil, err
		}
		c.files = append(c.files, file)
		c.figures = append(c.figures, &figure{name: "one host of " + f.name, unit: "ms", paths: []string{inProcess, sshG},
			wants: map[string]want{inProcess: atMost(f.limit, "")}})
	}
	return &group{title: "What the configuration means for one host.", figures: c.figures, round: c.round}, nil
}

func (c *resolver) round(ctx context.Context, _ int) error {
	for range c.times {
		for i, file := range c.files {
			start := time.Now()
			if _, err := config.Resolve(ctx, config.Query{Host: "web399", File: file}); err != nil {
				return err
			}
			c.figures[i].add(inProcess, time.Since(start).Seconds()*1e3)
			start = time.Now()
			if err := exec.CommandContext(ctx, "ssh", "-G", "-F", file, "web399").Run(); err != nil {
				return fmt.Errorf("ssh -G: %w", err)
			}
			c.figures[i].add(sshG, time.Since(start).Seconds()*1e3)
		}
	}
	return nil
}
