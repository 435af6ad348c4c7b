//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"ssh-stay/internal/sshtest"
)

// viewer is who looks at the sessions of a user.
type viewer struct {
	sshtest.Rig
	bin    string
	client *sshtest.Client
}

// shown is what --json tells, by the names that are documented.
type shown struct {
	Sessions []shownSession
	Failures []struct {
		Host, Error string
		Time        time.Time
	}
}

type shownSession struct {
	Host, Route, State, Event, Error string
	PID, Reattaches                  int
	Missed                           int       `json:"probes_missed"`
	Started, Updated                 time.Time // RFC 3339
	Age                              float64   `json:"age_seconds"`
	RTT                              float64   `json:"rtt_seconds"`
	Up                               int64     `json:"bytes_up"`
	Down                             int64     `json:"bytes_down"`
	EventTime                        time.Time `json:"event_time"`
}

func (v viewer) status(args ...string) string {
	v.Helper()
	cmd := v.client.Run(v.Context(), v.bin, append([]string{"status"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		v.Fatalf("status %v: %v, stderr %q", args, err, stderr.String())
	}
	return stdout.String()
}

func (v viewer) json() (s shown) {
	v.Helper()
	text := v.status("--json")
	d := json.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&s); err != nil || s.Sessions == nil || s.Failures == nil {
		v.Fatalf("got %s: %v", text, err)
	}
	return s
}

// until waits for so many sessions that are as they shall be, and returns them.
func (v viewer) until(n int, what string, ok func(shownSession) bool) (all []shownSession) {
	v.Helper()
	v.Eventually(20*time.Second, what, func() bool {
		all = v.json().Sessions
		return len(all) == n && !slices.ContainsFunc(all, func(s shownSession) bool { return !ok(s) })
	})
	return all
}

// files are the records that there are.
func (v viewer) files() (all []string) {
	v.Helper()
	all, err := filepath.Glob(filepath.Join(v.client.Dir, ".local", "state", "ssh-stay", "*"))
	if err != nil {
		v.Fatal(err)
	}
	return all
}

// end ends a session as its user would.
func (s *session) end(t *testing.T) {
	t.Helper()
	s.in.Close()
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("%s: %v", s.name, err)
	}
}

