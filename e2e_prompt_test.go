//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"ssh-stay/internal/sshtest"
)

// TestTranscripts: what a user sees on the terminal while logging in over a hop
// is what stock ssh shows, byte for byte.
func TestTranscripts(t *testing.T) {
	rig := sshtest.For(t)
	k, target := rig.Keyring(), rig.Sshd(sshtest.SshdConfig{})
	t.Cleanup(func() { rig.WaitNone(rig.Build(), 5*time.Second) })
	const ask = "StrictHostKeyChecking ask"
	question := "Are you sure you want to continue connecting (yes/no/[fingerprint])? "
	for _, tc := range []struct {
		name, server, methods string
		lines                 []string
		answers               map[string]string // beside the right ones
		newHost, denied       bool
	}{
		{name: "passphrase", server: "sshd", methods: "publickey", lines: []string{k.Use("encrypted")}},
		{name: "no passphrase", server: "sshd", methods: "publickey", lines: []string{k.Use("encrypted")},
			answers: map[string]string{k.AskPassphrase(): ""}, denied: true},
		{name: "password", server: "xcrypto", methods: "password"},
		{name: "wrong password", server: "sshd", methods: "password",
			answers: map[string]string{k.Account.Name + "@jump.example's password: ": "wrong"}, denied: true},
		{name: "rounds", server: "xcrypto", methods: "keyboard-interactive"},
		{name: "key and rounds", server: "xcrypto", methods: "publickey,keyboard-interactive", lines: []string{k.Use("ed25519")}},
		{name: "new host", server: "sshd", methods: "publickey", lines: []string{k.Use("ed25519"), ask},
			answers: map[string]string{question: "yes"}, newHost: true},
		{name: "new host refused", server: "sshd", methods: "publickey", lines: []string{k.Use("ed25519"), ask},
			answers: map[string]string{question: "no"}, newHost: true, denied: true},
		{name: "new host, then sure", server: "sshd", methods: "publickey", lines: []string{k.Use("ed25519"), ask}, newHost: true,
			answers: map[string]string{question: "maybe", "Please type 'yes', 'no' or the fingerprint: ": "yes"}},
		{name: "accept-new", server: "sshd", methods: "publickey", lines: []string{k.Use("ed25519"), "StrictHostKeyChecking accept-new"}, newHost: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			jump := sshtest.JumpConfig{Kind: tc.server, Methods: tc.methods, Keyring: k}
			c := newCell(t, jump, target, tc.lines)
			answers := k.Answers()
			maps.Copy(answers, tc.answers)
			forget := func() {
				if tc.newHost {
					if err := os.WriteFile(filepath.Join(c.client.Dir, "known_hops"), nil, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			forget()
			want, ok := c.typist(answers, "-J", "hop1", "target")
			if ok == tc.denied {
				t.Fatalf("stock ssh: got success %v and\n%s", ok, want)
			}
			forget()
			got, ok := c.typist(answers, "one")
			if ok == tc.denied {
				t.Errorf("got success %v, want %v", ok, !tc.denied)
			}
			if tc.denied { // what comes after the last answer is each one's own
				want, got = asked(want, answers), asked(got, answers)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%q\nwant, as stock ssh,\n%q", got, want)
			}
		})
	}
}

// typist runs ssh on a terminal of its own, answers what it knows, and returns
// all that was shown.
func (c *cell) typist(answers map[string]string, args ...string) (shown []byte, ok bool) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := c.client.Command(ctx, append(args, "echo there")...)
	master, err := pty.StartWithAttrs(cmd, nil, &syscall.SysProcAttr{Setsid: true, Setctty: true})
	if err != nil {
		c.Fatal(err)
	}
	defer master.Close()
	context.AfterFunc(ctx, func() { master.Close() })
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		shown = append(shown, buf[:n]...)
		var asked string // the question that fits best
		for question := range answers {
			if n > 0 && bytes.HasSuffix(shown, []byte(question)) && len(question) > len(asked) {
				asked = question
			}
		}
		if asked != "" {
			if _, err := master.WriteString(answers[asked] + "\n"); err != nil {
				c.Fatal(err)
			}
		}
		if err != nil { // EIO when the last one has closed the terminal
			if !errors.Is(err, syscall.EIO) && !errors.Is(err, fs.ErrClosed) {
				c.Error(err)
			}
			break
		}
	}
	return shown, cmd.Wait() == nil
}

// asked cuts a transcript behind the last question.
func asked(shown []byte, answers map[string]string) []byte {
	end := 0
	for question := range answers {
		if i := bytes.LastIndex(shown, []byte(question)); i >= 0 {
			end = max(end, i+len(question))
		}
	}
	return shown[:end]
}
