package stream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"
)

// simRoom is what a direction of a channel holds, as a channel's window does.
const simRoom = 64 << 10

// simDial is how long a dial may hang.
const simDial = 20 * time.Second

// A simNet is the network between one client and one Server, with the faults of
// one seed. Whatever is chosen at random is chosen from the seed and the number
// of the transport and the channel, so that it does not depend on the schedule.
type simNet struct {
	srv     *Server
	seed    uint64
	log     *slog.Logger
	calm    time.Time // from then on no fault begins
	serving sync.WaitGroup

	mu    sync.Mutex // guards what follows
	ways  []*simWay
	fired [simFaults]int
}

// The faults of a channel. Those of the way hit all its channels.
const (
	cutClean      = iota // both ends read EOF
	cutReset             // both ends get an error
	cutNear              // the client gets an error, the server hears nothing
	cutFar               // the server gets an error, the client hears nothing
	freezeUp             // nothing from client to server
	freezeDown           // nothing from server to client
	freezeBoth           //
	cutLate              // the client gets an error, and the server what it wrote, later
	wayCut               // as cutReset, for the whole way
	wayDead              // the whole way hears nothing any more
	dialRefused          //
	dialSlow             //
	openRefused          // no more channels on this way
	simFaults            // how many there are
	channelFaults = dialRefused
)

// faulty tells whether a fault may begin now, and counts it if so.
func (n *simNet) faulty(kind int) bool {
	if !time.Now().Before(n.calm) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fired[kind]++
	n.log.Info("fault", "kind", kind)
	return true
}

// dial is Config.Dial.
func (n *simNet) dial(ctx context.Context) (Transport, error) {
	n.mu.Lock()
	w := &simWay{n: n, gone: make(chan struct{}), dead: make(chan struct{})}
	n.ways = append(n.ways, w)
	w.r = rand.New(rand.NewPCG(n.seed, uint64(len(n.ways))))
	n.mu.Unlock()
	w.delay = simDelay(w.r)
	kind, wait := w.r.IntN(10), time.Duration(w.r.Int64N(int64(simDial)))
	if kind == 0 && n.faulty(dialSlow) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if kind < 3 && n.faulty(dialRefused) {
		return nil, syscall.ECONNREFUSED
	}
	return w, nil
}

func simDelay(r *rand.Rand) time.Duration {
	if r.IntN(2) == 0 {
		return 0
	}
	return time.Duration(r.Int64N(int64(100 * time.Millisecond)))
}

// A simWay is one Transport: its channels live and die together, or alone.
type simWay struct {
	n     *simNet
	r     *rand.Rand // of Open
	delay time.Duration
	gone  chan struct{} // closed when the way has been cut or closed
	dead  chan struct{} // closed when nobody answers any more

	mu    sync.Mutex // guards what follows
	ends  []*pipeEnd // of the client
	isCut bool
	isOff bool
	// Until when the way is frozen, for channels that are opened meanwhile.
	up, down time.Time
}

var errSimClosed = errors.New("the way to there is closed")

func (w *simWay) Open(ctx context.Context) (net.Conn, error) {
	w.mu.Lock()
	first, refuse := len(w.ends) == 0, w.r.IntN(8) == 0
	seed := w.r.Uint64()
	w.mu.Unlock()
	select {
	case <-w.gone:
		return nil, errSimClosed
	case <-w.dead:
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.gone:
			return nil, errSimClosed
		}
	default:
	}
	if refuse && !first && w.n.faulty(openRefused) {
		return nil, errors.New("open failed: administratively prohibited")
	}
	return w.open(rand.New(rand.NewPCG(seed, 0)))
}

