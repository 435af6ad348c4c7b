//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// readOnly runs the command where /tmp, which has the test's home too, cannot be
// written, and full where it is full.
const (
	readOnly = `ForceCommand unshare --mount sh -c 'mount --bind /tmp /tmp && mount -o remount,ro,bind /tmp && exec sh -c "$SSH_ORIGINAL_COMMAND"'`
	full     = `ForceCommand unshare --mount sh -c 'mount -t tmpfs -o size=64k,mode=1777 none /tmp && mkdir -p "$HOME" && exec sh -c "$SSH_ORIGINAL_COMMAND"'`
)

// testFallBacks: where there can be no relay the session goes on without
// one, and one line says so.
func testFallBacks(t *testing.T) {
	tests := map[string]func(t *testing.T){
		"wrong":     testWrongSetting,
		"fallsOnce": testOneWarning,
		"left":      testLeftWarning,
		"passed":    testPassed,
		"askedOnce": testAskedOnce,
	}
	for name, tc := range map[string]struct {
		line string // of sshd_config of the jump host
		want string // in the warning
	}{
		"sftpOnly": {"ForceCommand internal-sftp", "ended without an answer"},
		"nologin":  {"ForceCommand echo This account is currently not available.; exit 1", "ended without an answer"},
		"silent":   {"ForceCommand exit 1", "ended without an answer"},
		"chatty":   {"ForceCommand yes", "no answer in the"},
		"noExec":   {"MaxSessions 0", "runs no commands"},
		"readOnly": {readOnly, ".cache/ssh-stay cannot be made"},
		"full":     {full, "cannot unpack to"},
	} {
		tests[name] = func(t *testing.T) { testFallBack(t, tc.line, tc.want) }
	}
	together(t, tests)
}

func testFallBack(t *testing.T, line, want string) {
	r := newResumedAt(t, "jump", sshtest.SshdConfig{Lines: []string{line}})
	r.fail(os.RemoveAll(filepath.Join(r.host.Home, ".cache")))
	start := time.Now()
	stdout, stderr, status := r.run(strings.NewReader("through"), "it", "cat")
	t.Logf("after %v: %q", time.Since(start), stderr)
	if stdout != "through" || status != 0 {
		t.Errorf("got %q, status %d, stderr %q; want a session", stdout, status, stderr)
	}
	stderr = strings.Replace(stderr, "ssh-stay: it: still connecting\n", "", 1) // on a busy machine
	if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "ssh-stay: it: cannot be resumed, going on without: ") || !strings.Contains(stderr, want) {
		t.Errorf("got %q, want one line with %q", stderr, want)
	}
	if n := len(r.host.Relays()); n > 0 {
		t.Errorf("%d relays run", n)
	}
}

// testOneWarning: the target's own account has no shell, so that ssh can do
// nothing there but forward: the stream falls back to the plain route, and ssh
// says the rest.
func testOneWarning(t *testing.T) {
	r := newResumedAt(t, "target", sshtest.SshdConfig{Lines: []string{"ForceCommand echo go away; exit 3"}})
	stdout, stderr, status := r.run(nil, "it", "echo in")
	if stdout != "go away\n" || status != 3 || strings.Count(stderr, "cannot be resumed") != 1 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("got %q, %q, status %d; want one line on stderr", stdout, stderr, status)
	}
}

// testLeftWarning: where ssh logs in to the host of the relay there is none, and
// one line says so.
func testLeftWarning(t *testing.T) {
	r := newResumed(t, "jump")
	line := r.client.ProxyLine(r.bin)
	r.fail(r.client.AddHost("gate", r.host, "StayClient openssh"))
	r.fail(r.client.AddHost("behind", r.target, line, "StayResume jump", "ProxyJump gate"))
	r.fail(r.client.AddHost("own", r.target, line, "StayResume target", "StayClient openssh"))
	for alias, host := range map[string]string{"behind": "gate", "own": "own"} {
		stdout, stderr, status := r.run(strings.NewReader("through"), alias, "cat")
		if want := "ssh-stay: " + alias + ": cannot be resumed, going on without: the login at " + host + " is left to ssh\n"; stdout != "through" || status != 0 || stderr != want {
			t.Errorf("%s: got %q, status %d, stderr %q; want a session and %q", alias, stdout, status, stderr, want)
		}
	}
	args := []string{"proxy", "-F", "none", "-o", "StayResume=target", "-o", "PKCS11Provider=/nonexistent", r.target.Addr, strconv.Itoa(r.target.Port)}
	stdout, stderr, _ := r.finish(r.client.Run(t.Context(), r.bin, args...), nil)
	if !strings.HasPrefix(stdout, "SSH-2.0-") || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "is left to ssh") {
		t.Errorf("PKCS11Provider: got %q, stderr %q; want the host's banner and one line", stdout, stderr)
	}
}

// testAskedOnce: what the user has answered before it turned out that there can
// be no relay is not asked again.
func testAskedOnce(t *testing.T) {
	rig := sshtest.For(t)
	k := rig.Keyring()
	target := rig.Sshd(sshtest.SshdConfig{})
	c := newCell(t, sshtest.JumpConfig{Kind: "xcrypto", Methods: "password", Keyring: k}, target, nil)
	c.add("resumed", target, c.client.ProxyLine(c.Build()), "StayResume jump", "ProxyJump hop1")
	got, err := c.run("resumed")
	if want := k.Account.Name + "@" + hopNames[0] + "'s password: "; err != nil || len(got.asked) != 1 || got.asked[0] != want || got.logins != 2 {
		t.Errorf("got %+v, %v, want %q asked once, for two logins", got, err, want)
	}
	if !strings.Contains(got.stderr, "cannot be resumed, going on without: ") {
		t.Errorf("got %q, want it to say that it goes on without", got.stderr)
	}
}

// testPassed: a socket that ssh is handed cannot be resumed.
func testPassed(t *testing.T) {
	r := newResumed(t, "jump")
	r.fail(r.client.AddHost("passed", r.target, "StayResume target", "ProxyUseFdpass yes", r.client.ProxyLine(r.bin)))
	_, stderr, status := r.run(nil, "passed", "echo in")
	if !strings.Contains(stderr, "StayResume and ProxyUseFdpass exclude each other\nhint: ") || status != exitNoReach {
		t.Errorf("got status %d, %q; want both settings named", status, stderr)
	}
	if log := r.target.Log(); strings.Contains(log, "Connection from") {
		t.Errorf("a host was asked:\n%s", log)
	}
}

// testWrongSetting: a value that means nothing is an error, and no host hears
// of it.
func testWrongSetting(t *testing.T) {
	r := newResumed(t, "jump")
	r.fail(r.client.AddHost("wrong", r.target, "StayResume maybe", r.client.ProxyLine(r.bin)))
	_, stderr, status := r.run(nil, "wrong", "echo in")
	if status != exitNoReach || !strings.Contains(stderr, "stayresume") || !strings.Contains(stderr, "maybe") {
		t.Errorf("got status %d, %q; want %d and the setting's name", status, stderr, exitNoReach)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stdout, stderr, status := r.finish(r.client.Run(ctx, r.bin, "proxy", "-F", "none", "-o", "StayResume=often", "127.0.0.1", "22"), nil)
	t.Logf("%q", stderr)
	if status != exitNoReach || stdout != "" || !strings.Contains(stderr, "often") {
		t.Errorf("got status %d, %q, stdout %q; want %d and the value", status, stderr, stdout, exitNoReach)
	}
	if log := r.target.Log(); strings.Contains(log, "Connection from") {
		t.Errorf("a host was asked:\n%s", log)
	}
}
