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

// TestPatience: sessions that do not answer are waited for together.
func TestPatience(t *testing.T) {
	d, p := Dir(filepath.Join(t.TempDir(), "state")), self()
	for range 5 {
		cmd := exec.Command("cat") // which minds no SIGWINCH
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); cmd.Wait() })
		p.PID = cmd.Process.Pid
		p.Start, _ = started(p.PID)
		put(t, d, p, Session{Host: "it", Updated: time.Now().Add(-time.Hour)})
	}
	start := time.Now()
	got := hosts(t, d)
	if took := time.Since(start); got != "it it it it it" || took < patience || took > 3*patience {
		t.Errorf("got %q after %v, want five after %v", got, took, patience)
	}
}
