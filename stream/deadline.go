package stream

import (
	"net"
	"sync"
	"time"
)

type addr string

func (addr) Network() string  { return "stream" }
func (a addr) String() string { return string(a) }

func (s *Stream) LocalAddr() net.Addr  { return addr("local") }
func (s *Stream) RemoteAddr() net.Addr { return addr("relay") }

func (s *Stream) SetDeadline(t time.Time) error {
	s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

func (s *Stream) SetReadDeadline(t time.Time) error  { return s.setDeadline(&s.readBy, t) }
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.setDeadline(&s.writeBy, t) }

func (s *Stream) setDeadline(d *deadline, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	d.setLocked(&s.mu, t)
	return nil
}

// deadline wakes those who wait for cond once it has passed.
type deadline struct {
	cond   *sync.Cond
	timer  *time.Timer
	passed bool
}

// setLocked sets it to t; the zero time is never.
func (d *deadline) setLocked(mu *sync.Mutex, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.passed = !t.IsZero() && !t.After(time.Now())
	if d.passed {
		d.cond.Broadcast()
	}
	if t.IsZero() || d.passed {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		mu.Lock()
		defer mu.Unlock()
		if d.timer == timer { // not set anew meanwhile
			d.passed = true
			d.cond.Broadcast()
		}
	})
	d.timer = timer
}
