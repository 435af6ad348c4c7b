package stream

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// How many seeds TestSimulation runs, from which one on; `make soak` sets the
// first to millions. With STREAM_SEED alone, one seed runs and tells what it did.
const (
	envSeeds = "STREAM_SEEDS"
	envSeed  = "STREAM_SEED"
	seeds    = 20_000
	shards   = 8
)

// TestSimulation: whatever the network does, each side reads what the other
// wrote, in order, once, and all of it; and the ends come in bounded time.
func TestSimulation(t *testing.T) {
	count, first := envNumber(t, envSeeds, seeds), envNumber(t, envSeed, 1)
	if testing.Short() {
		count = min(count, seeds/20)
	}
	if os.Getenv(envSeed) != "" && os.Getenv(envSeeds) == "" {
		oneSeed(t, first, &simTally{trace: true})
		return
	}
	var tally simTally
	t.Run("seeds", func(t *testing.T) {
		for shard := range uint64(shards) {
			t.Run(strconv.FormatUint(shard, 10), func(t *testing.T) {
				t.Parallel()
				for seed := first + shard; seed < first+count && !t.Failed(); seed += shards {
					oneSeed(t, seed, &tally)
				}
			})
		}
	})
	tally.check(t, count)
}

func envNumber(t *testing.T, name string, n uint64) uint64 {
	if s := os.Getenv(name); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return n
}

// oneSeed runs one seed in a bubble, and says how to run it again if it fails.
func oneSeed(t *testing.T, seed uint64, tally *simTally) {
	ended := false
	defer func() {
		p := recover()
		if ended && !t.Failed() && p == nil {
			return
		}
		t.Logf("again: %s=%d go test -run 'TestSimulation$' ./stream", envSeed, seed)
		if p != nil { // a deadlock or a goroutine left behind, as synctest says it
			debug.SetTraceback("all")
			panic(fmt.Sprintf("%s=%d: %v", envSeed, seed, p))
		}
	}()
	synctest.Test(t, func(t *testing.T) { newSim(t, seed, tally.trace).run(tally) })
	ended = true
}

// simTally is what the seeds have met in all, lest a fault be one that never
// fires.
type simTally struct {
	trace                   bool // of one seed: log what happens
	fired                   [simFaults]atomic.Int64
	whole, aborted, lostBye atomic.Int64
	bytes, ways             atomic.Int64
	slowest                 atomic.Int64 // from the calm to the end
}

func (y *simTally) add(s *sim) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	for kind := range s.net.fired {
		y.fired[kind].Add(int64(s.net.fired[kind]))
	}
	y.ways.Add(int64(len(s.net.ways)))
	up, _, _ := s.up.state()
	down, _, _ := s.down.state()
	y.bytes.Add(int64(up + down))
	for late := int64(s.late); ; {
		if old := y.slowest.Load(); late <= old || y.slowest.CompareAndSwap(old, late) {
			return
		}
	}
}

func (y *simTally) check(t *testing.T, count uint64) {
	if t.Failed() {
		return
	}
	t.Logf("%d seeds: %d whole, %d aborted, %d goodbyes lost, %d transports, %d MiB, slowest end %v after the calm",
		count, y.whole.Load(), y.aborted.Load(), y.lostBye.Load(), y.ways.Load(), y.bytes.Load()>>20, time.Duration(y.slowest.Load()))
	for kind := range y.fired {
		if n := y.fired[kind].Load(); n < int64(count/100) {
			t.Errorf("fault %d fired %d times in %d seeds: too few", kind, n, count)
		}
	}
}

var discard = slog.New(slog.DiscardHandler)

// A sim is one scenario: a client and a target that write to each other.
type sim struct {
	*testing.T
	r        *rand.Rand
	net      *simNet
	srv      *Server
	client   *Stream
	target   *pipeEnd  // what the far application holds
	targets  sync.Map  // those that the server has dialed, by name
	up, down *simModel // client to target, and back
	dials    int       // it took to open the stream
	interval time.Duration
	log      *slog.Logger
	trace    bool
	wide     bool // over several channels
	start    time.Time
	late     time.Duration // from the calm until all was there
	busy     atomic.Int64  // until when somebody pauses, in nanoseconds from start
	aborted  atomic.Bool   // an end was closed before its time
	failed   atomic.Bool
}

