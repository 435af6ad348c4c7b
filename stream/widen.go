package stream

import (
	"context"
	"time"
)

// meter measures bytes over time.
type meter struct {
	since time.Time
	bytes int
}

// add counts, and returns a rate in bytes a second once enough have come by.
func (m *meter) add(n, enough int, now time.Time) (rate float64, ok bool) {
	if m.since.IsZero() {
		m.since = now
	}
	m.bytes += n
	took := now.Sub(m.since)
	if m.bytes < enough || took <= 0 {
		return 0, false
	}
	rate = float64(m.bytes) / took.Seconds()
	*m = meter{since: now}
	return rate, true
}

// flowLocked notices when the channels' windows bind.
func (s *Stream) flowLocked(l *link, direction, n int, now time.Time) {
	if l.rtt < farAway || len(l.channels) >= maxChannels {
		return
	}
	full := float64(len(l.channels) * channelWindow)
	rate, ok := l.flow[direction].add(n, len(l.channels)*channelWindow/2, now)
	if ok && rate*l.rtt.Seconds() > full/2 {
		select {
		case l.more <- struct{}{}:
		default:
		}
	}
}

// widen opens one more channel for the link.
func (p *keeper) widen() {
	if p.joining != nil || p.lone || p.told {
		return
	}
	p.joining = make(chan joined, 1)
	t, result := p.transport, p.joining
	q := request{want: wantJoin, generation: p.link.generation}
	go func() { // ends with the transport
		conn, err := t.Open(context.Background()) // which bounds itself
		if err == nil {
			if _, err = p.ask(conn, q); err != nil {
				conn.Close()
			}
		}
		result <- joined{q.generation, conn, err}
	}()
}

func (p *keeper) joined(j joined) {
	p.joining = nil
	if j.generation != p.link.generation {
		if j.err == nil {
			j.conn.Close()
		}
		return
	}
	if j.err != nil {
		p.cfg.Log.Debug("no further channel", "error", j.err)
		p.lone = true
		return
	}
	if !p.s.join(p.link.generation, j.conn) {
		j.conn.Close()
	}
	p.cfg.Log.Debug("one more channel")
}
