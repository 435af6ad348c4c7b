//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssh-stay/internal/sshtest"
)

// recorder is an ssh that writes down how it was called, for us to see. What we
// ask of ssh it leaves to the real one.
const recorder = `#!/bin/sh
printf '%%s\0' "$@" >%q
case $1 in -V|-G) exec %q "$@";; esac
`

// TestWrapperLines: what clients say to ssh reaches ssh, word for word, behind
// what we add; and by `ssh -G` it means the same, but for our ProxyCommand.
func TestWrapperLines(t *testing.T) {
	rig := sshtest.For(t)
	bin, client, real := rig.Build(), rig.Client(), rig.Peer("ssh")
	if err := client.Append("Match user me", "Port 2022", "Host host", "HostName host.example.com", "Host web*", "HostName %h.example.com", "Port 1022"); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(client.Dir, "record")
	if err := os.WriteFile(filepath.Join(client.Dir, "ssh"), fmt.Appendf(nil, recorder, record, real), 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("wrapper/testdata/lines.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		n++
		whole, rest, cut := strings.Cut(line, " => ")
		if !cut {
			rest = whole
		}
		args, want := words(t, client, whole), words(t, client, rest)
		cmd := client.Run(t.Context(), bin, append([]string{"ssh"}, args...)...)
		cmd.Env = append(cmd.Env, "PATH="+client.Dir+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil && !slices.Contains(args, "-G") {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		got, err := os.ReadFile(record)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		ours, theirs := additions(strings.Split(strings.TrimSuffix(string(got), "\x00"), "\x00"))
		if !slices.Equal(theirs, want) {
			t.Errorf("%s\n got %q\nwant %q, behind %q", line, theirs, want, ours)
		}
		if slices.Contains([]string{"-V", "-Q", "-G"}, args[0]) {
			if len(ours) > 0 {
				t.Errorf("%s: got %q added, want nothing", line, ours)
			}
			continue
		}
		if len(ours) == 0 {
			t.Errorf("%s: got nothing added, want our ProxyCommand", line)
		}
		if got, want := meaning(t, client, real, append(ours, theirs...)), meaning(t, client, real, want); got != want {
			t.Errorf("%s: with %q\n got %s\nwant %s", line, ours, got, want)
		}
	}
	if n < 60 {
		t.Errorf("got %d recorded lines, want 60", n)
	}
}

// additions takes off what we put first.
func additions(args []string) (ours, theirs []string) {
	theirs = args
	for len(theirs) > 1 && theirs[0] == "-o" {
		key, _, _ := strings.Cut(theirs[1], "=")
		mine := len(ours) == 0 && key == "ProxyCommand" && strings.Contains(theirs[1], " proxy --alias ") ||
			len(ours) > 0 && slices.Contains([]string{"ProxyUseFdpass", "ServerAliveInterval", "ServerAliveCountMax"}, key)
		if !mine {
			break
		}
		ours, theirs = append(ours, theirs[:2]...), theirs[2:]
	}
	return ours, theirs
}

// words is what a shell makes of a line.
func words(t *testing.T, client *sshtest.Client, line string) []string {
	t.Helper()
	cmd := exec.Command("sh", "-c", `printf '%s\0' `+line)
	cmd.Env = append(client.Env(), "CONFIG="+client.Config)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// meaning is what ssh -G says of a line, but for what we change.
func meaning(t *testing.T, client *sshtest.Client, ssh string, args []string) string {
	t.Helper()
	out, err := client.Run(t.Context(), ssh, append([]string{"-G", "-F", client.Config}, args...)...).Output()
	if err != nil {
		t.Fatalf("ssh -G %q: %v", args, err)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		switch name, _, _ := strings.Cut(line, " "); name {
		case "proxycommand", "proxyjump", "serveraliveinterval", "serveralivecountmax":
		default:
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
