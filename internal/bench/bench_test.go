//go:build linux

package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestFailedGroup has a group fail in the middle of its second round: what it
// took stays in the table, the other group goes on, and the run has failed.
func TestFailedGroup(t *testing.T) {
	fails := figure{name: "speed", unit: "MB/s", paths: []string{sshJ, stayJ}, wants: map[string]want{stayJ: atLeast(1, sshJ)}}
	never := figure{name: "latency", unit: "us", paths: []string{sshJ, stayJ}, wants: map[string]want{stayJ: beside(sshJ)}}
	// As the CPU time of a proxy, which a path without one has no row for.
	goes := figure{name: "size", unit: "MB", paths: []string{direct}, wants: map[string]want{direct: beside(plain)}}
	groups := []*group{
		{name: "fails", figures: []*figure{&fails, &never}, round: func(_ context.Context, n int) error {
			fails.add(stayJ, 20)
			if n == 1 {
				return errors.New("no more")
			}
			fails.add(sshJ, 10)
			return nil
		}},
		{name: "goes", figures: []*figure{&goes}, round: func(context.Context, int) error {
			goes.add(plain, 0)
			goes.add(direct, 8)
			return nil
		}},
	}
	for n := range 3 {
		if taken, err := round(t.Context(), groups, n, time.Now(), time.Hour); err != nil || !taken {
			t.Fatalf("round %d: taken %v, %v", n, taken, err)
		}
	}
	if err := failures(groups); err == nil || err.Error() != "failed: fails" {
		t.Errorf("got %v, want that the first group failed", err)
	}
	text := tables(groups)
	for _, want := range []string{"2.000 (2.00 to 2.00) x ssh -J", "Samples of a figure: 0 to 2.", "| none", "Given up in round 2", "Samples of a figure: 3."} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "Inf") {
		t.Errorf("a ratio to what has no row in\n%s", text)
	}
}

func TestDue(t *testing.T) {
	for _, c := range []struct {
		what string
		g    group
		n    int
		want bool
	}{
		{"the first, with no time left", group{longest: time.Hour}, 0, true},
		{"one that fits", group{longest: time.Minute}, 1, true},
		{"one that does not", group{longest: 2 * time.Minute}, 1, false},
		{"more than the group has", group{rounds: 2}, 2, false},
		{"the last of the group", group{rounds: 2}, 1, true},
		{"after a failure", group{failed: true}, 1, false},
	} {
		left := time.Minute
		if c.n == 0 {
			left = -left
		}
		if got := c.g.due(c.n, left); got != c.want {
			t.Errorf("%s: got %v, want %v", c.what, got, c.want)
		}
	}
}