func (w *simWay) open(r *rand.Rand) (net.Conn, error) {
	near, far := newPipe(simRoom)
	near.out.delay = w.delay + simDelay(r)
	near.in.delay = w.delay + simDelay(r)
	if r.IntN(4) == 0 {
		near.sliced(rand.New(rand.NewPCG(r.Uint64(), 0)), 1+r.IntN(20), 300)
		far.sliced(rand.New(rand.NewPCG(r.Uint64(), 0)), 1+r.IntN(20), 300)
	}
	for range r.IntN(3) {
		w.plan(r, near, far)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut {
		return nil, errSimClosed
	}
	w.ends = append(w.ends, near)
	if w.isOff {
		near.silence()
	}
	near.freeze(time.Until(w.up))
	far.freeze(time.Until(w.down))
	w.n.serving.Go(func() { w.n.srv.Serve(far) })
	return near, nil
}

// plan makes one fault of a channel: after some bytes of one direction, of which
// the first few hundred are the handshake, or after some time.
func (w *simWay) plan(r *rand.Rand, near, far *pipeEnd) {
	kind := r.IntN(channelFaults)
	d := time.Duration(r.Int64N(int64(time.Minute)))
	if r.IntN(4) == 0 && kind != cutLate {
		d = forEver
	}
	soon := time.Duration(r.Int64N(int64(3 * time.Second)))
	act := func() {
		if w.n.faulty(kind) {
			w.fault(kind, near, far, d, soon)
		}
	}
	f := pipeFault{act: act}
	switch r.IntN(4) {
	case 0:
		f.at = r.Int64N(200)
	case 1:
		f.at = r.Int64N(1 << (4 + r.IntN(15)))
	case 2:
		time.AfterFunc(time.Duration(r.Int64N(int64(20*time.Second))), act)
		return
	case 3:
		time.AfterFunc(time.Duration(r.Int64N(int64(200*time.Millisecond))), act)
		return
	}
	end := near
	if r.IntN(2) == 0 {
		end = far
	}
	end.in.faults = append(end.in.faults, f)
	if k := len(end.in.faults); k > 1 && end.in.faults[k-2].at > f.at {
		end.in.faults[k-2], end.in.faults[k-1] = f, end.in.faults[k-2]
	}
}

func (w *simWay) fault(kind int, near, far *pipeEnd, d, soon time.Duration) {
	switch kind {
	case cutClean:
		near.fail(io.EOF)
		far.fail(io.EOF)
	case cutReset:
		near.fail(syscall.ECONNRESET)
		far.fail(syscall.ECONNRESET)
	case freezeUp, freezeDown, freezeBoth:
		w.freeze(kind, near, d)
	case cutNear, cutFar, cutLate:
		w.half(kind, d, soon)
	case wayCut:
		w.cut()
	case wayDead:
		w.die()
	}
}

// freeze stops a channel for a short time, which reorders it against the others,
// or all of them: what carries them is one connection.
func (w *simWay) freeze(kind int, near *pipeEnd, d time.Duration) {
	ends := []*pipeEnd{near}
	if d > 3*time.Second {
		w.mu.Lock()
		defer w.mu.Unlock()
		ends = w.ends
		if until := time.Now().Add(d); kind != freezeDown && until.After(w.up) {
			w.up = until
		}
		if until := time.Now().Add(d); kind != freezeUp && until.After(w.down) {
			w.down = until
		}
	}
	for _, near := range ends {
		if kind != freezeDown {
			near.freeze(d)
		}
		if kind != freezeUp {
			near.peer().freeze(d)
		}
	}
}

// half ends the way for one end, and the other hears nothing, or late. All its
// channels share that: one connection carries them.
func (w *simWay) half(kind int, d, soon time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, near := range w.ends {
		far := near.peer()
		switch kind {
		case cutNear:
			near.fail(syscall.ECONNRESET)
			far.deaf()
		case cutFar:
			far.fail(syscall.ECONNRESET)
			near.deaf()
		case cutLate:
			near.freeze(d)
			time.AfterFunc(soon, func() { near.fail(syscall.ECONNRESET) })
		}
	}
	if kind == cutFar {
		w.offLocked()
	} else {
		w.cutLocked()
	}
}

// cut resets all channels at both ends.
func (w *simWay) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, near := range w.ends {
		near.fail(syscall.ECONNRESET)
		near.peer().fail(syscall.ECONNRESET)
	}
	w.cutLocked()
}

func (w *simWay) cutLocked() {
	if !w.isCut {
		w.isCut = true
		close(w.gone)
	}
}

func (w *simWay) offLocked() {
	if !w.isOff {
		w.isOff = true
		close(w.dead)
	}
}

// die lets no byte through any more, and neither end hears of it.
func (w *simWay) die() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, near := range w.ends {
		near.silence()
	}
	w.offLocked()
}

func (e *pipeEnd) silence() {
	e.freeze(forEver)
	e.peer().freeze(forEver)
}

// Close is the client's: its channels end, and the server hears of it unless the
// way is dead.
func (w *simWay) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, near := range w.ends {
		near.Close()
	}
	w.cutLocked()
	return nil
}

// cutAll cuts whatever is up.
func (n *simNet) cutAll() {
	n.mu.Lock()
	ways := n.ways
	n.mu.Unlock()
	for _, w := range ways {
		w.cut()
	}
}
