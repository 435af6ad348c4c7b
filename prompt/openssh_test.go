//go:build linux

package prompt

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// stock is the real ssh about to ask: for a password, or whether to go on.
type stock struct {
	password, confirm []string // command lines
	prompt            string   // of the first
}

func newStock(t *testing.T) stock {
	t.Helper()
	server, err := sshtest.StartSshd(sshtest.SshdConfig{Lines: []string{"PasswordAuthentication yes", "PermitRootLogin yes"}})
	check(t, err)
	t.Cleanup(func() { check(t, server.Close()) })
	client, err := sshtest.NewClient()
	check(t, err)
	t.Cleanup(func() { client.Close() })
	check(t, client.AddHost("target", server, "BatchMode no", "NumberOfPasswordPrompts 1", "PreferredAuthentications password"))
	ssh := []string{"/usr/bin/ssh", "-F", client.Config}
	return stock{
		password: append(slices.Clone(ssh), "target", "true"),
		confirm:  append(slices.Clone(ssh), "-o", "StrictHostKeyChecking=ask", "-o", "UserKnownHostsFile=/dev/null", "target", "true"),
		prompt:   fmt.Sprintf("%s@%s's password: ", server.User, server.Addr),
	}
}

// TestTranscripts compares every byte on the terminal with stock ssh's.
func TestTranscripts(t *testing.T) {
	ssh := newStock(t)
	for _, c := range []struct {
		name       string
		echo       bool
		background bool
		person     func(s *session, ask string)
	}{
		{"answer", false, false, func(s *session, ask string) { s.typed("wrong\n") }},
		{"empty", false, false, func(s *session, ask string) { s.typed("\n") }},
		{"edited", false, false, func(s *session, ask string) { s.typed("wrong\x15wors\x7fd\n") }},
		{"long", false, false, func(s *session, ask string) { s.typed(strings.Repeat("x", 2000) + "\n") }},
		{"carriage return", false, false, func(s *session, ask string) { s.typed("wrong\r") }},
		{"end of input", false, false, func(s *session, ask string) { s.typed("\x04") }},
		{"interrupted", false, false, func(s *session, ask string) {
			s.typed("wro\x03")
			s.wantEvent("killed SIGINT")
		}},
		{"stopped", false, false, stopAndContinue},
		{"started in the background", false, true, func(s *session, ask string) { s.typed("wrong\n") }},
		{"shown", true, false, func(s *session, ask string) { s.typed("no\n") }},
		{"shown, interrupted", true, false, func(s *session, ask string) { s.typed("y\x03") }},
		{"shown, stopped", true, false, stopAndContinue},
	} {
		t.Run(c.name, func(t *testing.T) {
			argv, ask := ssh.password, ssh.prompt
			if c.echo {
				argv, ask = ssh.confirm, "(yes/no/[fingerprint])? "
			}
			run := func(env []string, argv []string) string {
				s := start(t, c.background, env, argv...)
				if c.background {
					s.wantEvent("stopped SIGTTOU")
					s.tell("fg")
				}
				s.see(ask, 1)
				s.wantEcho(c.echo, "while asked")
				s.asleep()
				c.person(s, ask)
				s.over()
				s.wantEcho(true, "afterwards")
				return s.screen()
			}
			want := run(nil, argv)
			text, _, _ := strings.Cut(strings.TrimPrefix(want, "\r"), ask)
			q := Question{Text: strings.ReplaceAll(text, "\r\n", "\n") + ask, Echo: c.echo}
			got := run([]string{asJob(order{Questions: []Question{q}})}, []string{os.Args[0]})
			if got != want {
				t.Errorf("the terminal was shown\n%q, by ssh\n%q", got, want)
			}
		})
	}
}

// asleep waits until the job waits for input. A signal between readpassphrase's
// prompt and its read has no effect on ssh until a key is pressed.
func (s *session) asleep() {
	s.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range int(patience / time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
		check(s.t, err)
		if _, rest, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(rest, "S ") {
			return
		}
		<-tick.C
	}
	s.t.Fatal("the job does not wait for input")
}

func stopAndContinue(s *session, ask string) {
	s.typed("wr\x1a")
	if e := s.event(); !strings.HasPrefix(e, "stopped ") {
		s.t.Fatalf("got event %q, want a stop", e)
	}
	s.wantEcho(true, "while stopped")
	s.tell("fg")
	s.see(ask, 2)
	s.asleep()
	s.typed("no\n")
}

