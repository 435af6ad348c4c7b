//go:build unix

package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// turn is a process that takes a turn and keeps it until stdin ends.
type turn struct {
	*exec.Cmd
	stdin io.Closer
	took  time.Duration
}

func startTurn(t *testing.T, dir, key string) *turn {
	t.Helper()
	p := &turn{Cmd: exec.Command(os.Args[0], "-test.run=^TestTurnChild$")}
	p.Env = append(os.Environ(), "STATE_DIR="+dir, "STATE_KEY="+key)
	p.Stderr = os.Stderr
	stdin, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "turn after "); ok {
			if p.took, err = time.ParseDuration(text); err != nil {
				t.Fatal(err)
			}
			return p
		}
	}
	t.Fatal("no turn")
	return nil
}

func TestTurnChild(t *testing.T) {
	if os.Getenv("STATE_DIR") == "" {
		return // a part of the tests below
	}
	start := time.Now()
	release := Dir(os.Getenv("STATE_DIR")).Turn(context.Background(), os.Getenv("STATE_KEY"))
	fmt.Println("turn after", time.Since(start))
	io.Copy(io.Discard, os.Stdin)
	release()
}

func wantSoon(t *testing.T, what string, took time.Duration) {
	t.Helper()
	if took > time.Second {
		t.Errorf("%s: got a turn after %v, want it at once", what, took)
	}
}

func TestTurns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var all []*turn
	for i := range 4 {
		all = append(all, startTurn(t, dir, "jump:22"))
		wantSoon(t, fmt.Sprintf("process %d", i+1), all[i].took)
	}
	wantSoon(t, "another host", startTurn(t, dir, "other:22").took)
	if p := startTurn(t, dir, "jump:22"); p.took < 3*time.Second || p.took > 5*time.Second {
		t.Errorf("one more than may: goes on after %v, want 3 s", p.took)
	}

	waiting := make(chan time.Duration, 1)
	start := time.Now()
	go func() { // ends with its turn; received below
		defer Dir(dir).Turn(context.Background(), "jump:22")()
		waiting <- time.Since(start)
	}()
	select {
	case <-waiting:
		t.Fatal("one more than may did not wait")
	case <-time.After(100 * time.Millisecond):
	}
	all[0].Process.Kill() // without a release
	wantSoon(t, "after a kill", <-waiting)
	all[1].stdin.Close()
	wantSoon(t, "after a release", startTurn(t, dir, "jump:22").took)
}

// Whatever is wrong with the directory, a turn is had.
func TestTurnWithoutLocks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), open, "/proc/self/none"} {
		start := time.Now()
		release := Dir(dir).Turn(t.Context(), "jump:22")
		release()
		release()
		wantSoon(t, dir, time.Since(start))
	}
	base := filepath.Join(t.TempDir(), "turn")
	for i := range 4 { // what cannot be locked
		if err := os.Mkdir(fmt.Sprintf("%s-%d", base, i), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if slot := takeTurn(ctx, base); slot != nil || ctx.Err() != nil {
		t.Errorf("no locks: got %v, %v, want nothing at once", slot, ctx.Err())
	}
	if entries, _ := os.ReadDir(open); len(entries) != 0 {
		t.Errorf("got %v in a directory that others can enter, want nothing", entries)
	}
}

// A dead file server holds nobody up for longer than a busy host does, and a slot
// that it gives later is given back.
func TestTurnOnDeadFileServer(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "slot"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		answers, start := make(chan struct{}), time.Now()
		await(t.Context(), func(context.Context) *os.File { <-answers; return file })()
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("got a turn after %v, want 3 s", took)
		}
		close(answers)
		synctest.Wait()
		if err := file.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("got %v, want the late slot closed", err)
		}
	})
}

func TestTurnEndsWithContext(t *testing.T) {
	dir := Dir(filepath.Join(t.TempDir(), "state"))
	for range 4 {
		defer dir.Turn(context.Background(), "k")()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	dir.Turn(ctx, "k")()
	if took := time.Since(start); took < 50*time.Millisecond || took > time.Second {
		t.Errorf("got back after %v, want 50 ms", took)
	}
}
