//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// muxed takes the throughput of several sessions at once that share one ssh, by
// ControlMaster: their sum binds on what is below ssh.
type muxed struct {
	paths    []path
	sessions int
	warm     time.Duration // until windows have opened
	flow     time.Duration // that the rate is taken for

	down, up figure
}

func newMuxed(paths []path, rtt time.Duration, sessions int, flow time.Duration) *muxed {
	m := &muxed{paths: paths, sessions: sessions, warm: flow/2 + 10*rtt, flow: flow + 10*rtt}
	if rtt == 0 {
		m.flow *= 3 // where the CPU binds, a second tells little
	}
	name := fmt.Sprintf("%d ms, sessions: %d, ", rtt.Milliseconds(), sessions)
	wants := map[string]want{sshJ: beside(plain), stayJ: atLeast(1, sshJ), stayR: atLeast(1, sshJ)}
	if rtt == farAway && sessions == 4 {
		wants[stayR] = atLeast(3, sshJ)
	}
	m.down = figure{name: name + "down", unit: "MB/s", wants: wants}
	m.up = figure{name: name + "up", unit: "MB/s", wants: wants}
	for _, p := range paths {
		m.down.paths = append(m.down.paths, p.name)
		m.up.paths = append(m.up.paths, p.name)
	}
	return m
}

// channelsGroup takes the rate over a time and not of a size: what fills one
// path for a second is over in an instant on another.
func (r *rig) channelsGroup() (*group, error) {
	g := &group{title: "Sessions that share one ssh, by ControlMaster, for a round trip of 0, 20 and 100 ms: without a proxy straight to a host, " +
		"and through one jump host. Their sum.", rounds: r.sizes.channels}
	var all []*muxed
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond, farAway} {
		l, err := r.lab(rtt / 2)
		if err != nil {
			return nil, err
		}
		for _, sessions := range r.sizes.parallel {
			m := newMuxed(l.named(plain, sshJ, stayJ, stayR), rtt, sessions, r.sizes.flow)
			all = append(all, m)
			g.figures = append(g.figures, &m.down, &m.up)
		}
	}
	g.round = func(ctx context.Context, n int) error {
		for _, m := range all {
			if err := m.round(ctx, n); err != nil {
				return err
			}
		}
		return nil
	}
	return g, nil
}

func (m *muxed) round(ctx context.Context, n int) error {
	for _, p := range rotated(m.paths, n) {
		down, up, err := m.take(ctx, p)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", m.down.name, p.name, err)
		}
		m.down.add(p.name, down)
		m.up.add(p.name, up)
	}
	return nil
}

// take has all sessions send up first: what is under way when that ends is
// little, while the other way a window for each is.
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
	if up, err = m.together(ctx, p, "exec cat >/dev/null", (*session).flood); err != nil {
		return 0, 0, err
	}
	down, err = m.together(ctx, p, "read x; exec cat /dev/zero", (*session).drain)
	return down, up, err
}

// together is what all sessions move in flow, in MB/s.
func (m *muxed) together(ctx context.Context, p path, remote string, move func(*session, *atomic.Int64)) (rate float64, err error) {
	all, err := openMany(ctx, p, remote, m.sessions, m.sessions)
	defer func() { err = errors.Join(err, closeAll(all)) }()
	if err != nil {
		return 0, err
	}
	var moved atomic.Int64
	var group sync.WaitGroup
	for _, s := range all {
		group.Go(func() { move(s, &moved) }) // ends with ssh
	}
	defer group.Wait()
	defer func() {
		for _, s := range all {
			s.kill()
		}
	}()
	if err := m.warmUp(ctx, &moved); err != nil {
		return 0, err
	}
	start, before := time.Now(), moved.Load()
	if err := pause(ctx, m.flow); err != nil {
		return 0, err
	}
	rate = float64(moved.Load()-before) / 1e6 / time.Since(start).Seconds()
	if rate == 0 {
		err = errors.New("nothing moves")
	}
	return rate, err
}

// warmUp takes some bytes too. On loopback a TCP connection with BBR may stand
// still for seconds before its windows have opened, whatever the path. And ssh
// itself is slow with the first bytes of many sessions that send: until their
// windows (2 MiB each) have gone into its buffers and out again, it spends most of
// its time on growing those, some hundred bytes at a time, and moves 20 to 60 MB/s
// through any proxy. For 16 sessions that ends after 62 MiB.
func (m *muxed) warmUp(ctx context.Context, moved *atomic.Int64) error {
	const (
		step = 100 * time.Millisecond
		each = 5 << 20 // bytes of a session
	)
	err := pause(ctx, m.warm)
	least := max(warmUp, int64(m.sessions)*each)
	for end := time.Now().Add(10 * time.Second); err == nil && moved.Load() < least && time.Now().Before(end); {
		err = pause(ctx, step)
	}
	return err
}

// flood sends until ssh has ended. What lies between us and the far end is full
// after the warm-up, so that what we can write is what the far end reads.
func (s *session) flood(moved *atomic.Int64) {
	buf := make([]byte, chunk/4)
	for s.write(buf) == nil {
		moved.Add(int64(len(buf)))
	}
}

// drain asks for bytes and reads until ssh has ended.
func (s *session) drain(moved *atomic.Int64) {
	err := s.write([]byte("\n"))
	for buf := make([]byte, 4*chunk); err == nil; {
		var n int
		n, err = s.read(buf)
		moved.Add(int64(n))
	}
}

// openMany opens n sessions, some at once. The caller closes them, also with an
// error.
func openMany(ctx context.Context, p path, remote string, n, atOnce int) (all []*session, err error) {
	opened, errs := make([]*session, n), make([]error, n)
	turns := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for i := range n {
		turns <- struct{}{}
		group.Go(func() {
			opened[i], errs[i] = p.open(ctx, remote)
			<-turns
		})
	}
	group.Wait()
	for _, s := range opened {
		if s != nil {
			all = append(all, s)
		}
	}
	return all, errors.Join(errs...)
}

func closeAll(all []*session) (err error) {
	for _, s := range all {
		err = errors.Join(err, s.close())
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