// TestStatus: what a session is like, for each kind of route; nothing is left of
// it, however it ends.
func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.add("jumped", w.client.ProxyLine(w.bin), "StayResume jump", "ProxyJump j1,j2")
	v := viewer{w.Rig, w.bin, w.client}
	if got := v.status(); got != "" || len(v.files()) != 0 {
		t.Errorf("before: got %q, files %v, want nothing", got, v.files())
	}
	const size = 200_000
	start := time.Now()
	for alias, route := range map[string]string{"direct": "direct", "one": "j1", "two": "j1,j2", "jumped": "resume jump via j1,j2"} {
		s := startSession(t, alias, w.client.Command(t.Context(), alias, fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x >&2; exec cat", size)))
		if err := s.ask(strings.Repeat("y", 5000), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		got := v.until(1, "figures of "+alias, func(s shownSession) bool { return s.Down > size && s.Up > 5000 && s.RTT > 0 })[0]
		if got.Host != alias || got.Route != route || got.State != "connected" || got.Event != "connected" || got.Error != "" ||
			got.Reattaches != 0 || got.Missed != 0 || got.Down > 2*size || got.Up > 50_000 || got.RTT > 1 {
			t.Errorf("%s: got %+v, want route %s, some 200 and 10 kB", alias, got, route)
		}
		if age := time.Since(start).Seconds() + 1; got.Age < 1 || got.Age > age || got.Started.Before(start.Add(-time.Second)) || got.Updated.After(time.Now()) {
			t.Errorf("%s: got an age of %v, started %v, updated %v, want it to be between 1 and %v", alias, got.Age, got.Started, got.Updated, age)
		}
		if text := v.status(); !strings.Contains(text, "\n"+alias+" ") || !strings.Contains(text, "  "+route+"  ") || strings.Contains(text, "\x1b") {
			t.Errorf("%s: got %q, want a line of it without colours", alias, text)
		}
		if err := s.ask(strings.Repeat("y", 5000), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		v.until(1, "fresh figures of "+alias, func(s shownSession) bool { return s.Up > got.Up+4999 && s.Down > got.Down+4999 })
		s.end(t)
		w.WaitNone(w.bin, 5*time.Second)
		if files, got := v.files(), v.status(); got != "" || len(files) != 0 {
			t.Errorf("%s: after the end: got files %v, then %q, want nothing", alias, files, got)
		}
	}
	s := startSession(t, "fdpass", w.client.Command(t.Context(), "fdpass", "cat"))
	w.WaitNone(w.bin, 2*time.Second)
	if got := v.status(); got != "" || len(v.files()) != 0 {
		t.Errorf("fdpass: got %q, files %v, want nothing", got, v.files())
	}
	s.end(t)
}

// TestStatusKilled: two sessions of a host are two, and one that is killed is
// gone, whatever killed it.
func TestStatusKilled(t *testing.T) {
	w := newWorld(t)
	v := viewer{w.Rig, w.bin, w.client}
	any := func(shownSession) bool { return true }
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP} {
		startSession(t, "direct", w.client.Command(t.Context(), "direct", "cat"))
		startSession(t, "direct", w.client.Command(t.Context(), "direct", "cat"))
		both := v.until(2, "two sessions", any)
		if both[0].PID == both[1].PID || both[0].Host != "direct" || both[1].Host != "direct" {
			t.Errorf("got %+v, want two of a host", both)
		}
		for i, s := range both {
			if err := syscall.Kill(s.PID, sig); err != nil {
				t.Fatal(err)
			}
			w.WaitGone(s.PID, 5*time.Second)
			if sig != syscall.SIGKILL && len(v.files()) != 1-i {
				t.Errorf("%v: got files %v, want %d", sig, v.files(), 1-i)
			}
			v.until(1-i, "end of the killed", any)
		}
		if got := v.files(); len(got) != 0 {
			t.Errorf("%v: got files %v, want none", sig, got)
		}
	}
}

// TestStatusNowhere: where no record can be kept, a session is as ever, and status
// says what it cannot read.
func TestStatusNowhere(t *testing.T) {
	w := newWorld(t)
	state := filepath.Join(w.client.Dir, ".local", "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "ssh-stay"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := w.ssh(nil, "direct", "sleep 1.5; echo up"); got != "up\n" {
		t.Errorf("got %q, want the session to be as ever", got)
	}
	cmd := w.client.Run(t.Context(), w.bin, "status")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != exitFailed || stdout.Len() > 0 || !strings.Contains(stderr.String(), state+"/ssh-stay: not a directory of ours") {
		t.Errorf("status: %v, %q, %q, want it to name the directory", err, stdout.String(), stderr.String())
	}
}

// TestStatusStopped: a session that cannot answer is not waited for, and its
// figures say how old they are.
func TestStatusStopped(t *testing.T) {
	w := newWorld(t)
	v := viewer{w.Rig, w.bin, w.client}
	s := startSession(t, "direct", w.client.Command(t.Context(), "direct", "cat"))
	pid := v.until(1, "a session", func(shownSession) bool { return true })[0].PID
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGCONT) }) // it ends before the session does
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.Eventually(20*time.Second, "old figures", func() bool {
		start := time.Now()
		text := v.status()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("status took %v", took)
		}
		return strings.Contains(text, " (as of ")
	})
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.Eventually(20*time.Second, "fresh figures", func() bool { return !strings.Contains(v.status(), " (as of ") })
	s.end(t)
}