func newSim(t *testing.T, seed uint64, trace bool) *sim {
	s := &sim{T: t, r: rand.New(rand.NewPCG(seed, 0)), up: new(simModel), down: new(simModel), trace: trace, start: time.Now()}
	s.interval = time.Second + time.Duration(s.r.Int64N(int64(9*time.Second)))
	room := 1 << (8 + s.r.IntN(9))
	s.wide = s.r.IntN(2) == 0
	s.srv = &Server{MaxMemory: 1 << s.r.IntN(30), Dial: func(_ context.Context, name string, _ time.Duration) (net.Conn, error) {
		here, there := newPipe(room)
		s.targets.Store(name, there)
		return here, nil
	}}
	if s.log = discard; trace {
		s.log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	calm := time.Duration(s.r.Int64N(int64(90 * time.Second)))
	if s.r.IntN(8) == 0 {
		calm = 0 // a network without faults
	}
	s.net = &simNet{srv: s.srv, seed: seed, calm: s.start.Add(calm), log: s.log}
	s.log.Info("scenario", "calm", calm, "interval", s.interval)
	return s
}

func (s *sim) errorf(format string, args ...any) {
	if s.failed.Store(true); s.trace {
		pprof.Lookup("goroutine").WriteTo(s.Output(), 2)
	}
	s.Errorf("after %v: %s", time.Since(s.start), fmt.Sprintf(format, args...))
}

// broke is a failure unless an end was closed before its time.
func (s *sim) broke(format string, args ...any) {
	if !s.aborted.Load() {
		s.errorf(format, args...)
	}
}

func (s *sim) run(tally *simTally) {
	defer s.end()
	if !s.dial() {
		return
	}
	stop := s.watch()
	defer stop()
	near, far := newSimApp(s, s.client, s.up, s.down), newSimApp(s, s.target, s.down, s.up)
	near.last = s.r.IntN(4) == 0
	var apps sync.WaitGroup
	for _, work := range []func(){near.write, near.read, far.write, far.read} {
		apps.Go(work)
	}
	if s.r.IntN(8) == 0 {
		s.abort()
	}
	apps.Wait()
	s.late = max(0, time.Since(s.start)-s.lastTrouble())
	if text, done := s.progress(); !s.aborted.Load() && !s.failed.Load() && !done {
		s.errorf("ended: %s", text)
	}
	s.goodbye(tally)
	if stop(); s.dials > 1 {
		s.orphans()
	}
	tally.add(s)
}

// dial opens the stream. That is one attempt for each call, and the network may
// be bad from the start.
func (s *sim) dial() bool {
	for ; ; time.Sleep(time.Second) {
		s.dials++
		calm, name := time.Now().After(s.net.calm), strconv.Itoa(s.dials)
		client, err := Dial(s.Context(), &Config{Dial: s.net.dial, Target: func() string { return name }, Interval: s.interval, Keep: 24 * time.Hour, Log: s.log})
		if err == nil {
			target, _ := s.targets.Load(name)
			s.client, s.target = client, target.(*pipeEnd)
			return true
		}
		if calm {
			s.errorf("dial: %v", err)
			return false
		}
	}
}

// progress is how far the two directions are, and whether they are done.
func (s *sim) progress() (text string, done bool) {
	up, written, upDone := s.up.state()
	down, writtenDown, downDone := s.down.state()
	return fmt.Sprintf("up %d of %d bytes, down %d of %d", up, written, down, writtenDown), upDone && downDone
}

// abort closes one of the ends after a while, whatever is still under way.
func (s *sim) abort() {
	wait := time.Duration(s.r.Int64N(int64(time.Millisecond << s.r.IntN(17))))
	s.busyUntil(time.Since(s.start) + wait)
	time.Sleep(wait)
	s.aborted.Store(true)
	if s.r.IntN(2) == 0 {
		s.target.Close()
		return
	}
	s.client.Close()
	if <-s.client.Done(); !s.client.PeerClosed() {
		s.target.Close() // the goodbye came to nothing: the relay waits for an heir
	}
}

// bound is the longest from the last trouble until all is there: three pings are
// missed, a dial hangs that began before, a handshake on a dead way is given up,
// the back-off is at its longest; and what was frozen is carried.
func (s *sim) bound() time.Duration {
	return 3*s.interval + simDial + 2*handshakeTime + maxWait + 10*time.Second
}

// busyUntil notes a pause that ends at t, from the start on.
func (s *sim) busyUntil(t time.Duration) {
	for old := s.busy.Load(); int64(t) > old && !s.busy.CompareAndSwap(old, int64(t)); {
		old = s.busy.Load()
	}
}

// lastTrouble is when the last reason to be late has passed, from the start on.
func (s *sim) lastTrouble() time.Duration {
	return max(s.net.calm.Sub(s.start), time.Duration(s.busy.Load()))
}

// excess tells what a stream holds that it should not, "" if nothing: a window
// each way is the most.
func excess(s *Stream) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.in.size
	for _, p := range s.in.beyond {
		in += len(p.data)
	}
	if s.out.size > maxWindow || s.granted-s.taken > maxWindow || !s.closed && in > int(s.granted-s.taken) {
		return fmt.Sprintf("%d bytes to send, %d received, %d of %d granted taken", s.out.size, in, s.taken, s.granted)
	}
	return ""
}

