package hop

import (
	"net"
	"time"

	"ssh-stay/keepalive"
)

// Stats is how a hop fares.
type Stats struct {
	RTT     time.Duration // the last round trip to the host; 0: not known yet
	Silence time.Duration // since the host was last heard
	Missed  int           // probes in a row without an answer
}

// Stats costs the hop nothing. Where the hop has a TCP connection to itself, the
// kernel's round trip is told: all traffic brings it up to date, and probes there
// are in silence alone. Else it is that of the last probe, or of the last session
// that was opened.
func (h *Hop) Stats() Stats {
	silence := h.Silence()
	s := Stats{RTT: time.Duration(h.rtt.Load()), Silence: silence, Missed: keepalive.Missed(silence, h.interval)}
	if h.conn.tcp != nil {
		if info, err := keepalive.ReadTCP(h.conn.tcp); err == nil && info.RTT > 0 {
			s.RTT = info.RTT
		}
	}
	return s
}

// LocalAddr is the near end of what the hop runs over.
func (h *Hop) LocalAddr() net.Addr { return h.conn.Conn.LocalAddr() }

// timed notes a round trip that began at start.
func (h *Hop) timed(start time.Time) { h.rtt.Store(int64(time.Since(start))) }
