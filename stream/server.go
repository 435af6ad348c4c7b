package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// handshakeTime is how long a channel may take to prove itself, whatever it
	// sends meanwhile.
	handshakeTime = 10 * time.Second
	// dialTime bounds the dial of a target.
	dialTime = 30 * time.Second
	// maxKeep is the longest that a detached stream is kept.
	maxKeep = 7 * 24 * time.Hour
	// farewellTime is how long the target may take what its client wrote before
	// it left.
	farewellTime  = 5 * time.Second
	maxHandshakes = 64
	// defaultStreams and defaultMemory are the limits of a Server.
	defaultStreams = 1024
	defaultMemory  = 256 << 20
)

// Server is the relay's end: it keeps streams, and connects each with its
// target. Set the fields, then call Serve for every channel.
type Server struct {
	// Dial connects a new stream with its target. interval is how often the
	// client wants idle connections probed; 0 is never.
	Dial func(ctx context.Context, target string, interval time.Duration) (net.Conn, error)

	MaxStreams int   // 0: 1024
	MaxMemory  int64 // bytes in all buffers, beyond which streams get small ones; 0: 256 MiB

	mu         sync.Mutex   // guards what follows
	streams    map[id]*held // nil: its target is being dialed
	handshakes int          // channels that have not proven anything yet
	closed     bool
	memory     *memory
}

// held is a stream that a server keeps.
type held struct {
	*Stream
	keep, interval time.Duration
	attaching      sync.Mutex // held by the one attach at a time
	target         net.Conn
}

// Busy is how many streams and handshakes there are.
func (v *Server) Busy() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.streams) + v.handshakes
}

// Close ends all streams, and tells the clients that are attached.
func (v *Server) Close() error {
	v.mu.Lock()
	v.closed = true
	var all []*held
	for _, h := range v.streams {
		if h != nil {
			all = append(all, h)
		}
	}
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, h := range all {
		h.CloseFor(CodeShutdown, "")
		h.target.Close()
	}
	for _, h := range all {
		h.Shutdown(ctx)
	}
	return nil
}

// Serve shakes hands on a channel and carries its stream until one of them has
// ended. It closes the channel. Only what proves to know a stream's secret, at
// offsets that the stream can go back to, ends the link that the stream had.
func (v *Server) Serve(c net.Conn) {
	defer c.Close()
	t := v.hear(c)
	if t == nil {
		return
	}
	var l *link
	switch t.request.want {
	case wantOpen:
		l = v.open(t)
	case wantAttach:
		l = v.attach(t)
	default:
		l = v.join(t)
	}
	if l == nil {
		return
	}
	select {
	case <-l.dead:
	case <-t.held.done:
	}
	l.running.Wait()
}

// hear returns what is asked for on a channel by one who has proven himself, or
// nil. Not many may be at that at a time; how long the rest takes counts no more.
func (v *Server) hear(c net.Conn) *turn {
	few := v.count(1)
	defer v.count(-1)
	if !few {
		return nil
	}
	late := time.AfterFunc(handshakeTime, func() { c.Close() })
	defer late.Stop()
	t := &turn{conn: c}
	rand.Read(t.relay[:])
	if writeHello(c, t.relay) != nil {
		return nil
	}
	var err error
	if t.message, t.proof, err = readMessage(c); err != nil {
		return nil
	}
	if t.request, err = decodeRequest(t.message); err != nil {
		refuse(c, CodeProtocol, err.Error())
		return nil
	}
	admits := v.find
	if t.request.want == wantOpen {
		admits = v.reserve
	}
	if !admits(t) {
		return nil
	}
	return t
}

// count says whether there are not too many.
func (v *Server) count(n int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.handshakes += n
	return v.handshakes <= maxHandshakes
}

// turn is one handshake, and what it is answered with.
type turn struct {
	conn    net.Conn
	relay   nonce
	request request
	message []byte
	proof   proof
	held    *held // the stream that it is of; nil while that is being opened
}

// answer proves, too, that we are the relay that knows the stream.
func (t *turn) answer(s *secret, a answer) error {
	message := a.encode()
	var p proof
	if s != nil {
		p = s.prove(roleRelay, t.relay, t.request.nonce, message)
	}
	late := time.AfterFunc(handshakeTime, func() { t.conn.Close() })
	defer late.Stop()
	return writeMessage(t.conn, message, p)
}

