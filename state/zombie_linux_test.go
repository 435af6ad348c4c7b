package state

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestKilled: a session that was killed is over, also while its parent has not
// taken note.
func TestKilled(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d, p := Dir(filepath.Join(t.TempDir(), "state")), self()
	p.PID = cmd.Process.Pid
	var runs bool
	if p.Start, runs = started(p.PID); !runs || p.Start == "" {
		t.Fatalf("got start %q, runs %v, want a process that runs", p.Start, runs)
	}
	put(t, d, p, Session{Host: "it", Updated: time.Now()})
	if got := hosts(t, d); got != "it" {
		t.Errorf("got %q, want it", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(5 * time.Second); p.runs() && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
	}
	if got := hosts(t, d); got != "" {
		t.Errorf("not waited for yet: got %q, want none", got)
	}
	cmd.Wait()
	if start, runs := started(p.PID); runs {
		t.Errorf("waited for: got start %q, want none", start)
	}
}
