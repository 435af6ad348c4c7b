//go:build linux

package main

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"testing"
	"time"
)

// TestCollection: the garbage collector runs late for the first time, and then as
// ever, as the runtime itself tells: from 4 MB of heap on.
func TestCollection(t *testing.T) {
	w := newWorld(t)
	goals := func(command string) []string {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		cmd := w.client.Command(ctx, "one", command)
		cmd.Env = append(cmd.Environ(), "GODEBUG=gctrace=1")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, stderr.String())
		}
		return regexp.MustCompile(`\d+ MB goal`).FindAllString(stderr.String(), -1)
	}
	if got := goals("true"); len(got) > 0 {
		t.Errorf("got %q for a short session, want no run", got)
	}
	got := goals("head -c 256000000 /dev/zero")
	if len(got) < 10 {
		t.Fatalf("got %q for 256 MB, want many runs", got)
	}
	const asEver = "4 MB goal"
	if got[0] == asEver || !slices.Contains(got, asEver) {
		t.Errorf("got %q, want more than 4 MB first, and 4 MB again later", got)
	}
}
