//go:build linux

package prompt

import (
	"os"
	"strings"
	"testing"
)

// A question that nobody waits for leaves the terminal alone.
func TestBackground(t *testing.T) {
	askpass := script(t, "#!/bin/sh\necho "+canary+"\n")
	for _, c := range []struct {
		name   string
		behind bool // not in the terminal's foreground
		env    []string
		answer string
	}{
		{name: "terminal free"},
		{name: "askpass", env: []string{"DISPLAY=:0", "SSH_ASKPASS=" + askpass}, answer: canary},
		{name: "askpass, not in front", behind: true, env: []string{"DISPLAY=:0", "SSH_ASKPASS=" + askpass}, answer: canary},
		{name: "askpass forced", env: []string{"SSH_ASKPASS_REQUIRE=force", "SSH_ASKPASS=" + askpass}, answer: canary},
		{name: "no display", env: []string{"SSH_ASKPASS=" + askpass}},
		{name: "no askpass", env: []string{"DISPLAY=:0", "SSH_ASKPASS="}},
		{name: "askpass never", env: []string{"DISPLAY=:0", "SSH_ASKPASS=" + askpass, "SSH_ASKPASS_REQUIRE=never"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ask := order{Questions: []Question{{Text: ask1, Background: true}}}
			s := start(t, c.behind, append(c.env, asJob(ask)), os.Args[0])
			if c.answer != "" {
				s.wantAnswer(c.answer)
			} else if r := s.result(); !r.NoAnswer || !strings.Contains(r.Err, errNotAllowed.Error()) {
				t.Errorf("got %+v, want no answer since %v", r, errNotAllowed)
			}
			s.wantEvent("exited 0")
			s.ended("")
		})
	}
}
