//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
	"ssh-stay/wrapper"
)

// TestWrapperOddUsers: names that ssh takes from a file are ours to hand on, or to
// leave out, and none of ours to refuse.
func TestWrapperOddUsers(t *testing.T) {
	w := newWrapped(t)
	ran := filepath.Join(w.client.Dir, "ran")
	for alias, user := range map[string]string{
		"domain": `DOM\joe`, "semicolon": "a;b", "blank": `"two words"`, "command": `"a$(touch ` + ran + `)b"`, "quote": `"it's;touch ` + ran + `;'"`,
	} {
		lines := []string{"User " + user}
		if err := w.client.AddHost(alias, w.target, lines...); err != nil {
			t.Fatal(err)
		}
		if err := w.client.AddHost("by-"+alias, w.target, append(lines, "ProxyJump j1")...); err != nil {
			t.Fatal(err)
		}
		own := "ProxyCommand " + wrapper.ProxyCommand(w.bin, true, "-F", w.client.Config)
		if err := w.client.AddHost("own-"+alias, w.target, append(lines, own)...); err != nil {
			t.Fatal(err)
		}
		_, want, _ := w.run(nil, nil, "ssh", w.conf(alias, "true")...)
		if !strings.Contains(want, "Permission denied") {
			t.Fatalf("%s: got %q from stock ssh, want that nobody is called so", user, want)
		}
		for _, args := range [][]string{{w.bin, alias}, {w.bin, "by-" + alias}, {"ssh", "own-" + alias}} {
			if args[1] == "own-quote" {
				continue // the line that users paste has no other quotes
			}
			if _, got, status := w.run(nil, nil, args[0], w.conf(args[1], "true")...); got != want || status != exitNoReach {
				t.Errorf("%s: got exit %d, %q; want %q", args[1], status, got, want)
			}
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a user's name was run as a command")
	}
}

// TestWrapperNoShell: an account that nobody logs in to may use ssh.
func TestWrapperNoShell(t *testing.T) {
	w := newWrapped(t)
	for _, shell := range []string{"/bin/false", "/usr/sbin/nologin", "/nowhere/zsh", ""} {
		for _, alias := range []string{"direct", "one"} {
			out, stderr, status := w.run(nil, []string{"SHELL=" + shell}, w.bin, w.conf(alias, "echo over")...)
			if out != "over\n" || stderr != "" || status != 0 {
				t.Errorf("SHELL=%s %s: got %q, exit %d, %q; want over", shell, alias, out, status, stderr)
			}
		}
	}
}

// TestWrapperQuiet: to whom ssh says nothing we say nothing.
func TestWrapperQuiet(t *testing.T) {
	w := newWrapped(t)
	if err := w.client.Append("Host refused", "\tHostName 127.0.0.1", "\tPort 1", "Host fatal", "\tHostName 127.0.0.1", "\tPort 1", "\tLogLevel FATAL",
		"Host hop", "\tHostName 127.0.0.1", "\tPort 1", "Host behind", "\tProxyJump hop", "\tLogLevel QUIET",
		"Host own", "\tHostName 127.0.0.1", "\tPort 1", "\tLogLevel QUIET", "\t"+w.client.ProxyLine(w.bin)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		program, line string
		tells         bool
	}{
		{w.bin, "refused", true},
		{w.bin, "-q refused", false},
		{w.bin, "-o LogLevel=QUIET refused", false},
		{w.bin, "-v -q refused", false},
		{w.bin, "-q -v refused", true},
		{w.bin, "fatal", false},
		{w.bin, "-o LogLevel=INFO fatal", true},
		{w.bin, "behind", false},
		{"ssh", "own", false},
		{w.bin, "-v fatal", true},
	} {
		_, stderr, status := w.run(nil, nil, tc.program, w.conf(append(strings.Fields(tc.line), "true")...)...)
		if got := strings.Contains(stderr, "ssh-stay: ") && strings.Contains(stderr, "Connection refused"); got != tc.tells || status != exitNoReach {
			t.Errorf("%s: got exit %d, %q; want our words: %v", tc.line, status, stderr, tc.tells)
		}
		if !tc.tells && strings.Contains(stderr, "hint: ") {
			t.Errorf("%s: got %q, want no hint", tc.line, stderr)
		}
	}
}

// TestWrapperTrustsLocalhost: where ssh goes by the peer's address, it shall know
// it.
func TestWrapperTrustsLocalhost(t *testing.T) {
	w := newWrapped(t)
	unknown := []string{"UserKnownHostsFile /dev/null", "NoHostAuthenticationForLocalhost yes"}
	if err := w.client.AddHost("unknown", w.target, unknown...); err != nil {
		t.Fatal(err)
	}
	if out, stderr, _ := w.run(nil, nil, w.bin, w.conf("unknown", "echo over")...); out != "over\n" || stderr != "" {
		t.Errorf("got %q, %q; want over", out, stderr)
	}
}

// TestWrapperChecksAddress: a key that is another's by the host's address is
// refused, as by stock ssh.
func TestWrapperChecksAddress(t *testing.T) {
	rig := sshtest.For(t)
	link := rig.Link()
	if err := link.Up(); err != nil {
		t.Fatal(err)
	}
	client, bin := rig.Client(), rig.Build()
	host := rig.Sshd(sshtest.SshdConfig{In: link.Server, Addr: "0.0.0.0"})
	host.Addr = link.Server.Addr
	if err := client.AddHost("it", host, "CheckHostIP yes", "HostKeyAlias known"); err != nil {
		t.Fatal(err)
	}
	other := rig.Key("")
	known := sshtest.KnownHost("known", host.HostKeys[0]) + sshtest.KnownHost(host.HostPort(), other.Public())
	if err := os.WriteFile(client.KnownHosts, []byte(known), 0o600); err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, program := range []string{rig.Peer("ssh"), bin} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cmd := client.Run(ctx, program, "-F", client.Config, "it", "echo over")
		cmd = link.Client.Enter(cmd)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err == nil {
			t.Errorf("%s: got %q, want the host refused", program, out)
		}
		said[program] = stderr.String()
	}
	if got, want := said[bin], said[rig.Peer("ssh")]; got != want || !strings.Contains(want, "differs from the key for the IP address") {
		t.Errorf("got %q, want %q", got, want)
	}
}
