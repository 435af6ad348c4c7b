//go:build linux

package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ssh-stay/internal/faults"
	"ssh-stay/internal/sshtest"
)

// TestMain is also the ends of the bulk sessions.
func TestMain(m *testing.M) {
	if peer := peerMain(os.Args); peer >= 0 {
		os.Exit(peer)
	}
	os.Exit(m.Run())
}

// TestQuick plays every load, small: no byte, session or start may be lost. What
// the figures are is the machine's, which may be busy.
func TestQuick(t *testing.T) {
	sshtest.Leaks(t)
	for _, l := range loads() {
		t.Run(l.name, func(t *testing.T) {
			size := quickSizes()
			size.tell = t.Logf
			got, err := l.play(t.Context(), size)
			if err := errors.Join(err, got.lost()); err != nil {
				t.Error(err)
			}
			t.Log(got.section(l.name, ""))
		})
	}
}

// TestDocument: a load's part is replaced, and the others stay in their order.
func TestDocument(t *testing.T) {
	text := ""
	for i, name := range []string{"starts", "idle", "rekey", "idle"} {
		got := &table{title: name + "'s", took: time.Duration(i) * time.Second}
		text = document(text, name, got.section(name, "- now\n"))
	}
	var parts []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "nothing lost") {
			parts = append(parts, strings.TrimSpace(line))
		}
	}
	want := []string{"# Load", "## idle", "nothing lost, in 3s", "## starts", "nothing lost, in 0s", "## rekey", "nothing lost, in 2s"}
	if !slices.Equal(parts, want) {
		t.Errorf("got %q, want %q, of\n%s", parts, want, text)
	}
}

// TestLost kills the proxies of a typist and of a bulk session at full speed, which
// has bytes on their way: both count as lost, and are told with what their ssh has
// said.
func TestLost(t *testing.T) {
	sshtest.Leaks(t)
	s, err := newScene(sizes{tell: t.Logf}, hosts{jump: roomy(), target: roomy()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	c, err := s.gather(t.Context(), s.ways()[0], 2, 1, transfer{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	moving := func(b *faults.Board) bool { return b.At(faults.Received) > 0 }
	if err := c.bulks[0].wait(t.Context(), t.Logf, moving); err != nil {
		t.Fatal(err)
	}
	killed := []*session{c.typists[0].session, c.bulks[0].session}
	pids, err := proxiesOf(killed...)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range killed {
		<-s.exited
	}
	if got := c.over(); got != 2 {
		t.Errorf("%d sessions are over, want 2", got)
	}
	if err := c.typists[0].key(time.Now()); err == nil || !strings.Contains(err.Error(), "exit status 255, stderr") {
		t.Errorf("a key to a dead session: %v, want its exit status and stderr", err)
	}
	var got table
	if err := c.finish(&got); err == nil || strings.Count(err.Error(), "exit status 255, stderr") != 2 || !strings.Contains(err.Error(), "FAIL: ") {
		t.Errorf("finish: %v, want the ends of two sessions, and the bytes of one", err)
	}
	if of := got.figures[0].of[plain]; of != 1 || got.lost() == nil {
		t.Errorf("%v INTACT and %v, want 1 and a loss", of, got.lost())
	}
}
