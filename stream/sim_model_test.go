package stream

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// A simModel is what one direction of a stream must be: the bytes that have been
// written, where they end, and how many have come out. Everything that the
// simulation sees is held against it.
type simModel struct {
	mu      sync.Mutex
	written []byte
	ended   bool
	read    int
}

// write is called before the bytes are written.
func (m *simModel) write(b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.written = append(m.written, b...)
}

// end is called before the writer half-closes.
func (m *simModel) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
}

// got is called with what one Read returned. A writer that was aborted may end
// early.
func (m *simModel) got(b []byte, err error, aborted bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.read
	if m.read += len(b); m.read > len(m.written) {
		return fmt.Errorf("read %d bytes, of %d written", m.read, len(m.written))
	}
	if !bytes.Equal(b, m.written[at:m.read]) {
		return fmt.Errorf("%d bytes at %d are not those written there", len(b), at)
	}
	if err == io.EOF && !aborted && !(m.ended && m.read == len(m.written)) {
		return fmt.Errorf("EOF after %d bytes, of %d written, ended: %v", m.read, len(m.written), m.ended)
	}
	return nil
}

func (m *simModel) state() (read, written int, whole bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.read, len(m.written), m.ended && m.read == len(m.written)
}