// TestWhoIsAsked checks the choice between terminal and askpass, against stock
// ssh as well.
func TestWhoIsAsked(t *testing.T) {
	ssh := newStock(t)
	record := t.TempDir()
	askpass := script(t, "#!/bin/sh\nprintf '%s\\n' \"$#\" \"$1\" >"+record+"/argv\nenv >"+record+"/env\necho wrong\n")
	const display, wayland, require = "DISPLAY=:0", "WAYLAND_DISPLAY=wayland-0", "SSH_ASKPASS_REQUIRE="
	for _, c := range []struct {
		env           []string
		withTTY, bare string // who is asked with a terminal, and without
		confirm       string // who is asked to confirm
	}{
		{nil, "terminal", "none", "none"},
		{[]string{display}, "terminal", "askpass", "askpass"},
		{[]string{"DISPLAY="}, "terminal", "none", "none"},
		{[]string{wayland}, "terminal", "askpass", "askpass"},
		{[]string{"WAYLAND_DISPLAY="}, "terminal", "none", "none"},
		{[]string{"DISPLAY=", wayland}, "terminal", "askpass", "askpass"},
		{[]string{require + "never"}, "terminal", "none", "none"},
		{[]string{require + "never", display}, "terminal", "none", "none"},
		{[]string{require + "prefer"}, "terminal", "none", "none"},
		{[]string{require + "prefer", display}, "askpass", "askpass", "askpass"},
		{[]string{require + "Prefer", display}, "askpass", "askpass", "askpass"},
		{[]string{require + "prefer", wayland}, "askpass", "askpass", "askpass"},
		{[]string{require + "force"}, "askpass", "askpass", "askpass"},
		{[]string{require + "FORCE", display}, "askpass", "askpass", "askpass"},
		{[]string{require + "other"}, "terminal", "none", "none"},
		{[]string{require, display}, "terminal", "askpass", "askpass"},
	} {
		t.Run(strings.Join(c.env, ","), func(t *testing.T) {
			w := who{t, record, append(slices.Clone(c.env), "SSH_ASKPASS="+askpass, "VSCODE_SSH_ASKPASS_HANDLE=/run/handle")}
			w.isAsked(c.withTTY, true, Question{Text: ssh.prompt})
			w.isAsked(c.bare, false, Question{Text: ssh.prompt})
			w.isAsked(c.confirm, true, Question{Text: ssh.prompt, Confirm: true})
			w.isAsked(c.confirm, false, Question{Text: ssh.prompt, Confirm: true})
			if slices.Contains(c.env, wayland) {
				return // not yet in 9.2
			}
			for bare, want := range map[bool]string{false: c.withTTY, true: c.bare} {
				if got := w.run(!bare, ssh.prompt, nil, ssh.password); got != want {
					t.Errorf("ssh itself asks %s, terminal %v; want %s", got, !bare, want)
				}
			}
		})
	}
}

// who finds out who is asked in one environment.
type who struct {
	t      *testing.T
	record string // where askpass leaves argv and env
	env    []string
}

func (w who) isAsked(want string, tty bool, q Question) {
	w.t.Helper()
	env := append(slices.Clone(w.env), asJob(order{Questions: []Question{q}}))
	if got := w.run(tty, q.Text, env, []string{os.Args[0]}); got != want {
		w.t.Errorf("terminal %v, confirm %v: got %s, want %s", tty, q.Confirm, got, want)
	}
	if want != "askpass" {
		return
	}
	argv, _ := os.ReadFile(filepath.Join(w.record, "argv"))
	if want := "1\n" + q.Text + "\n"; string(argv) != want {
		w.t.Errorf("askpass was run with %q, want %q", argv, want)
	}
	text, _ := os.ReadFile(filepath.Join(w.record, "env"))
	lines := strings.Split(string(text), "\n")
	for _, kv := range w.env {
		if !slices.Contains(lines, kv) {
			w.t.Errorf("askpass has no %s", kv)
		}
	}
	if got := slices.Contains(lines, "SSH_ASKPASS_PROMPT=confirm"); got != q.Confirm {
		w.t.Errorf("SSH_ASKPASS_PROMPT=confirm: got %v, want %v", got, q.Confirm)
	}
}

// run runs argv, answers on the terminal if asked there, and tells who was.
func (w who) run(tty bool, ask string, env, argv []string) string {
	w.t.Helper()
	if env == nil {
		env = w.env
	}
	os.Remove(filepath.Join(w.record, "argv"))
	onTerminal := false
	if tty {
		s := start(w.t, false, env, argv...)
		if onTerminal = s.seeOrEnd(ask); onTerminal {
			s.typed("wrong\n")
		}
		s.over()
	} else {
		startNoTTY(w.t, env, argv...).Wait()
	}
	_, err := os.Stat(filepath.Join(w.record, "argv"))
	switch {
	case err == nil && onTerminal:
		return "both"
	case err == nil:
		return "askpass"
	case onTerminal:
		return "terminal"
	}
	return "none"
}
