package stream

import (
	"context"
	"time"
)

// Abandon is Shutdown for who needs no more of what was written than has been sent:
// the rest is dropped, so that the peer hears of the end soon. It gives up when the
// peer has taken nothing for patience, or lingerTime after all.
func (s *Stream) Abandon(patience time.Duration) error {
	s.mu.Lock()
	if !s.endTold && s.bye == nil && s.err == nil {
		s.memory.add(-int(s.end - s.sent))
		s.out.truncate(int(s.sent - s.acked))
		s.end = s.sent
	}
	s.closeLocked(nil)
	s.mu.Unlock()
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	go func() { // ends with ctx
		for taken := s.progress(); ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(patience):
			}
			before := taken
			if taken = s.progress(); taken == before {
				giveUp()
			}
		}
	}()
	return s.Shutdown(ctx)
}

// progress is what the peer has taken.
func (s *Stream) progress() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}
