package stream

import "sync/atomic"

// memory is what the streams of one server hold. A nil one has no limit.
type memory struct {
	limit int64
	used  atomic.Int64
}

func (m *memory) add(n int) {
	if m != nil && n != 0 {
		m.used.Add(int64(n))
	}
}

// isTight says that no stream shall take more than it needs.
func (m *memory) isTight() bool { return m != nil && m.used.Load() > m.limit }
