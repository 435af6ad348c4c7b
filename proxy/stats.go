package proxy

import (
	"net"
	"time"

	"ssh-stay/keepalive"
)

// Stats is how a connection fares.
type Stats struct {
	Up, Down int64         // bytes to the peer and from it
	RTT      time.Duration // of the last round trip, through all hops; 0: not known
	Silence  time.Duration // since something was last heard; 0: not known
	Missed   int           // probes in a row without an answer
}

// Stats costs the connection nothing: from TCP to ssh the bytes go through the
// kernel alone, which counts them itself.
func (c *Conn) Stats() Stats {
	s := Stats{Up: c.up.Load(), Down: c.down.Load()}
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		if info, err := keepalive.ReadTCP(tcp); err == nil {
			s = Stats{info.Sent, info.Received, info.RTT, info.Silence, info.Missed}
		}
		return s
	}
	if c.path != nil && len(c.path.hops) > 0 {
		last := c.path.Last().Stats()
		s.RTT, s.Silence = last.RTT, last.Silence
		for _, h := range c.path.hops {
			s.Missed = max(s.Missed, h.Stats().Missed)
		}
	}
	return s
}

// LocalAddr is the near end of what the first hop runs over.
func (p *Path) LocalAddr() net.Addr { return p.hops[0].LocalAddr() }