func refuse(c net.Conn, code Code, text string) {
	(&turn{conn: c}).answer(nil, answer{code: code, text: text})
}

// proven says whether the client knows the secret.
func (t *turn) proven(s *secret) bool {
	return t.proof.proven(s.prove(roleClient, t.relay, t.request.nonce, t.message))
}

// find looks for the stream whose secret the client is to prove that it knows.
// The time that it takes tells nothing about a secret.
func (v *Server) find(t *turn) bool {
	v.mu.Lock()
	t.held = v.streams[t.request.id]
	v.mu.Unlock()
	switch {
	case t.held == nil:
		refuse(t.conn, CodeUnknown, "")
		return false
	case !t.proven(&t.held.secret):
		refuse(t.conn, CodeDenied, "")
		return false
	}
	return true
}

// reserve takes the place of the stream that a proven client opens.
func (v *Server) reserve(t *turn) bool {
	q := &t.request
	if !t.proven(&q.secret) {
		refuse(t.conn, CodeDenied, "")
		return false
	}
	if code := v.take(q.id); code != CodeClosed {
		t.answer(&q.secret, answer{code: code})
		return false
	}
	return true
}

// take takes the place of a stream, or says why there is none.
func (v *Server) take(i id) Code {
	v.mu.Lock()
	defer v.mu.Unlock()
	most := v.MaxStreams
	if most == 0 {
		most = defaultStreams
	}
	if v.streams == nil {
		v.streams = map[id]*held{}
		v.memory = &memory{limit: v.MaxMemory}
		if v.MaxMemory == 0 {
			v.memory.limit = defaultMemory
		}
	}
	_, taken := v.streams[i]
	switch {
	case v.closed:
		return CodeShutdown
	case taken:
		return CodeDenied
	case len(v.streams) >= most:
		return CodeFull
	}
	v.streams[i] = nil
	return CodeClosed
}

// open makes the stream whose place is reserved and connects it with its target.
func (v *Server) open(t *turn) *link {
	q := &t.request
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	target, err := v.Dial(ctx, q.target, q.interval)
	if err != nil {
		v.forget(q.id)
		t.answer(&q.secret, answer{code: CodeDial, text: err.Error()})
		return nil
	}
	h := v.add(q, target)
	if h == nil {
		v.forget(q.id)
		target.Close()
		t.answer(&q.secret, answer{code: CodeShutdown})
		return nil
	}
	defer h.attaching.Unlock()
	t.held = h
	if err := t.answer(&h.secret, answer{granted: h.granted}); err != nil {
		// The client does not know of it, so nobody will come for it.
		h.finish(err)
		v.remove(h)
		return nil
	}
	l := h.Stream.attach(q.generation, t.conn, 0, q.granted, 0)
	go v.connect(h) // ends with the stream
	go v.watch(h)   // as well
	return l
}

// add returns a new stream that nobody may attach to yet, nil if the server was
// closed meanwhile.
func (v *Server) add(q *request, target net.Conn) *held {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil
	}
	h := &held{Stream: newStream(q.id, q.secret, v.memory), keep: min(q.keep, maxKeep), interval: q.interval, target: target}
	h.attaching.Lock()
	v.streams[q.id] = h
	return h
}

func (v *Server) remove(h *held) {
	h.target.Close()
	v.forget(h.id)
}

// forget gives a place back.
func (v *Server) forget(i id) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.streams, i)
}

// attach replaces the link of a stream: the newest that proves itself wins.
func (v *Server) attach(t *turn) *link {
	h := t.held
	if !h.attaching.TryLock() {
		t.answer(&h.secret, answer{code: CodeInUse})
		return nil
	}
	defer h.attaching.Unlock()
	old, code := h.yield(&t.request)
	if code != CodeClosed {
		t.answer(&h.secret, answer{code: code})
		return nil
	}
	received, granted := h.settled(old)
	if err := t.answer(&h.secret, answer{received: received, granted: granted}); err != nil {
		return nil
	}
	return h.Stream.attach(t.request.generation, t.conn, t.request.received, t.request.granted, 0)
}

var errReplaced = errors.New("replaced by a newer link")

