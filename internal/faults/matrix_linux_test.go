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

// played is what became of one play, over all its runs.
type played struct {
	result
	runs, failed int
	not          string
}

// matrix collects what the scenes tell.
type matrix struct {
	mu    sync.Mutex // guards plays
	plays map[string]*played
}

func name(r *row, play string) string { return fmt.Sprintf("F%02d/%s", r.f, play) }

// TestMatrix plays every row.
func TestMatrix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("faults of the network take root: namespaces, TUN devices, a firewall")
	}
	runs, seed := envInt("FAULTS_RUNS", 1), uint64(envInt("FAULTS_SEED", int(rand.Uint32())))
	slots := make(chan struct{}, envInt("FAULTS_PARALLEL", 16))
	t.Logf("FAULTS_SEED=%d FAULTS_RUNS=%d", seed, runs)
	m := &matrix{plays: make(map[string]*played)}
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
					t.Run(name(&r, play), func(t *testing.T) { m.run(t, &r, play, seed+uint64(run), free) })
				})
			}
		}
	}
	for _, r := range all {
		if r.notHere != "" {
			t.Run(name(&r, "elsewhere"), func(t *testing.T) {
				m.add(name(&r, "elsewhere"), &scene{}, played{not: r.notHere})
				t.Skip(r.notHere)
			})
		}
	}
	playing.Wait()
	m.report(t, all)
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
	s := &scene{Rig: sshtest.For(t), seed: h.Sum64(), resumed: words[0] == "resume", route: words[1]}
	s.flavour = strings.Join(words[2:], "/")
	s.rng = rand.New(rand.NewPCG(s.seed, 1))
	defer func() {
		if t.Failed() {
			t.Logf("again: FAULTS_SEED=%d go test ./internal/faults -run 'TestMatrix/%s$'", seed, name(r, play))
		}
		m.add(name(r, play), s, played{failed: int1(t.Failed())})
	}()
	r.play(s)
	s.leaves()
	free()
	s.relayLeaves()
	t.Logf("%s after %v, back after %v %s", s.verdict, s.took.Round(time.Millisecond), s.back.Round(time.Millisecond), s.note)
}

func int1(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (m *matrix) add(name string, s *scene, p played) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.plays[name]
	if sum == nil {
		sum = &played{}
		m.plays[name] = sum
	}
	sum.runs++
	sum.failed += p.failed
	sum.verdict, sum.not = s.verdict, p.not
	sum.took, sum.back = max(sum.took, s.took), max(sum.back, s.back)
	if s.note != "" {
		sum.note = s.note
	}
}
