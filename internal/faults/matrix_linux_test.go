package faults

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// row is one fault of the plan.
type row struct {
	f     int
	fault string
	// plays are how it is played: MODE/ROUTE, or MODE/ROUTE/FLAVOUR.
	plays []string
	play  func(*scene)
	time  time.Duration // about; the longest begin first
	// notHere says why a row is not played on any machine, and where else its
	// claim is tested.
	notHere string
}

func rows() []row {
	return slices.Concat(cutRows(), hostRows(), refusedRows(), trustRows(), relayRows(), clientRows(), packetRows(), limitRows(), elsewhereRows())
}

// played is what became of one play, over all its runs: how often each verdict, the
// longest times, and the note of the last run.
type played struct {
	verdicts   map[Verdict]int
	took, back time.Duration
	note       string
}

// matrix collects what the scenes tell.
type matrix struct {
	machine string
	mu      sync.Mutex // guards plays
	plays   map[string]*played
}

func name(r *row, play string) string { return fmt.Sprintf("F%02d/%s", r.f, play) }

// TestMatrix plays every row.
func TestMatrix(t *testing.T) {
	if os.Geteuid() != 0 {
		const why = "faults of the network take root: namespaces, TUN devices, a firewall"
		if os.Getenv("FAULTS_RUNS") != "" { // they are what was asked for
			t.Fatal(why)
		}
		t.Skip(why)
	}
	runs, seed := envInt("FAULTS_RUNS", 1), envInt("FAULTS_SEED", int(rand.Uint32()))
	slots := make(chan struct{}, envInt("FAULTS_PARALLEL", 16))
	t.Logf("FAULTS_SEED=%d FAULTS_RUNS=%d", seed, runs)
	m := &matrix{machine: sshtest.Machine(), plays: make(map[string]*played)}
	all := rows()
	slices.SortStableFunc(all, func(a, b row) int { return int(b.time - a.time) })
	var playing sync.WaitGroup
	for run := range runs {
		for _, r := range all {
			for _, play := range r.plays {
				slots <- struct{}{}
				playing.Go(func() { // ends with the scene
					free := sync.OnceFunc(func() { <-slots })
					defer free()
					t.Run(name(&r, play), func(t *testing.T) { m.run(t, &r, play, uint64(seed+run), free) })
				})
			}
		}
	}
	for _, r := range all {
		if r.notHere != "" {
			t.Run(name(&r, "elsewhere"), func(t *testing.T) {
				t.Skip(r.notHere)
			})
		}
	}
	playing.Wait()
	m.report(t, all, seed)
}

func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// run plays one scene. free is called when what is left of it is to wait.
func (m *matrix) run(t *testing.T, r *row, play string, seed uint64, free func()) {
	words := strings.Split(play, "/")
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s %s", r.f, play, fmt.Sprint(seed))
	s := &scene{seed: h.Sum64(), resumed: words[0] == "resume", route: words[1]}
	t.Cleanup(func() { // the last of all: what the others find left behind is a FAIL
		if t.Failed() || s.verdict == "" {
			t.Logf("again: FAULTS_SEED=%d go test ./internal/faults -run 'TestMatrix/%s$'", seed, name(r, play))
			s.verdict = Fail
		}
		m.add(name(r, play), s.result)
	})
	s.Rig = sshtest.For(t)
	s.flavour = strings.Join(words[2:], "/")
	s.rng = rand.New(rand.NewPCG(s.seed, 1))
	r.play(s)
	s.leaves()
	s.nothingWrong()
	free()
	s.relayLeaves()
	t.Logf("%s after %v, back after %v %s", s.verdict, s.took.Round(time.Millisecond), s.back.Round(time.Millisecond), s.note)
}

func (m *matrix) add(name string, r result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.plays[name]
	if p == nil {
		p = &played{verdicts: make(map[Verdict]int)}
		m.plays[name] = p
	}
	p.verdicts[r.verdict]++
	p.took, p.back = max(p.took, r.took), max(p.back, r.back)
	if r.note != "" {
		p.note = r.note
	}
}
