package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// R-6 (CVE-2025-26465): whatever goes wrong while a key is decided on refuses
// it, even under StrictNo and for a key that is known.
func TestR6ErrorsRefuse(t *testing.T) {
	key := newSigner(t, "ed25519").PublicKey()
	line := "jump " + authorized(key)
	failing := func(err error) func(string, string, ssh.PublicKey) ([]string, error) {
		return func(string, string, ssh.PublicKey) ([]string, error) { return nil, err }
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		key  ssh.PublicKey
		host *HostKeys
	}{
		{"known_hosts not read", t.Context(), key, &HostKeys{Host: "jump", Strict: StrictNo}},
		{"command not to be had", t.Context(), key, &HostKeys{Host: "jump", Known: known(t, line), Command: failing(os.ErrPermission)}},
		{"out of memory in the command", t.Context(), key, &HostKeys{Host: "jump", Known: known(t, line),
			Command: func(string, string, ssh.PublicKey) ([]string, error) { panic("out of memory") }}},
		{"time is up", ended, key, &HostKeys{Host: "jump", Known: known(t, line),
			Command: func(string, string, ssh.PublicKey) ([]string, error) { return []string{"/bin/true"}, nil }}},
		{"question fails", t.Context(), key, &HostKeys{Host: "jump", Known: known(t), Strict: StrictAsk, UserFile: os.DevNull,
			Ask: func(context.Context, string) (string, error) { return "yes", os.ErrClosed }}},
		{"question panics", t.Context(), key, &HostKeys{Host: "jump", Known: known(t), Strict: StrictAsk, UserFile: os.DevNull,
			Ask: func(context.Context, string) (string, error) { panic("ask") }}},
		{"answer comes too late", ended, key, &HostKeys{Host: "jump", Known: known(t), Strict: StrictAsk, UserFile: os.DevNull,
			Ask: func(context.Context, string) (string, error) { return "yes", nil }}},
		{"warning panics", t.Context(), key, &HostKeys{Host: "jump", Known: known(t), Strict: StrictAcceptNew,
			UserFile: filepath.Join(t.TempDir(), "known_hosts"), Warn: func(string) { panic("warn") }}},
		{"no key", t.Context(), nil, &HostKeys{Host: "jump", Known: known(t, line), Strict: StrictNo}},
	} {
		for range 2 { // a refusal does not wear out
			if err := tt.host.Check(tt.ctx, tt.key); err == nil {
				t.Errorf("%s: got no error, want a refusal", tt.name)
			}
		}
	}
}

func TestQuestionFailure(t *testing.T) {
	h := &HostKeys{Host: "jump", Known: known(t), Strict: StrictAsk, UserFile: os.DevNull}
	key := newSigner(t, "ed25519").PublicKey()
	for _, tt := range []struct {
		answer string
		err    error
		want   error
	}{{"no", nil, ErrNotConfirmed}, {"yes", context.Canceled, context.Canceled}} {
		h.Ask = func(context.Context, string) (string, error) { return tt.answer, tt.err }
		if err := h.Check(t.Context(), key); verdict(err) != "unknown" || !errors.Is(err, tt.want) {
			t.Errorf("got %v, want an unknown host for %v", err, tt.want)
		}
	}
	h.Ask = nil
	unknown := (*UnknownHostError)(nil)
	if err := h.Check(t.Context(), key); !errors.As(err, &unknown) || unknown.Err != nil {
		t.Errorf("nobody to ask: got %v, want no more than an unknown host", err)
	}
}

// The other form of the question than that of the ssh installed here is tested
// by its text alone.
func TestQuestionByVersion(t *testing.T) {
	key := newSigner(t, "ecdsa").PublicKey()
	for in10, want := range map[bool]string{
		false: "\nECDSA key fingerprint is " + ssh.FingerprintSHA256(key) + ".\n",
		true:  "\nECDSA key fingerprint is: " + ssh.FingerprintSHA256(key) + "\n",
	} {
		var asked string
		h := &HostKeys{Host: "jump", Known: known(t), Strict: StrictAsk, UserFile: os.DevNull, FingerprintAsIn10: func() bool { return in10 },
			Ask: func(_ context.Context, text string) (string, error) { asked = text; return "", nil }}
		if err := h.Check(t.Context(), key); err == nil || !strings.Contains(asked, want) {
			t.Errorf("got %q, %v, want %q", asked, err, want)
		}
	}
}

