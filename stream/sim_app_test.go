package stream

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// A simApp is what stands at one side of the stream: ssh, or sshd. It writes and
// reads with pauses, and holds what it sees against the model.
type simApp struct {
	s       *sim
	c       halfCloser
	out, in *simModel
	w, r    *rand.Rand
	size    int  // to write
	slow    bool // to read
	last    bool // half-closes only when the other has
	copies  bool // by ReadFrom and WriteTo, as io.Copy does
	eof     chan struct{}
}

const simMost = 300 << 10

func newSimApp(s *sim, c halfCloser, out, in *simModel) *simApp {
	a := &simApp{s: s, c: c, out: out, in: in, eof: make(chan struct{})}
	a.w, a.r = rand.New(rand.NewPCG(s.r.Uint64(), 0)), rand.New(rand.NewPCG(s.r.Uint64(), 0))
	a.size = min(simMost, s.r.IntN(1<<s.r.IntN(20)))
	if s.r.IntN(200) == 0 {
		a.size = 2*minWindow + s.r.IntN(minWindow) // so that it waits for credit
	}
	a.slow, a.copies = s.r.IntN(4) == 0, s.r.IntN(2) == 0
	return a
}

// pause is none most of the time, and up to 8 s.
func (a *simApp) pause(r *rand.Rand, seldom int) {
	if r.IntN(seldom) == 0 {
		time.Sleep(time.Duration(r.Int64N(int64(time.Millisecond << r.IntN(14)))))
		a.s.busyUntil(time.Since(a.s.start))
	}
}

func (a *simApp) write() {
	if to, ok := a.c.(io.ReaderFrom); ok && a.copies {
		if n, err := to.ReadFrom(&simSource{a, a.size}); err != nil || n != int64(a.size) {
			a.s.broke("read from: %d of %d bytes, %v", n, a.size, err)
			return
		}
	} else if !a.writeAll() {
		return
	}
	if a.last {
		<-a.eof
	}
	a.pause(a.w, 2)
	a.out.end()
	if err := a.c.CloseWrite(); err != nil {
		a.s.broke("half-close: %v", err)
	}
}

func (a *simApp) writeAll() bool {
	b := make([]byte, 64<<10)
	for from := (&simSource{a, a.size}); ; {
		n, err := from.Read(b)
		if err == io.EOF {
			return true
		}
		if k, err := a.c.Write(b[:n]); err != nil || k != n {
			a.s.broke("write: %d of %d bytes, %v", k, n, err)
			return false
		}
	}
}

// A simSource is what an application has to write.
type simSource struct {
	a    *simApp
	left int
}

func (f *simSource) Read(b []byte) (int, error) {
	a := f.a
	if f.left < a.size {
		a.pause(a.w, 4)
	}
	if f.left == 0 {
		return 0, io.EOF
	}
	most := 1 << (1 + a.w.IntN(16))
	if a.size > simMost {
		most = 64 << 10
	}
	b = b[:min(len(b), f.left, 1+a.w.IntN(most))]
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], a.w.Uint64())
	}
	b[len(b)-1] = byte(a.w.Uint32())
	a.out.write(b)
	f.left -= len(b)
	return len(b), nil
}

func (a *simApp) read() {
	defer close(a.eof)
	if from, ok := a.c.(io.WriterTo); ok && a.copies {
		_, err := from.WriteTo(simSink{a})
		if err == nil {
			err = io.EOF
		}
		a.ended(err)
		return
	}
	b := make([]byte, 64<<10)
	for {
		n, err := a.c.Read(b[:1+a.r.IntN(1<<(4+a.r.IntN(13)))])
		simSink{a}.Write(b[:n])
		if err != nil {
			a.ended(err)
			return
		}
	}
}

func (a *simApp) ended(err error) {
	if err := a.in.got(nil, err, a.s.aborted.Load()); err != nil {
		a.s.errorf("%v", err)
	}
	if err != io.EOF {
		a.s.broke("read: %v", err)
	}
}

// A simSink is where an application's input ends.
type simSink struct{ a *simApp }

func (k simSink) Write(b []byte) (int, error) {
	if err := k.a.in.got(b, nil, false); err != nil {
		k.a.s.errorf("%v", err)
	}
	if k.a.slow {
		k.a.pause(k.a.r, 8)
	}
	return len(b), nil
}