// yield checks what the client says of generation and offset, and if that is
// right ends the link that the stream has, before anything can come over that,
// and returns it.
func (s *Stream) yield(q *request) (old *link, _ Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return nil, CodeUnknown
	case q.generation <= s.generation:
		return nil, CodeInUse
	case q.received < s.acked || q.received > s.furthest:
		return nil, CodeRewind
	}
	s.heard, s.detached = true, time.Now() // keep begins anew
	if old = s.link; old != nil {
		s.loseLocked(old, errReplaced)
	}
	return old, CodeClosed
}

// settled waits until nothing uses a link that has ended, and returns what has
// been received and granted.
func (s *Stream) settled(old *link) (received, granted uint64) {
	if old != nil {
		old.running.Wait()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.ready, s.granted
}

// join adds a channel to the link that a stream has.
func (v *Server) join(t *turn) *link {
	h := t.held
	h.mu.Lock()
	l := h.link
	fits := l != nil && l.generation == t.request.generation && len(l.channels) < maxChannels
	h.mu.Unlock()
	if !fits {
		t.answer(&h.secret, answer{code: CodeInUse})
		return nil
	}
	if t.answer(&h.secret, answer{}) != nil || !h.join(t.request.generation, t.conn) {
		return nil
	}
	return l
}

// connect copies between a stream and its target, until both have ended or the
// client has left.
func (v *Server) connect(h *held) {
	up, down := make(chan error, 1), make(chan error, 1)
	go func() { // ends with the stream or the target
		_, err := h.WriteTo(h.target)
		if w, ok := h.target.(interface{ CloseWrite() error }); ok && err == nil {
			w.CloseWrite()
		}
		up <- err
	}()
	go func() { // ends when the target has closed or is closed
		_, err := h.ReadFrom(h.target)
		h.CloseWrite()
		down <- err
	}()
	h.settle(up, down)
	h.target.Close()
	h.Close()
}

// settle returns when nothing is left to copy. A target that breaks is told to
// the client, in order behind what it had sent. That it takes no more is not:
// what it sends, or its end, says what that means.
func (h *held) settle(up, down <-chan error) {
	for up != nil || down != nil {
		select {
		case <-up:
			up = nil
		case err := <-down:
			if err != nil && !h.PeerClosed() {
				h.CloseFor(CodeTarget, targetReason(err))
				return
			}
			down = nil
		case <-h.gone:
			if up != nil { // its last words
				select {
				case <-up:
				case <-time.After(farewellTime):
				}
			}
			return
		}
	}
}

// watch ends a stream that nobody came back for, and links whose client has
// been silent for much longer than it promised to be. It removes the stream
// when that has ended.
func (v *Server) watch(h *held) {
	defer v.remove(h)
	for {
		dead, wait := h.check(time.Now())
		timer := time.NewTimer(wait)
		select {
		case <-h.done:
			timer.Stop()
			return
		case <-dead:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// check returns when to look again: after a time, or when dead is closed.
func (h *held) check(now time.Time) (dead chan struct{}, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.link
	if l == nil {
		keep := h.keep
		if !h.heard {
			keep = min(keep, unheardKeep)
		}
		left := keep - now.Sub(h.detached)
		if left <= 0 {
			h.finishLocked(&EndedError{Code: CodeExpired})
		}
		return nil, max(min(left, recheck), 0)
	}
	if h.interval == 0 {
		return l.dead, recheck
	}
	left := 4*h.interval + silenceGrace - now.Sub(l.lastHeard())
	if left <= 0 {
		h.loseLocked(l, errSilent)
		return nil, 0
	}
	return l.dead, left
}

const (
	// unheardKeep is how long a stream is kept whose client has not yet sent a
	// frame: the answer may be lost, and then nobody will ever come for it. An
	// sshd as its target waits for a login for less (LoginGraceTime is 120 s).
	unheardKeep = 3 * time.Minute
	// recheck is how often a stream without a link is looked at: another one
	// may have come and gone meanwhile.
	recheck = time.Minute
	// silenceGrace is what a client gets beyond four of its intervals.
	silenceGrace = 30 * time.Second
)

var errSilent = errors.New("no sign of life")

// targetReason is in the words of the system, without addresses.
func targetReason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}