// Since OpenSSH 9.3 HostKeyAlgorithms counts for the key of a stripped
// certificate too.
func TestPermittedAlgorithms(t *testing.T) {
	key, rsaKey := newSigner(t, "ed25519").PublicKey(), newSigner(t, "rsa").PublicKey()
	k := known(t, "jump "+authorized(key)+"\njump "+authorized(rsaKey))
	for _, tt := range []struct {
		key       ssh.PublicKey
		permitted string
		want      string
	}{
		{key, "ssh-ed25519", "ok"},
		{key, "rsa-sha2-256", "refused"},
		{rsaKey, "rsa-sha2-256", "ok"},
		{certOf(t, key), ssh.CertAlgoED25519v01 + ",ssh-ed25519", "ok"},
		{certOf(t, key), ssh.CertAlgoED25519v01, "refused"},
		{certOf(t, rsaKey), ssh.CertAlgoRSASHA512v01 + ",rsa-sha2-512", "ok"},
	} {
		h := &HostKeys{Host: "jump", Known: k, Permitted: strings.Split(tt.permitted, ",")}
		if err := h.Check(t.Context(), tt.key); verdict(err) != tt.want {
			t.Errorf("%s of %s: got %v, want %s", tt.key.Type(), tt.permitted, err, tt.want)
		}
	}
}

// A name is never written that could be read as anything but itself.
func TestNamesNotWritten(t *testing.T) {
	key := newSigner(t, "ed25519").PublicKey()
	for _, name := range []string{"a*", "a?", "@a", "#a", "[a", "a]", "|a", "a'b", `a"b`, `a\b`, "a b", "a,b", "!a", "a\nb", "a\x7f", ""} {
		for _, h := range []*HostKeys{{Host: name}, {Host: "jump", Alias: name}} {
			if h.Host == "jump" && name == "" {
				continue // no alias
			}
			h.Known, h.Strict, h.UserFile = known(t), StrictNo, filepath.Join(t.TempDir(), "known_hosts")
			if err := h.Check(t.Context(), key); verdict(err) != "unknown" {
				t.Errorf("%q: got %v, want unknown", name, err)
			}
			if _, err := os.Stat(h.UserFile); err == nil {
				t.Errorf("%q was written", name)
			}
		}
	}
}

// newHost is a host that StrictAcceptNew takes.
func newHost(t *testing.T, file string) (*HostKeys, *[]string) {
	var said []string
	return &HostKeys{Host: "jump", Known: known(t), Strict: StrictAcceptNew, UserFile: file,
		Warn: func(line string) { said = append(said, line) }}, &said
}

// Whatever stands in the way of the file is told, and no more.
func TestFileNotWritable(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{dir, filepath.Join(dir, "no", "such", "folder")} {
		h, said := newHost(t, file)
		err := h.Check(t.Context(), newSigner(t, "ed25519").PublicKey())
		want := fmt.Sprintf("Failed to add the host to the list of known hosts (%s).", file)
		if err != nil || len(*said) != 1 || (*said)[0] != want {
			t.Errorf("got %v, %q, want %q", err, *said, want)
		}
	}
}

func TestInfoApartFromWarn(t *testing.T) {
	h, warned := newHost(t, filepath.Join(t.TempDir(), "known_hosts"))
	told := 0
	h.Info = func(string) { told++ }
	if err := h.Check(t.Context(), newSigner(t, "ed25519").PublicKey()); err != nil || told != 1 || len(*warned) != 0 {
		t.Errorf("got %v, %d lines of information, warnings %q; want one line and no warning", err, told, *warned)
	}
}

// Many writers lose nothing, and leave no line torn.
func TestConcurrentAppends(t *testing.T) {
	file := writeFile(t, "known_hosts", "# no newline")
	key := newSigner(t, "rsa").PublicKey()
	const writers, each = 8, 50
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() { // ends after each lines
			for i := range each {
				h := &HostKeys{UserFile: file, Hash: i%2 == 0}
				if err := h.record([]string{fmt.Sprintf("w%d-%d", w, i)}, key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	k, err := ReadKnownHosts([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	for w := range writers {
		for i := range each {
			if got := k.lookup(fmt.Sprintf("w%d-%d", w, i)); len(got) != 1 || !sameKey(got[0].key, key) {
				t.Errorf("writer %d, line %d: got %v", w, i, got)
			}
		}
	}
}

// A certificate stands for its names: the address is not looked at, not even
// once the certificate is stripped.
func TestCertificateAddress(t *testing.T) {
	key, other := newSigner(t, "ed25519").PublicKey(), newSigner(t, "ed25519").PublicKey()
	k := known(t, "jump "+authorized(key)+"\n192.0.2.2 "+authorized(other))
	for _, tt := range []struct {
		key  ssh.PublicKey
		want string
	}{{key, "changed"}, {certOf(t, key), "ok"}} {
		h := &HostKeys{Host: "jump", Known: k, CheckIP: true, Addr: netip.MustParseAddr("192.0.2.2")}
		if err := h.Check(t.Context(), tt.key); verdict(err) != tt.want {
			t.Errorf("%s: got %v, want %s", tt.key.Type(), err, tt.want)
		}
	}
}