// TestStatusSecrets: no password, passphrase, code or private key, nor what goes
// through a session, is in its record.
func TestStatusSecrets(t *testing.T) {
	rig := sshtest.For(t)
	k, target := rig.Keyring(), rig.Sshd(sshtest.SshdConfig{})
	c := newCell(t, sshtest.JumpConfig{Kind: "xcrypto", Methods: "publickey,publickey,password,keyboard-interactive", Keyring: k},
		target, []string{k.Use("encrypted"), k.Use("ed25519")})
	c.add("canary", target, c.client.ProxyLine(c.Build()), "StayResume target", testKeep, "ProxyJump hop1")
	v := viewer{c.Rig, c.Build(), c.client}
	secret := secrets(t, k)
	secret["payload"] = []byte("canary-in-the-session")
	for _, alias := range []string{"one", "canary"} {
		s := startSession(t, alias, c.command(t.Context(), alias, "cat"))
		if err := s.ask(string(secret["payload"]), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		v.until(1, "a record", func(s shownSession) bool { return s.Host == alias && s.Up > 0 })
		files := v.files()
		for _, file := range files {
			text, err := os.ReadFile(file)
			info, _ := os.Stat(file)
			if err != nil || !bytes.Contains(text, []byte(alias)) || info.Mode() != 0o600 {
				t.Errorf("%s: got %s, %v, want our record, mode 0600", file, text, err)
			}
			for name, canary := range secret {
				if bytes.Contains(text, canary) {
					t.Errorf("%s holds %s", file, name)
				}
			}
		}
		if len(files) != 1 {
			t.Errorf("got files %v, want one", files)
		}
		s.end(t)
	}
}

// transcript is what was written so far.
type transcript struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *transcript) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *transcript) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// terminalOf runs a command on a terminal of its own, and returns what it has
// drawn so far.
func terminalOf(t *testing.T, cmd *exec.Cmd) (keys io.Writer, drawn func() string, ended <-chan error) {
	t.Helper()
	master, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 160})
	if err != nil {
		t.Fatal(err)
	}
	text, over := &transcript{}, make(chan error, 1)
	go func() { // ends with the command
		io.Copy(text, master)
		over <- cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		master.Close()
	})
	return master, text.String, over
}

// TestStatusWatch: drawn in place every second, with the round trips, until q or
// ^C, after which the terminal is as before.
func TestStatusWatch(t *testing.T) {
	w := newWorld(t)
	s := startSession(t, "direct", w.client.Command(t.Context(), "direct", "cat"))
	viewer{w.Rig, w.bin, w.client}.until(1, "a session", func(shownSession) bool { return true })
	for key, env := range map[string]string{"q": "TERM=xterm", "\x03": "NO_COLOR=1"} {
		cmd := w.client.Run(t.Context(), w.bin, "status", "--watch")
		cmd.Env = append(cmd.Env, env)
		keys, drawn, ended := terminalOf(t, cmd)
		w.Eventually(20*time.Second, "third drawing with three round trips", func() bool {
			parts := strings.Split(drawn(), home)
			last := parts[len(parts)-1]
			return len(parts) > 4 && strings.Contains(last, "direct") && strings.Contains(last, "ROUND TRIPS") &&
				strings.ContainsFunc(last, func(r rune) bool { return r >= '▁' && r <= '█' })
		})
		select {
		case err := <-ended:
			t.Fatalf("%q: ended by itself: %v", key, err)
		default:
		}
		io.WriteString(keys, key)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%q: got %v, want a good end", key, err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%q does not end it", key)
		}
		text := drawn()
		if !strings.HasPrefix(text, enterWatch+home) || !strings.HasSuffix(text, leaveWatch) {
			t.Errorf("%q: got %q, want the cursor back", key, text)
		}
		if got, want := strings.Contains(text, faint), env == "TERM=xterm"; got != want {
			t.Errorf("%s: got colours %v, want %v", env, got, want)
		}
	}
	s.end(t)
}
