//go:build linux

package sshtest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Askpass is a user behind SSH_ASKPASS who answers what is asked and
// remembers it. The answers are in files: no process has one as an argument
// or in its environment.
type Askpass struct {
	Dir string // the program, the answers, and what was asked
}

// NewAskpass makes a user in dir who answers a question that ends as one of
// answers, and refuses to answer any other.
func NewAskpass(dir string, answers map[string]string) (*Askpass, error) {
	a := &Askpass{Dir: dir}
	script := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$1\" >>%s\nenv >>%s\ncase $1 in\n", quoted(a.path("asked")), quoted(a.path("env")))
	for i, question := range slices.Sorted(maps.Keys(answers)) {
		file := a.path(fmt.Sprintf("answer%d", i))
		if err := os.WriteFile(file, []byte(answers[question]+"\n"), 0o600); err != nil {
			return nil, err
		}
		script += fmt.Sprintf("*%s) exec cat %s;;\n", quoted(question), quoted(file))
	}
	return a, os.WriteFile(a.path("askpass"), []byte(script+"esac\nexit 1\n"), 0o700)
}

// Env is what makes ssh ask this user.
func (a *Askpass) Env() []string {
	return []string{"SSH_ASKPASS=" + a.path("askpass"), "SSH_ASKPASS_REQUIRE=force", "DISPLAY=:0"}
}

// Environ is the environment that the program was run with, all times together.
func (a *Askpass) Environ() ([]byte, error) { return os.ReadFile(a.path("env")) }

// Asked are the questions since the last call.
func (a *Askpass) Asked() ([]string, error) {
	text, err := os.ReadFile(a.path("asked"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), os.Remove(a.path("asked"))
}

func (a *Askpass) path(name string) string { return filepath.Join(a.Dir, name) }

// quoted makes one word of s for sh.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Askpass makes a user, as NewAskpass does, who goes with the test.
func (r Rig) Askpass(answers map[string]string) *Askpass {
	r.Helper()
	a, err := NewAskpass(r.TempDir(), answers)
	r.must(err)
	return a
}
