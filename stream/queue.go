package stream

import (
	"slices"
	"sync"
)

const (
	minChunk = 4 << 10
	maxChunk = 64 << 10
)

// chunks holds the large ones that are free. What is idle goes to the collector.
var chunks = sync.Pool{New: func() any { return new([maxChunk]byte) }}

// newChunk returns an empty chunk with room for n bytes at least.
func newChunk(n int) []byte {
	if n <= maxChunk/2 {
		return make([]byte, 0, n)
	}
	return chunks.Get().(*[maxChunk]byte)[:0]
}

// freeChunk takes a chunk back that nobody uses any more.
func freeChunk(c []byte) {
	if cap(c) == maxChunk {
		chunks.Put((*[maxChunk]byte)(c[:maxChunk]))
	}
}

// queue is bytes in order. It grows by chunks, from small ones on, and gives
// them back as they empty. The zero value is empty.
type queue struct {
	chunks [][]byte // none is empty
	head   int      // bytes of the first that were discarded
	size   int
}

// add appends a copy of p.
func (q *queue) add(p []byte) {
	q.size += len(p)
	for len(p) > 0 {
		last := len(q.chunks) - 1
		if last < 0 || len(q.chunks[last]) == cap(q.chunks[last]) {
			q.chunks = append(q.chunks, newChunk(min(max(q.size, minChunk), maxChunk)))
			last++
		}
		c := q.chunks[last]
		n := min(len(p), cap(c)-len(c))
		q.chunks[last] = append(c, p[:n]...)
		p = p[n:]
	}
}

// push appends p itself if it is large, else a copy: many small chunks would
// take more room than what they hold.
func (q *queue) push(p []byte) {
	if len(p) < minChunk/2 || len(p) < cap(p)/2 {
		q.add(p)
		freeChunk(p)
		return
	}
	q.size += len(p)
	q.chunks = append(q.chunks, p)
}

// appendFrom appends to b at most n bytes, from offset on.
func (q *queue) appendFrom(b []byte, offset, n int) []byte {
	offset += q.head
	for _, c := range q.chunks {
		if offset >= len(c) {
			offset -= len(c)
			continue
		}
		part := c[offset:min(len(c), offset+n)]
		offset = 0
		b = append(b, part...)
		if n -= len(part); n == 0 {
			break
		}
	}
	return b
}

// first is the first chunk, nil if there is none. It stays valid until it is
// discarded.
func (q *queue) first() []byte {
	if len(q.chunks) == 0 {
		return nil
	}
	return q.chunks[0][q.head:]
}

// discard drops n bytes from the front.
func (q *queue) discard(n int) {
	q.size -= n
	q.head += n
	empty := 0
	for empty < len(q.chunks) && q.head >= len(q.chunks[empty]) {
		q.head -= len(q.chunks[empty])
		freeChunk(q.chunks[empty])
		q.chunks[empty] = nil
		empty++
	}
	q.chunks = q.chunks[empty:]
	if len(q.chunks) == 0 {
		q.chunks = nil
	}
}

// truncate drops all but the first n bytes.
func (q *queue) truncate(n int) {
	keep, left := 0, q.head+n
	for ; n > 0 && left > 0; keep++ {
		c := q.chunks[keep]
		q.chunks[keep] = c[:min(len(c), left)]
		left -= len(q.chunks[keep])
	}
	for i := keep; i < len(q.chunks); i++ {
		freeChunk(q.chunks[i])
		q.chunks[i] = nil
	}
	if q.chunks, q.size = q.chunks[:keep], n; keep == 0 {
		q.clear()
	}
}

// clear empties the queue.
func (q *queue) clear() { *q = queue{} }

// piece is bytes that came before those that belong before them.
type piece struct {
	offset uint64
	data   []byte
}

func (p piece) end() uint64 { return p.offset + uint64(len(p.data)) }

// maxPieces bounds what the pieces cost beyond their bytes.
const maxPieces = 16 << 10

// arrivals are the bytes of a stream as they arrive over several channels: in
// order up to ready, and pieces beyond.
type arrivals struct {
	queue
	ready  uint64
	beyond []piece // sorted by offset
	held   int     // bytes in them
}

// add takes data over. What arrived before is dropped. It reports false if
// there are too many pieces, or more bytes in them than fit a window: some of
// them overlap then.
func (a *arrivals) add(offset uint64, data []byte) bool {
	if end := offset + uint64(len(data)); end <= a.ready {
		freeChunk(data)
		return true
	}
	if offset > a.ready {
		i, _ := slices.BinarySearchFunc(a.beyond, offset, func(p piece, o uint64) int {
			return int(min(1, max(-1, int64(p.offset-o))))
		})
		a.beyond = slices.Insert(a.beyond, i, piece{offset, data})
		a.held += len(data)
		return len(a.beyond) <= maxPieces && a.held <= maxWindow
	}
	a.take(offset, data)
	n := 0
	for n < len(a.beyond) && a.beyond[n].offset <= a.ready {
		a.held -= len(a.beyond[n].data)
		a.take(a.beyond[n].offset, a.beyond[n].data)
		n++
	}
	a.beyond = slices.Delete(a.beyond, 0, n)
	if len(a.beyond) == 0 {
		a.beyond = nil
	}
	return true
}

// take appends what of data lies behind ready, which it reaches.
func (a *arrivals) take(offset uint64, data []byte) {
	old := a.ready - offset
	if old >= uint64(len(data)) {
		freeChunk(data)
		return
	}
	a.ready = offset + uint64(len(data))
	a.push(data[old:])
}

// forget drops the pieces: a new link sends them again.
func (a *arrivals) forget() {
	for _, p := range a.beyond {
		freeChunk(p.data)
	}
	a.beyond, a.held = nil, 0
}
