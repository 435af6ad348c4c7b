package stream

import "time"

// Stats is how a stream fares.
type Stats struct {
	Sent, Received int64 // bytes that the peer has taken, and that were taken here

	// Of the link; 0 without one.
	RTT     time.Duration // the last round trip; 0: not known yet
	Silence time.Duration // since the peer was last heard
}

// Stats costs the stream nothing.
func (s *Stream) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := Stats{Sent: int64(s.acked), Received: int64(s.taken)}
	if l := s.link; l != nil {
		stats.RTT, stats.Silence = l.last, time.Since(l.lastHeard())
	}
	return stats
}
