package sshtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// fakeTB records what Leaks does to a test.
type fakeTB struct {
	testing.TB
	cleanup func()
	said    string
}

func (f *fakeTB) Helper()                   {}
func (f *fakeTB) Cleanup(fn func())         { f.cleanup = fn }
func (f *fakeTB) Errorf(s string, a ...any) { f.said = fmt.Sprintf(s, a...) }

func TestLeaksFindsOne(t *testing.T) {
	tb := &fakeTB{TB: t}
	leaksWithin(tb, 50*time.Millisecond)
	stop, done := make(chan bool), make(chan bool)
	go leakyLoop(stop, done) // until stop is closed, below
	tb.cleanup()
	if !strings.Contains(tb.said, "1 goroutines") || !strings.Contains(tb.said, "leakyLoop") {
		t.Errorf("got %q, want the stack of leakyLoop", tb.said)
	}
	close(stop)
	<-done
}

func leakyLoop(stop, done chan bool) {
	<-stop
	close(done)
}

func TestLeaksForgivesTheSlow(t *testing.T) {
	tb := &fakeTB{TB: t}
	Leaks(tb)
	stop, done := make(chan bool), make(chan bool)
	go leakyLoop(stop, done)
	close(stop)
	tb.cleanup()
	if tb.said != "" {
		t.Errorf("got %q, want nothing", tb.said)
	}
}