// widen asks for one more channel, as a long line on which they bind does.
func widen(s *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		return
	}
	select {
	case s.link.more <- struct{}{}:
	default:
	}
}

// watch ends a scenario that takes too long or keeps too much.
func (s *sim) watch() (stop func()) {
	var timer *time.Timer
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	tick := time.Second
	if s.wide {
		tick /= 10
	}
	timer = time.AfterFunc(tick, func() {
		mu.Lock()
		defer mu.Unlock()
		if s.wide {
			widen(s.client)
		}
		if text := excess(s.client); text != "" {
			s.errorf("%s", text)
			return
		}
		if time.Since(s.start) > s.lastTrouble()+s.bound() {
			text, _ := s.progress()
			s.errorf("not done: %s", text)
			s.aborted.Store(true)
			s.client.Close()
			s.target.Close()
			return
		}
		timer.Reset(tick)
	})
	return func() { timer.Stop() }
}

// goodbye closes both ends. Unless the network is cut just then, the server has
// heard of it soon.
func (s *sim) goodbye(tally *simTally) {
	lost := s.r.IntN(4) == 0 && time.Now().Before(s.net.calm)
	s.client.Close()
	if lost {
		s.net.cutAll()
		tally.lostBye.Add(1)
	}
	s.target.Close()
	ctx, cancel := context.WithTimeout(context.Background(), max(0, time.Until(s.net.calm))+s.bound())
	defer cancel()
	if err := s.client.Shutdown(ctx); err != nil {
		s.errorf("goodbye: %v", err)
	}
	if s.aborted.Load() {
		tally.aborted.Add(1)
	} else {
		tally.whole.Add(1)
	}
}

// orphans are streams whose opening the client has not heard of. After a while there
// are none, though a link of theirs may be silent.
func (s *sim) orphans() {
	time.Sleep(max(0, time.Until(s.net.calm)) + 2*handshakeTime + 4*s.interval + silenceGrace + unheardKeep)
	s.srv.mu.Lock()
	defer s.srv.mu.Unlock()
	for id := range s.srv.streams {
		if id != s.client.id {
			s.errorf("a stream is left that the client never had")
		}
	}
}

// end leaves nothing behind; synctest says so if a goroutine is.
func (s *sim) end() {
	if s.client != nil {
		s.client.Close()
	}
	if s.target != nil {
		s.target.Close()
	}
	if err := s.srv.Close(); err != nil {
		s.errorf("close the server: %v", err)
	}
	synctest.Wait() // an attach that has begun may make one more channel
	s.net.serving.Wait()
	synctest.Wait()
	if n := s.srv.Busy(); n != 0 {
		s.errorf("%d busy after the end", n)
	}
}
