//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssh-stay/internal/sshtest"
)

// TestOneProcessor: a proxy begins with one processor, also where it cannot be
// told so from outside, and what it runs sees the environment that it was given.
func TestOneProcessor(t *testing.T) {
	bin := sshtest.For(t).Build()
	removed := filepath.Join(t.TempDir(), "ssh-stay")
	if err := os.Link(bin, removed); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(removed)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	os.Remove(removed)
	// What /proc names as its file then may be there, and another program.
	if err := os.WriteFile(removed+" (deleted)", []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, given string
		path        string
		began       []string // with what it began itself
	}{
		{"none given", "", bin, []string{"GOMAXPROCS=1", "SSH_STAY_GOMAXPROCS="}},
		{"given", "GOMAXPROCS=3", bin, []string{"GOMAXPROCS=1", "SSH_STAY_GOMAXPROCS==3", "GOMAXPROCS=3"}},
		{"preset", "SSH_STAY_GOMAXPROCS=x", bin, []string{"SSH_STAY_GOMAXPROCS=x"}},
		{"without a file", "GOMAXPROCS=3", "/proc/self/fd/3", []string{"GOMAXPROCS=3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			own, runs, config := filepath.Join(dir, "own"), filepath.Join(dir, "runs"), filepath.Join(dir, "config")
			line := "Match exec \"cat /proc/$PPID/environ >" + own + "; env >" + runs + "\"\n\tPort 1\n"
			if err := os.WriteFile(config, []byte(line), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("ssh-stay", "proxy", "-F", config, "127.0.0.1", "1")
			cmd.Path, cmd.Err, cmd.ExtraFiles = tt.path, nil, []*os.File{file}
			cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GOMAXPROCS=") })
			if tt.given != "" {
				cmd.Env = append(cmd.Env, tt.given)
			}
			cmd.Run() // which nobody answers
			if got := about(t, own, "\x00"); !slices.Equal(got, tt.began) {
				t.Errorf("began with %q, want %q", got, tt.began)
			}
			var want []string
			if strings.HasPrefix(tt.given, "GOMAXPROCS=") {
				want = []string{tt.given}
			}
			if got := about(t, runs, "\n"); !slices.Equal(got, want) {
				t.Errorf("runs with %q, want %q", got, want)
			}
		})
	}
}

// about are the variables of a list that tell of processors.
func about(t *testing.T, file, separator string) (vars []string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for v := range strings.SplitSeq(string(text), separator) {
		if strings.Contains(v, "GOMAXPROCS=") {
			vars = append(vars, v)
		}
	}
	return vars
}
