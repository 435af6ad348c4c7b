package sshtest

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// Leaks fails the test if a goroutine that began after this call is still there
// 5 s after the test and its later Cleanups have ended. Call it first, and not
// in a parallel test: it cannot tell another test's goroutines from this one's.
func Leaks(tb testing.TB) {
	tb.Helper()
	leaksWithin(tb, 5*time.Second)
}

func leaksWithin(tb testing.TB, patience time.Duration) {
	tb.Helper()
	before := goroutines()
	tb.Cleanup(func() {
		var left []string
		gone := func() bool {
			left = nil
			for id, stack := range goroutines() {
				if _, old := before[id]; !old {
					left = append(left, stack)
				}
			}
			return len(left) == 0
		}
		if !poll(patience, gone) {
			tb.Errorf("%d goroutines left behind:\n\n%s", len(left), strings.Join(left, "\n\n"))
		}
	})
}

// goroutines are the stacks of all goroutines by number, without those that the
// testing package and os/signal start and keep.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	all := make(map[string]string)
	for _, stack := range strings.Split(string(buf[:n]), "\n\n") {
		if strings.Contains(stack, "created by testing.") || strings.Contains(stack, "created by os/signal.") {
			continue
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		all[id] = stack
	}
	return all
}
