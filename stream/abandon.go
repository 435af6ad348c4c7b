package stream

import "context"

// Abandon is Shutdown for who needs no more of what was written than has been sent:
// the rest is dropped, so that the peer hears of the end soon. It gives up when the
// peer has taken nothing for 5 s.
func (s *Stream) Abandon(ctx context.Context) error {
	s.mu.Lock()
	if !s.endTold && s.bye == nil && s.err == nil {
		s.memory.add(-int(s.end - s.sent))
		s.out.truncate(int(s.sent - s.acked))
		s.end = s.sent
	}
	s.closeLocked(nil)
	s.linger = abandonedTime
	s.mu.Unlock()
	return s.Shutdown(ctx)
}
