package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFailures(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "a", "b"))
	if got, err := d.Failures(); err != nil || len(got) != 0 {
		t.Errorf("missing directory: got %v, %v, want nothing", got, err)
	}
	base := time.Now().UTC().Truncate(time.Second)
	for i, f := range []Failure{
		{"old", base, "first"},
		{"../../etc/passwd", base.Add(2 * time.Second), "a\nb \x1b[31m \"quoted\""},
		{"old", base.Add(time.Second), "second"},
		{strings.Repeat("x", 1000), base.Add(-time.Second), ""},
	} {
		if err := d.WriteFailure(f); err != nil {
			t.Fatalf("failure %d: %v", i, err)
		}
	}
	got, err := d.Failures()
	if err != nil {
		t.Fatal(err)
	}
	want := []Failure{
		{"../../etc/passwd", base.Add(2 * time.Second), "a\nb \x1b[31m \"quoted\""},
		{"old", base.Add(time.Second), "second"},
		{strings.Repeat("x", 1000), base.Add(-time.Second), ""},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	entries, err := os.ReadDir(string(d))
	if err != nil || len(entries) != len(want) {
		t.Errorf("got %v, %v, want %d files and no temporary ones", entries, err, len(want))
	}
}

func TestFailuresPassesOverRubbish(t *testing.T) {
	d := Dir(t.TempDir())
	if err := os.Chmod(string(d), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteFailure(Failure{Host: "good", Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"failure-1.json": "{", "failure-2.json": `{"host":"` + strings.Repeat("x", maxFile) + `"}`, "other.json": `{"host":"other"}`, ".new-1": `{"host":"new"}`,
	} {
		if err := os.WriteFile(filepath.Join(string(d), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(string(d), "failure-dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(string(d), "other.json"), filepath.Join(string(d), "failure-link")); err != nil {
		t.Fatal(err)
	}
	got, err := d.Failures()
	if err != nil || len(got) != 1 || got[0].Host != "good" {
		t.Errorf("got %v, %v, want the good one alone", got, err)
	}
}

// TestOldFailures go, a week after.
func TestOldFailures(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "state"))
	for host, age := range map[string]time.Duration{"young": oldFailure - time.Minute, "old": oldFailure + time.Minute} {
		if err := d.WriteFailure(Failure{Host: host, Time: time.Now().Add(-age)}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.Failures()
	if err != nil || len(got) != 1 || got[0].Host != "young" {
		t.Errorf("got %v, %v, want the young one", got, err)
	}
	if left, err := os.ReadDir(string(d)); err != nil || len(left) != 1 {
		t.Errorf("got files %v, %v, want one", left, err)
	}
}

func TestReadError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dir(file).Failures(); err == nil {
		t.Error("a file for a directory: got no error, want one")
	}
	if err := Dir(file).WriteFailure(Failure{}); err == nil {
		t.Error("write to a file for a directory: got no error, want one")
	}
}
