package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/internal/sshtest"
)

// commandTokens are those that tell what ssh means by each of its calls.
const commandTokens = "%I %H %t %f %K"

// withCommand makes s run script, which finds ssh's arguments in "$@".
func withCommand(t *testing.T, s scene, script string) scene {
	file := filepath.Join(t.TempDir(), "command")
	text := "#!/bin/sh\nprintf '%s\\n' \"$*\" >> \"$HOME/calls\"\n" + script
	if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	s.options = append(s.options, "KnownHostsCommand="+file+" "+commandTokens)
	edit := s.edit
	s.edit = func(h *HostKeys) {
		h.Command = func(invocation, name string, key ssh.PublicKey) ([]string, error) {
			kind, print, blob := "NONE", "NONE", "NONE"
			if key != nil {
				kind, print, blob = key.Type(), ssh.FingerprintSHA256(key), base64.StdEncoding.EncodeToString(key.Marshal())
			}
			return []string{file, invocation, name, kind, print, blob}, nil
		}
		if _, err := h.Order(t.Context(), []string{ssh.KeyAlgoED25519}); err != nil {
			t.Error(err)
		}
		if edit != nil {
			edit(h)
		}
	}
	return s
}

// The command is called when ssh calls it, with the same arguments, and its
// lines count as ssh counts them.
func TestKnownHostsCommandAsSSH(t *testing.T) {
	link := sshtest.For(t).Link()
	if err := link.Up(); err != nil {
		t.Fatal(err)
	}
	st := newStage(t, link.Client, link.Server)
	checkIP := func(s scene) scene {
		s.options = []string{"CheckHostIP=yes"}
		s.edit = func(h *HostKeys) { h.CheckIP = true }
		return s
	}
	for _, tt := range []struct {
		scene
		script string
	}{
		{scene{name: "known", strict: "yes", want: "ok", safe: true}, "echo '{name} {key}'"},
		{scene{name: "known by its argument", strict: "yes", want: "ok", safe: true}, `echo "$2 {key}"`},
		{scene{name: "known by an alias", strict: "yes", alias: "Jump", want: "ok", safe: true}, `echo "$2 {key}"`},
		{scene{name: "the bare name does not count", strict: "yes", want: "unknown"}, "echo '192.0.2.2 {key}'"},
		{scene{name: "nothing", strict: "yes", want: "unknown"}, ""},
		{scene{name: "rubbish", strict: "yes", want: "unknown"}, "echo x y z; echo; printf '\\377'"},
		{scene{name: "another key, known to the file", strict: "yes", user: "{name} {key}\n", want: "ok", safe: true}, `echo "$2 {other}"`},
		{scene{name: "known, another key in the file", strict: "yes", user: "{name} {other}\n", want: "ok", safe: true}, `echo "$2 {key}"`},
		{scene{name: "changed", strict: "no", user: "{name} {rsa}\n", want: "ok"}, `echo "$2 {other}"`},
		{scene{name: "revoked", strict: "yes", user: "{name} {key}\n", want: "revoked"}, `echo "@revoked $2 {key}"`},
		{scene{name: "new, written to the file", strict: "accept-new", want: "ok", safe: true}, ""},
		{checkIP(scene{name: "address is not written", strict: "yes", alias: "jump", want: "ok", safe: true}),
			`if [ $1 = HOSTNAME ]; then echo "$2 {key}"; fi`},
		{checkIP(scene{name: "address known", strict: "yes", alias: "jump", want: "ok", safe: true}), `echo "$2 {key}"`},
		{checkIP(scene{name: "address changed", strict: "yes", alias: "jump", want: "changed"}),
			`if [ $1 = HOSTNAME ]; then echo "$2 {key}"; else echo "$2 {other}"; fi`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := withCommand(t, tt.scene, st.words.Replace(tt.script)+"\n")
			h := st.home(t, &s)
			theirs := st.theirs(t, &s, h)
			calls := filepath.Join(h.dir, "calls")
			want, _ := os.ReadFile(calls)
			os.Remove(calls)
			st.reset(t, &s, h)
			ours, hk, err := st.ours(t, &s, h)
			st.compare(t, &s, theirs, ours, hk, err)
			if got, _ := os.ReadFile(calls); string(got) != string(want) || len(want) == 0 {
				t.Errorf("got calls %q, want ssh's %q", got, want)
			}
		})
	}
}

// A command that fails, in whatever way, refuses a key that is known: it might
// have said that the key is revoked.
func TestKnownHostsCommandFails(t *testing.T) {
	key := newSigner(t, "ed25519").PublicKey()
	k := known(t, "jump "+authorized(key))
	for _, tt := range []struct {
		name string
		argv []string
		err  error
		want string
	}{
		{"works", []string{"/bin/true"}, nil, "ok"},
		{"exit status", []string{"/bin/sh", "-c", "echo x; exit 3"}, nil, "refused"},
		{"signal", []string{"/bin/sh", "-c", "kill -9 $$"}, nil, "refused"},
		{"missing", []string{"/no/such/program"}, nil, "refused"},
		{"no path", []string{"true"}, nil, "refused"},
		{"empty", nil, nil, "refused"},
		{"bad tokens", []string{"/bin/true"}, errors.New("bad token"), "refused"},
		{"endless", []string{"/bin/cat", "/dev/zero"}, nil, "refused"},
		{"keeps its output open", []string{"/bin/sh", "-c", "exec sleep 600 <&- & exit 0"}, nil, "refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := &HostKeys{Host: "jump", Known: k, Strict: StrictNo, UserFile: os.DevNull,
				Command: func(string, string, ssh.PublicKey) ([]string, error) { return tt.argv, tt.err }}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := h.Check(ctx, key)
			if verdict(err) != tt.want || (tt.name == "endless") != errors.Is(err, errTooLong) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if _, err := h.Order(ctx, []string{"x"}); (err == nil) != (tt.want == "ok") {
				t.Errorf("order: got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestKnownHostsCommandEnds(t *testing.T) {
	h := &HostKeys{Host: "jump", Known: known(t),
		Command: func(string, string, ssh.PublicKey) ([]string, error) { return []string{"/bin/sleep", "600"}, nil }}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := h.Check(ctx, newSigner(t, "ed25519").PublicKey())
	if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 5*time.Second {
		t.Errorf("got %v after %v, want %v at once", err, took, context.DeadlineExceeded)
	}
}

// What the command is told is no shell's: a name stays one argument.
func TestKnownHostsCommandWithoutShell(t *testing.T) {
	var log strings.Builder
	const evil = "x; touch /nowhere/$(id) `id` | cat"
	h := &HostKeys{Host: evil, Known: known(t), Log: slog.New(slog.NewTextHandler(&log, nil)),
		Command: func(_, name string, _ ssh.PublicKey) ([]string, error) {
			return []string{"/bin/sh", "-c", `printf '%s\nand' "$#:$1:$STAY_TEST_SET" >&2`, "sh", name}, nil
		}}
	t.Setenv("STAY_TEST_SET", "inherited")
	if err := h.Check(t.Context(), newSigner(t, "ed25519").PublicKey()); verdict(err) != "unknown" {
		t.Errorf("got %v, want unknown", err)
	}
	if want := fmt.Sprintf("stderr=%q", "1:"+evil+":inherited"); !strings.Contains(log.String(), want) || !strings.Contains(log.String(), "stderr=and") {
		t.Errorf("got log %q, want %s, and the line that was not ended", log.String(), want)
	}
}
