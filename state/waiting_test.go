//go:build unix

package state

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWaiting: what living processes wait for, until they have it.
func TestWaiting(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "state"))
	want := func(when string, want ...Waiting) {
		t.Helper()
		if got, err := d.Waiting(); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, %v, want %v", when, got, err, want)
		}
	}
	want("no directory")
	if err := d.EndWaiting(); err != nil {
		t.Errorf("nothing to end: got %v, want no error", err)
	}
	base := time.Now().UTC().Truncate(time.Second)
	ours := Waiting{"it", base, "connect to host it: \"refused\""}
	for _, w := range []Waiting{{"it", base, "lost"}, ours} {
		if err := d.WriteWaiting(w); err != nil {
			t.Fatal(err)
		}
	}
	want("ours", ours)
	// Another one's, from the kernel's first process on, and those of the dead.
	theirs, dead := Waiting{"other", base.Add(-time.Minute), "x"}, exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	pid := dead.Process.Pid
	for name, w := range map[string]Waiting{
		d.waiting(1): theirs, d.waiting(pid): {"dead", base, ""}, d.waiting(pid) + ".json": {"odd", base, ""},
	} {
		if err := d.write(name, w); err != nil {
			t.Fatal(err)
		}
	}
	want("others", theirs, ours)
	if failures, err := d.Failures(); err != nil || len(failures) != 0 {
		t.Errorf("got failures %v, %v, want none", failures, err)
	}
	if err := d.EndWaiting(); err != nil {
		t.Error(err)
	}
	want("ours has ended", theirs)
	if err := d.write(d.waiting(pid), Waiting{"dead", base.Add(-2 * oldWaiting), ""}); err != nil {
		t.Fatal(err)
	}
	want("long dead", theirs)
	entries, err := os.ReadDir(string(d))
	if err != nil || len(entries) != 2 || strings.Contains(fmt.Sprint(entries), fmt.Sprintf("-%d.json ", pid)) {
		t.Errorf("got %v, %v, want no file of the long dead", entries, err)
	}
}
