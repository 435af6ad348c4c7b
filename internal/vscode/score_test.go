//go:build linux

package vscode_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"ssh-stay/internal/vscode"
)

// promises checks a score against what README promises of its variant, and the
// control against what makes the promise worth something.
func promises(t *testing.T, sc *scenario, v variant, got vscode.Score) {
	t.Helper()
	prompts, perWindow, logins := 0, 1, 1
	if sc.password {
		prompts = 1
	}
	if sc.flavour == vscode.Forward {
		perWindow, logins = 2, 2
	}
	if sc.copies && !v.wrapper { // remote.SSH.path is not scp's, which then comes another way
		logins++
	}
	switch {
	case v.resume && sc.forbids == "" && (got.SSHSpawns != perWindow || got.InnerSSH != logins):
		t.Errorf("ssh was started %d times and logged in %d times, want %d and %d", got.SSHSpawns, got.InnerSSH, perWindow, logins)
	case v.resume && sc.forbids == deadMan && got.SSHSpawns != 2:
		t.Errorf("ssh was started %d times, want twice", got.SSHSpawns)
	// A new ssh that VS Code wants asks anew.
	case v.resume && sc.forbids == "" && got.Prompts != prompts:
		t.Errorf("the user was asked %d times, want %d", got.Prompts, prompts)
	}
	if v.name != stock && got.ReloadWindow > 0 {
		t.Errorf("Reload Window: %s", got.Why)
	}
	if v.name != stock && got.MessagesLost > 0 {
		t.Errorf("%d of %d messages were lost", got.MessagesLost, got.MessagesSent)
	}
	if v.name == stock && sc.control != nil && !sc.control(got) {
		t.Errorf("stock ssh does as well: nothing is shown: %+v", got)
	}
}

// running bounds the worlds that are open at once, and opening those that log in:
// clocks of seconds are of no use on a machine with no processor left.
type limits struct{ running, opening chan struct{} }

// playAll plays scenarios with variants, many at once since they mostly wait.
func playAll(t *testing.T, p profile, all []scenario, with func(sc *scenario, v variant) bool) map[string]map[string]vscode.Score {
	var (
		mu     sync.Mutex // guards scores
		scores = map[string]map[string]vscode.Score{}
		games  sync.WaitGroup
	)
	p.limits = limits{make(chan struct{}, 28), make(chan struct{}, 3)}
	for _, sc := range all {
		scores[sc.name] = map[string]vscode.Score{}
		for _, v := range variants {
			if !with(&sc, v) {
				continue
			}
			p.limits.running <- struct{}{}
			games.Go(func() { // ends with the scenario
				defer func() { <-p.limits.running }()
				t.Run(sc.name+"/"+v.name, func(t *testing.T) {
					score := play(t, p, sc, v)
					t.Logf("%+v", score)
					promises(t, &sc, v, score)
					mu.Lock()
					defer mu.Unlock()
					scores[sc.name][v.name] = score
				})
			})
		}
	}
	games.Wait()
	return scores
}

// TestWindow plays every scenario in a quarter of the time: what ssh-stay promises,
// and stock ssh where it is the control of a promise.
func TestWindow(t *testing.T) {
	p := quickProfile()
	playAll(t, p, scenarios(p), func(sc *scenario, v variant) bool {
		return v.name == resumed || sc.control != nil && (v.name == stock || v.stay) || sc.wrapped && v.wrapper
	})
}

// TestTable plays everything in VS Code's own time and prints the table: make vscode.
func TestTable(t *testing.T) {
	if os.Getenv("VSCODE_TABLE") == "" {
		t.Skip("takes minutes: VSCODE_TABLE=1, as make vscode sets it")
	}
	p := realProfile()
	all := scenarios(p)
	scores := playAll(t, p, all, func(*scenario, variant) bool { return true })
	fmt.Print(table(all, scores))
}

// table is Markdown.
func table(all []scenario, scores map[string]map[string]vscode.Score) string {
	var b strings.Builder
	b.WriteString("| scenario |")
	for _, v := range variants {
		b.WriteString(" " + v.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(variants)) + "\n")
	for _, sc := range all {
		b.WriteString("| " + sc.name + " |")
		for _, v := range variants {
			b.WriteString(" " + cell(scores[sc.name], v.name) + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// cell is one score: ssh started, prompts, Reload Window, longest wait for an answer.
func cell(scores map[string]vscode.Score, name string) string {
	score, ok := scores[name]
	if !ok {
		return "failed"
	}
	gap := fmt.Sprintf("%.1f s", score.Gap.Seconds())
	if score.ReloadWindow > 0 {
		gap = "for ever"
	}
	return fmt.Sprintf("%d, %d, %d, %s", score.SSHSpawns, score.Prompts, score.ReloadWindow, gap)
}
