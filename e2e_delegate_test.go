//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ssh-stay/internal/sshtest"
)

// TestDelegated: hops that ssh logs in to and hops of our own mix in a route,
// whoever says so, and nothing but the stream comes out.
func TestDelegated(t *testing.T) {
	w := newWorld(t)
	w.ignoreStay()
	for alias, hop := range map[string]*sshtest.Sshd{"theirs": w.j1, "theirs2": w.j2} {
		if err := w.client.AddHost(alias, hop, "StayClient openssh", "StayInterval 7"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.client.AddHost("behind", w.j2, "StayClient openssh", "ProxyJump j1"); err != nil {
		t.Fatal(err)
	}
	line := w.client.ProxyLine(w.bin)
	for _, tc := range []struct {
		jumps string
		hops  []*sshtest.Sshd
	}{
		{"theirs", []*sshtest.Sshd{w.j1}},
		{"j2,theirs", []*sshtest.Sshd{w.j1, w.j2}},
		{"theirs,j2", []*sshtest.Sshd{w.j1, w.j2}},
		{"theirs,theirs2", []*sshtest.Sshd{w.j1, w.j2}},
		{"theirs,j2,j3", []*sshtest.Sshd{w.j1, w.j2, w.j3}},
		{"j3,theirs,j2", []*sshtest.Sshd{w.j1, w.j2, w.j3}},
		{"behind", []*sshtest.Sshd{w.j1, w.j2}},
	} {
		t.Run(tc.jumps, func(t *testing.T) {
			w := &world{Rig: sshtest.For(t), bin: w.bin, client: w.client, target: w.target}
			alias := "via-" + strings.ReplaceAll(tc.jumps, ",", "-")
			w.add(alias, line, "ProxyJump "+tc.jumps)
			before := logins(tc.hops...)
			if got := w.ssh(strings.NewReader("over\n"), alias, "cat"); got != "over\n" {
				t.Errorf("got %q, want what was sent", got)
			}
			for i, after := range logins(tc.hops...) {
				if after-before[i] != 1 {
					t.Errorf("logins at hop %d of %s: got %d, want 1", i, tc.jumps, after-before[i])
				}
			}
		})
	}
}

// ignoreStay lets ssh pass over our keywords in what is added from now on.
func (w *world) ignoreStay() {
	w.Helper()
	if err := w.client.Append("Host *", "\tIgnoreUnknown Stay*"); err != nil {
		w.Fatal(err)
	}
}

// TestLeftToSSH: a key that we cannot read and ssh can has ssh log in to that
// hop, unless the user forbids it.
func TestLeftToSSH(t *testing.T) {
	w := newWorld(t)
	w.Peer("ssh-keygen")
	key := filepath.Join(w.client.Dir, "pkcs8")
	text, err := os.ReadFile(w.client.Key.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, text, 0o600); err != nil {
		t.Fatal(err)
	}
	// Cipher and round count are those that x/crypto cannot undo.
	if out, err := exec.Command("ssh-keygen", "-p", "-f", key, "-N", "a secret", "-Z", "aes256-gcm@openssh.com").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	user := w.Askpass(map[string]string{"Enter passphrase for key '" + key + "': ": "a secret"})
	w.ignoreStay()
	for alias, client := range map[string]string{"auto": "auto", "never": "builtin"} {
		if err := w.client.AddHost(alias, w.j1, "StayClient "+client, "IdentityFile "+key, "BatchMode no"); err != nil {
			t.Fatal(err)
		}
		w.add("through-"+alias, w.client.ProxyLine(w.bin), "ProxyJump "+alias)
	}
	config, err := os.ReadFile(w.client.Config)
	if err != nil {
		t.Fatal(err)
	}
	// The user's own key, which would do, is not for these two.
	own := strings.Replace(string(config), "Host *\n\tIdentityFile "+w.client.Key.Path,
		"Match !originalhost auto,never\n\tIdentityFile "+w.client.Key.Path+"\nHost *", 1)
	if err := os.WriteFile(w.client.Config, []byte(own), 0o600); err != nil || own == string(config) {
		t.Fatalf("got %v and a configuration without a key for all hosts:\n%s", err, config)
	}
	cmd := w.client.Command(t.Context(), "through-auto", "echo there")
	cmd.Env = append(cmd.Env, user.Env()...)
	out, err := cmd.Output()
	if asked, _ := user.Asked(); string(out) != "there\n" || len(asked) != 1 {
		t.Errorf("got %q, %v, asked %q, want it there and one question", out, err, asked)
	}
	_, stderr, status := w.proxy(nil, append([]string{"-J", "never"}, w.targetArgs()...)...)
	if status != exitNoReach || !strings.Contains(stderr, "hop never: Permission denied (publickey") {
		t.Errorf("StayClient builtin: got exit %d and %q, want it denied", status, stderr)
	}
}

// TestDelegatedRefuses: no name of a stanza reaches the shell that ssh runs our
// command by, and hops that lead to each other end.
func TestDelegatedRefuses(t *testing.T) {
	w := newWorld(t)
	canary := filepath.Join(w.client.Dir, "canary")
	w.ignoreStay()
	if err := w.client.Append(
		"Host name", " StayClient openssh", " HostName $(touch${IFS}"+canary+")",
		"Host user", " StayClient openssh", " HostName 127.0.0.1", " User \"`touch "+canary+"`\"",
		"Host here", " StayClient openssh", " HostName 127.0.0.1", " ProxyJump there",
		"Host there", " StayClient openssh", " HostName 127.0.0.1", " ProxyJump here",
	); err != nil {
		t.Fatal(err)
	}
	for jump, want := range map[string]string{"name": "invalid host name", "user": "invalid user name", "here": "jumphost loop via here"} {
		stdout, stderr, status := w.proxy(nil, append([]string{"-J", jump}, w.targetArgs()...)...)
		if stdout != "" || status != exitNoReach || !strings.Contains(stderr, want) {
			t.Errorf("%s: got %q, exit %d and %q, want %q", jump, stdout, status, stderr, want)
		}
	}
	if _, err := os.Stat(canary); err == nil {
		t.Error("got a command run by a name, want none")
	}
}
