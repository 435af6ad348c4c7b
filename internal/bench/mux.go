//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// muxed takes the throughput of several sessions at once that share one ssh, by
// ControlMaster: their sum binds on what is below ssh.
type muxed struct {
	paths    []path
	sessions int
	bytes    int64 // of each session, in either direction

	down, up figure
}

func newMuxed(paths []path, sessions int, bytes int64) *muxed {
	m := &muxed{paths: paths, sessions: sessions, bytes: bytes - bytes%chunk,
		down: figure{name: fmt.Sprintf("%d sessions of one ssh, down", sessions), unit: "MB/s"},
		up:   figure{name: fmt.Sprintf("%d sessions of one ssh, up", sessions), unit: "MB/s"}}
	for _, p := range paths {
		m.down.paths = append(m.down.paths, p.name)
		m.up.paths = append(m.up.paths, p.name)
	}
	return m
}

func (m *muxed) round(ctx context.Context, n int) error {
	for _, p := range rotated(m.paths, n) {
		down, up, err := m.take(ctx, p)
		if err != nil {
			return err
		}
		m.down.add(p.name, down)
		m.up.add(p.name, up)
	}
	return nil
}

// take moves a warm-up and then the bytes in each session, all of them first
// down and then up.
func (m *muxed) take(ctx context.Context, p path) (down, up float64, err error) {
	dir, err := os.MkdirTemp("", "bench-mux-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	p.options = []string{"-o", "ControlMaster=yes", "-o", "ControlPath=" + socket}
	master, err := p.open(ctx, "read x")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, master.close()) }()
	p.options = []string{"-o", "ControlMaster=no", "-o", "ControlPath=" + socket}
	send, receive := "read x; head -c %d /dev/zero; ", "dd bs=%d count=%d iflag=fullblock of=/dev/null 2>&1; "
	remote := "export LC_ALL=C; " + fmt.Sprintf(send+send, warmUp, m.bytes) +
		fmt.Sprintf(receive+receive, chunk, warmUp/chunk, chunk, m.bytes/chunk) + "read x"
	var all []*session
	for range m.sessions {
		s, err := p.open(ctx, remote)
		if err != nil {
			return 0, 0, err
		}
		defer s.close()
		all = append(all, s)
	}
	for _, step := range []struct {
		move func(*session, int64) (time.Duration, error)
		rate *float64
	}{{(*session).download, &down}, {(*session).upload, &up}} {
		if _, err := m.together(all, warmUp, step.move); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", p.name, err)
		}
		if *step.rate, err = m.together(all, m.bytes, step.move); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return down, up, nil
}

// together moves size bytes in each session at once, and returns their sum in
// MB/s until the last one has ended.
func (m *muxed) together(all []*session, size int64, move func(*session, int64) (time.Duration, error)) (float64, error) {
	errs := make([]error, len(all))
	var group sync.WaitGroup
	start := time.Now()
	for i, s := range all {
		group.Go(func() { _, errs[i] = move(s, size) })
	}
	group.Wait()
	return float64(size) * float64(len(all)) / 1e6 / time.Since(start).Seconds(), errors.Join(errs...)
}
