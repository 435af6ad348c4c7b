//go:build unix

package wrapper

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

func TestFindSSH(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	at := func(name string) string {
		dir := filepath.Join(root, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "ssh")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Symlink(self, at("link")))
	must(os.Symlink(at("link"), at("link2")))
	if err := os.Link(self, at("hard")); err != nil {
		must(os.WriteFile(at("hard"), text, 0o700)) // another file system
	}
	must(os.WriteFile(at("copy"), text, 0o700))
	must(os.WriteFile(at("plain"), []byte("#!/bin/sh\n"), 0o600))
	must(os.Mkdir(at("dir"), 0o700))
	must(os.Symlink("nowhere", at("dangling")))
	must(os.WriteFile(at("real"), []byte("#!/bin/sh\n"), 0o700))
	other := slices.Clone(text)
	other[len(other)-1] ^= 1
	must(os.WriteFile(at("other"), other, 0o700))

	ours := filepath.Join(root, "link") + ":" + filepath.Join(root, "link2") + ":" + filepath.Join(root, "hard") + ":" + filepath.Join(root, "copy") +
		"::.:" + filepath.Join(root, "plain") + ":" + filepath.Join(root, "dir") + ":" + filepath.Join(root, "dangling") + ":/nowhere"
	t.Chdir(filepath.Join(root, "real"))
	for _, real := range []string{"real", "other"} {
		t.Setenv("PATH", ours+":"+filepath.Join(root, real))
		if got, err := FindSSH(); got != at(real) || err != nil {
			t.Errorf("got %s, %v; want %s", got, err, at(real))
		}
	}
	t.Setenv("PATH", ours)
	if got, err := FindSSH(); !errors.Is(err, ErrNoSSH) {
		t.Errorf("got %s, %v; want ErrNoSSH", got, err)
	}
}

func TestIsSSH(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want bool
	}{
		{[]string{"ssh"}, true},
		{[]string{"/usr/local/bin/ssh", "h"}, true},
		{[]string{"ssh", "proxy"}, true},
		{[]string{"ssh", "proxy", "uptime"}, true},
		{[]string{"/home/me/bin/ssh", "proxy", "--alias", "h", "--user", "u", "h", "22"}, false},
		{[]string{"ssh-stay", "h"}, false},
		{[]string{"sshd"}, false},
		{nil, false},
	} {
		if got := IsSSH(tc.args); got != tc.want {
			t.Errorf("%q: got %v, want %v", tc.args, got, tc.want)
		}
	}
}

func TestEnter(t *testing.T) {
	env, err := Enter(7, []string{"A=b"})
	if err != nil || !slices.Equal(env, []string{"A=b", "SSH_STAY_WRAPPER=7:1"}) {
		t.Fatalf("got %q, %v", env, err)
	}
	if _, err := Enter(7, env); !errors.Is(err, ErrLoop) {
		t.Errorf("in the same process: got %v, want ErrLoop", err)
	}
	// Of two of a name the first counts for some, the last for others.
	twice := []string{"SSH_STAY_WRAPPER=7:16", "A=b", "SSH_STAY_WRAPPER=8:1"}
	if _, err := Enter(9, twice); !errors.Is(err, ErrLoop) {
		t.Errorf("%q: got %v, want ErrLoop", twice, err)
	}
	twice[0] = "SSH_STAY_WRAPPER=7:2"
	if got, err := Enter(9, twice); err != nil || !slices.Equal(got, []string{"A=b", "SSH_STAY_WRAPPER=9:3"}) {
		t.Errorf("%q: got %q, %v; want one entry, of 3", twice, got, err)
	}
	for pid := 8; ; pid++ {
		if env, err = Enter(pid, env); err != nil {
			if !errors.Is(err, ErrLoop) || pid < 20 {
				t.Errorf("at process %d: got %v, want ErrLoop from 23 on", pid, err)
			}
			return
		}
		if pid > 40 {
			t.Fatal("no end of wrappers")
		}
	}
}

// TestShell has ssh run our ProxyCommand for a user of each shell.
func TestShell(t *testing.T) {
	for shell, want := range map[string]string{
		"": "", "/bin/sh": "/bin/sh", "/bin/bash": "/bin/bash", "/bin/false": "/bin/sh", "/usr/bin/true": "/bin/sh",
		"/usr/sbin/nologin": "/bin/sh", "/nowhere/zsh": "/bin/sh", "/etc/passwd": "/bin/sh", "/bin": "/bin/sh",
	} {
		got := Shell(shell)
		if got != want {
			t.Errorf("%s: got %s, want %s", shell, got, want)
		}
		ran := filepath.Join(t.TempDir(), "ran")
		cmd := exec.Command("ssh", "-F", "none", "-o", "ProxyCommand=echo >"+ran, "h")
		cmd.Env = append(os.Environ(), "SHELL="+got)
		said, _ := cmd.CombinedOutput() // it fails: echo is no sshd
		if _, err := os.Stat(ran); err != nil {
			t.Errorf("%s: %s has not run the ProxyCommand: %s", shell, got, said)
		}
	}
}

func TestTakesTag(t *testing.T) {
	for banner, want := range map[string]bool{
		"OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.22": false, "OpenSSH_9.3p2, LibreSSL": false, "OpenSSH_9.4p1": true,
		"OpenSSH_for_Windows_9.5p1, LibreSSL 3.8.2": true, "OpenSSH_10.6": true, "OpenSSH_8.9p1": false, "": true,
	} {
		if got := TakesTag(banner); got != want {
			t.Errorf("%s: got %v, want %v", banner, got, want)
		}
	}
}
