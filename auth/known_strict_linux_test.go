package auth

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"ssh-stay/internal/sshtest"
)

// scene is a connection on which ssh may ask, warn and write.
type scene struct {
	name    string
	strict  string // as in ssh_config
	user    string // text of UserKnownHostsFile
	file    string // its path in HOME; "" is known_hosts, "none" none
	global  string
	host    string // where the server is reached through a proxy; "" is the address
	alias   string
	options []string
	answers []string
	edit    func(*HostKeys) // what options mean to us
	want    string
	safe    bool // passwords may be sent
	since   int  // version of ssh from which the file is the same
}

var scenes = []scene{
	{name: "yes, new", strict: "yes", want: "unknown"},
	{name: "ask, yes", strict: "ask", answers: []string{"yes"}, want: "ok", safe: true},
	{name: "ask, YES and blanks", strict: "ask", answers: []string{" \tYES x"}, want: "ok", safe: true},
	{name: "ask, no", strict: "ask", answers: []string{"no"}, want: "unknown"},
	{name: "ask, nothing", strict: "ask", answers: []string{""}, want: "unknown"},
	{name: "ask, rubbish and yes", strict: "ask", answers: []string{"y", "SHA256:x", "yes"}, want: "ok", safe: true},
	{name: "ask, rubbish and No", strict: "ask", answers: []string{"maybe", "No"}, want: "unknown"},
	{name: "ask, fingerprint", strict: "ask", answers: []string{"{fingerprint}"}, want: "ok", safe: true},
	{name: "ask, fingerprint of another case", strict: "ask", answers: []string{"{FINGERPRINT}", ""}, want: "unknown"},
	{name: "ask, MD5", strict: "ask", answers: []string{"no"}, want: "unknown",
		options: []string{"FingerprintHash=md5"}, edit: func(h *HostKeys) { h.FingerprintHash = "MD5" }},
	{name: "ask, by name through a proxy", strict: "ask", host: "JUMP", answers: []string{"yes"}, want: "ok", safe: true},
	{name: "ask, by an alias", strict: "ask", alias: "Other", answers: []string{"yes"}, want: "ok", safe: true},
	{name: "ask, other names", strict: "ask", answers: []string{"yes"}, want: "ok", safe: true,
		user:   "one,two {key}\n# x\n{hashed} {key}\n@revoked three {key}\nfour {other}\nfive {key} comment\n",
		global: "six\t{key}\n"},
	{name: "ask, many other names", strict: "ask", answers: []string{"no"}, want: "unknown",
		user: strings.Repeat("a {key}\n", 9)},
	{name: "ask, eight other names", strict: "ask", answers: []string{"no"}, want: "unknown",
		user: strings.Repeat("a {key}\n", 8)},
	{name: "ask, a CA is known", strict: "ask", host: "jump", answers: []string{"yes"}, want: "ok", safe: true,
		user: "@cert-authority * {other}\n"},
	{name: "ask, changed", strict: "ask", host: "jump", user: "jump {other}\n", want: "changed"},
	{name: "ask, another kind is known", strict: "ask", host: "jump", user: "jump {rsa}\n", want: "changed"},
	{name: "ask, revoked", strict: "ask", host: "jump", user: "@revoked jump {key}\n", want: "revoked"},
	{name: "ask, batch", strict: "ask", options: []string{"BatchMode=yes"}, edit: func(h *HostKeys) { h.Ask = nil }, want: "unknown"},

	{name: "accept-new", strict: "accept-new", want: "ok", safe: true},
	{name: "accept-new, hashed", strict: "accept-new", want: "ok", safe: true,
		options: []string{"HashKnownHosts=yes"}, edit: func(h *HostKeys) { h.Hash = true }},
	{name: "accept-new, no final newline", strict: "accept-new", user: "a {other}", want: "ok", safe: true, since: 1001},
	{name: "accept-new, no file", strict: "accept-new", user: "-", want: "ok", safe: true},
	{name: "accept-new, folder elsewhere", strict: "accept-new", file: "x/known_hosts", user: "-", want: "ok", safe: true},
	{name: "accept-new, no user file", strict: "accept-new", file: "none", want: "unknown"},
	{name: "accept-new, device", strict: "accept-new", file: "/dev/null", want: "ok", safe: true},
	{name: "accept-new, odd name", strict: "accept-new", host: "ju[mp", want: "unknown"},
	{name: "accept-new, changed", strict: "accept-new", host: "jump", user: "jump {other}\n", want: "changed"},
	{name: "accept-new, revoked", strict: "accept-new", host: "jump", user: "@revoked jump {key}\n", want: "revoked"},
	{name: "accept-new, by an alias", strict: "accept-new", alias: "Other", want: "ok", safe: true},

	{name: "no, new", strict: "no", want: "ok", safe: true},
	{name: "no, odd name", strict: "no", host: "ju*mp", want: "unknown"},
	{name: "no, changed", strict: "no", host: "jump", user: "jump {other}\njump {rsa}\n", want: "ok"},
	{name: "no, changed for all", strict: "no", host: "jump", global: "jump {other}\n", want: "ok"},
	{name: "no, revoked", strict: "no", host: "jump", user: "jump {key}\n@revoked jump {key}\n", want: "ok"},
	{name: "no, bare name has another key", strict: "no", user: "127.0.0.1 {other}\n", want: "ok", safe: true},
	{name: "no, revoked for the bare name", strict: "no", user: "@revoked 127.0.0.1 {key}\n", want: "ok"},
	{name: "accept-new, bare name has another key", strict: "accept-new", user: "127.0.0.1 {other}\n", want: "ok", safe: true},
	{name: "ask, bare name has another key", strict: "ask", user: "127.0.0.1 {other}\n", answers: []string{"yes"}, want: "ok", safe: true},
	{name: "ask, known by the bare name", strict: "ask", user: "127.0.0.1 {key}\n", want: "ok", safe: true},
	{name: "no, known", strict: "no", host: "jump", user: "jump {key}\n", want: "ok", safe: true},

	{name: "localhost, not trusted", strict: "yes", user: "{name} {other}\n", want: "changed"},
	{name: "localhost, trusted", strict: "yes", user: "{name} {other}\n", want: "ok", safe: true,
		options: []string{"NoHostAuthenticationForLocalhost=yes"}, edit: func(h *HostKeys) { h.TrustLocalhost = true }},
	{name: "localhost, trusted, revoked in known_hosts", strict: "yes", user: "@revoked * {key}\n", want: "ok", safe: true,
		options: []string{"NoHostAuthenticationForLocalhost=yes"}, edit: func(h *HostKeys) { h.TrustLocalhost = true }},
	{name: "localhost by an alias", strict: "yes", alias: "x", user: "x {other}\n", want: "changed",
		options: []string{"NoHostAuthenticationForLocalhost=yes"}, edit: func(h *HostKeys) { h.TrustLocalhost = true }},
	{name: "localhost through a proxy", strict: "yes", host: "127.0.0.1", want: "unknown",
		options: []string{"NoHostAuthenticationForLocalhost=yes"}, edit: func(h *HostKeys) { h.TrustLocalhost = true }},
	{name: "address of localhost", strict: "accept-new", alias: "jump", user: "jump {key}\n", want: "ok", safe: true,
		options: []string{"CheckHostIP=yes"}, edit: func(h *HostKeys) { h.CheckIP = true }},
	{name: "address through a proxy", strict: "accept-new", host: "jump", user: "jump {key}\n", want: "ok", safe: true,
		options: []string{"CheckHostIP=yes"}, edit: func(h *HostKeys) { h.CheckIP = true }},
}

// checkIP are scenes of a server on another machine, under the alias jump. {ip}
// is its address as known_hosts has it.
var checkIP = []scene{
	{name: "both known", strict: "yes", user: "jump {key}\n{ip} {key}\n", want: "ok", safe: true},
	{name: "address new", strict: "yes", user: "jump {key}\n", want: "ok", safe: true},
	{name: "address new, file for all", strict: "yes", file: "none", global: "jump {key}\n", want: "ok", safe: true},
	{name: "address new, no folder to write to", strict: "yes", file: "x/known_hosts", user: "-", global: "jump {key}\n", want: "ok", safe: true},
	{name: "address has another key", strict: "yes", user: "jump {key}\n{ip} {other}\n", want: "changed"},
	{name: "address has another key, accept-new", strict: "accept-new", user: "jump {key}\n{ip} {other}\n", want: "changed"},
	{name: "address has another key, no", strict: "no", user: "jump {key}\n{ip} {other}\n", want: "ok", safe: true},
	{name: "address has another key, ask, yes", strict: "ask", user: "jump {key}\n{ip} {other}\n", answers: []string{"x", "yes"}, want: "ok", safe: true},
	{name: "address has another key, ask, no", strict: "ask", user: "jump {key}\n{ip} {other}\n", answers: []string{"no"}, want: "changed"},
	{name: "address has another key, ask, fingerprint", strict: "ask", user: "jump {key}\n{ip} {other}\n",
		answers: []string{"{fingerprint}", "no"}, want: "changed"},
	{name: "both new", strict: "accept-new", want: "ok", safe: true},
	{name: "both new, ask", strict: "ask", answers: []string{"yes"}, want: "ok", safe: true},
	{name: "both new, hashed", strict: "accept-new", want: "ok", safe: true,
		options: []string{"HashKnownHosts=yes"}, edit: func(h *HostKeys) { h.Hash = true }},
	{name: "name new, address known", strict: "accept-new", user: "{ip} {key}\n", want: "ok", safe: true},
	{name: "name new, address has another key", strict: "accept-new", user: "{ip} {other}\n", want: "changed"},
	{name: "name new, address has another key, ask", strict: "ask", user: "{ip} {other}\n", answers: []string{"yes", "yes"}, want: "ok", safe: true},
	{name: "name new, address has another key, no", strict: "no", user: "{ip} {other}\n", want: "ok", safe: true},
	{name: "name changed, address new", strict: "no", user: "jump {other}\n", want: "ok"},
	{name: "name changed, address known", strict: "no", user: "jump {other}\n{ip} {key}\n", want: "ok"},
	{name: "name changed, address changed likewise", strict: "no", user: "jump {other}\n{ip} {other}\n", want: "ok"},
	{name: "name changed, address changed in another way", strict: "no", user: "jump {other}\n{ip} {rsa}\n", want: "ok"},
	{name: "address revoked", strict: "yes", user: "jump {key}\n@revoked {ip} {key}\n", want: "ok", safe: true},
	{name: "name revoked, address changed", strict: "no", user: "@revoked jump {key}\n{ip} {other}\n", want: "ok"},
}

// stage is a server and a user for scenes.
type stage struct {
	t       *testing.T
	sshd    *sshtest.Sshd
	in      *sshtest.Netns // where ssh runs
	words   *strings.Replacer
	version int // of ssh, as 902
	nc      string
}

func newStage(t *testing.T, client, server *sshtest.Netns) *stage {
	r := sshtest.For(t)
	version := sshVersion(t)
	var lines []string
	if version >= 908 {
		lines = []string{"PerSourcePenalties no"}
	}
	st := &stage{t: t, in: client, version: version, nc: r.Peer("nc")}
	st.sshd = r.Sshd(sshtest.SshdConfig{In: server, Lines: lines})
	ip := fmt.Sprintf("[%s]:%d", st.sshd.Addr, st.sshd.Port)
	print := ssh.FingerprintSHA256(st.sshd.HostKey)
	st.words = strings.NewReplacer("{key}", authorized(st.sshd.HostKey), "{other}", authorized(newSigner(t, "ecdsa").PublicKey()),
		"{rsa}", authorized(newSigner(t, "rsa").PublicKey()), "{hashed}", hashed("elsewhere"), "{ip}", ip, "{name}", ip,
		"{fingerprint}", print, "{FINGERPRINT}", strings.ToUpper(print))
	return st
}

// record is what the user sees and finds afterwards.
type record struct {
	accepted  bool
	questions []string
	lines     []string
	file      string
}

// home is the user's, and the files in it.
type home struct{ dir, user, global string }

func (st *stage) home(t *testing.T, s *scene) home {
	h := home{dir: t.TempDir()}
	h.user, h.global = filepath.Join(h.dir, "known_hosts"), filepath.Join(h.dir, "global")
	switch {
	case s.file == "none":
		h.user = ""
	case filepath.IsAbs(s.file):
		h.user = s.file
	case s.file != "":
		h.user = filepath.Join(h.dir, s.file)
	}
	st.reset(t, s, h)
	return h
}

// reset puts the files back to what they were before a connection.
func (st *stage) reset(t *testing.T, s *scene, h home) {
	write := func(file, text string) {
		if err := os.WriteFile(file, []byte(st.words.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(h.global, s.global)
	switch {
	case s.user == "-" && strings.HasPrefix(h.user, h.dir):
		os.Remove(h.user)
	case strings.HasPrefix(h.user, h.dir):
		write(h.user, s.user)
	}
}

// askpass notes each question and gives the next answer.
const askpass = `#!/bin/sh
printf '%s\000' "$1" >> "$HOME/questions"
read -r line < "$HOME/answers"
sed -i 1d "$HOME/answers"
printf '%s\n' "$line"
`

func (st *stage) theirs(t *testing.T, s *scene, h home) record {
	script := filepath.Join(h.dir, "askpass")
	answers := st.words.Replace(strings.Join(s.answers, "\n") + "\n")
	for file, text := range map[string]string{script: askpass, filepath.Join(h.dir, "answers"): answers} {
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	user := h.user
	if user == "" {
		user = "none"
	}
	args := sshOptions(user, h.global)
	for _, o := range append(s.options, "StrictHostKeyChecking="+s.strict) {
		args = append(args, "-o", o)
	}
	if s.alias != "" {
		args = append(args, "-o", "HostKeyAlias="+s.alias)
	}
	if s.host != "" {
		args = append(args, "-o", fmt.Sprintf("ProxyCommand=%s %s %d", st.nc, st.sshd.Addr, st.sshd.Port), s.host)
	} else {
		args = append(args, "-o", fmt.Sprintf("Port=%d", st.sshd.Port), st.sshd.Addr)
	}
	env := []string{"HOME=" + h.dir, "SSH_ASKPASS_REQUIRE=force", "SSH_ASKPASS=" + script}
	ok, text := theirs(t, st.in, env, append(args, "true")...)
	questions, _ := os.ReadFile(filepath.Join(h.dir, "questions"))
	rec := record{accepted: ok, questions: splitEnded(string(questions), "\x00")}
	for _, line := range splitEnded(text, "\n") {
		// Debian's ssh says how to remove a key.
		debian := strings.HasPrefix(line, "  remove with:") || strings.HasPrefix(line, "  ssh-keygen -f ")
		if !strings.Contains(line, "Permission denied (") && !debian {
			rec.lines = append(rec.lines, line)
		}
	}
	file, _ := os.ReadFile(h.user)
	rec.file = string(file)
	return rec
}

func splitEnded(text, end string) []string {
	parts := strings.Split(text, end)
	return parts[:len(parts)-1]
}

var stricts = map[string]Strict{"yes": StrictYes, "ask": StrictAsk, "accept-new": StrictAcceptNew, "no": StrictNo}

func (st *stage) ours(t *testing.T, s *scene, h home) (record, *HostKeys, error) {
	t.Setenv("HOME", h.dir)
	var files []string
	if h.user != "" && !strings.HasPrefix(h.user, "/dev/") {
		files = append(files, h.user)
	}
	k, err := ReadKnownHosts(append(files, h.global))
	if err != nil {
		t.Fatal(err)
	}
	var rec record
	hk := &HostKeys{Host: st.sshd.Addr, Port: st.sshd.Port, Alias: s.alias, Known: k, UserFile: h.user,
		Addr: netip.MustParseAddr(st.sshd.Addr), Strict: stricts[s.strict], FingerprintAsIn10: func() bool { return st.version >= 1001 }}
	if s.host != "" {
		hk.Host, hk.Port, hk.Addr = s.host, 22, netip.Addr{}
	}
	hk.Warn = func(line string) { rec.lines = append(rec.lines, line) }
	answers := s.answers
	hk.Ask = func(_ context.Context, text string) (string, error) {
		rec.questions = append(rec.questions, text)
		if len(answers) == 0 {
			return "", fmt.Errorf("no answer is left for %q", text)
		}
		answer := st.words.Replace(answers[0])
		answers = answers[1:]
		return answer, nil
	}
	if s.edit != nil {
		s.edit(hk)
	}
	err = hk.Check(t.Context(), st.sshd.HostKey)
	rec.accepted = err == nil
	file, _ := os.ReadFile(h.user)
	rec.file = string(file)
	return rec, hk, err
}

func (st *stage) play(t *testing.T, s *scene) {
	h := st.home(t, s)
	theirs := st.theirs(t, s, h)
	st.reset(t, s, h)
	ours, hk, err := st.ours(t, s, h)
	st.compare(t, s, theirs, ours, hk, err)
}

func (st *stage) compare(t *testing.T, s *scene, theirs, ours record, hk *HostKeys, err error) {
	t.Helper()
	if got := verdict(err); got != s.want || ours.accepted != theirs.accepted {
		t.Errorf("got %s (%v), want %s; ssh accepts: %v: %q", got, err, s.want, theirs.accepted, theirs.lines)
	}
	if !slices.Equal(ours.questions, theirs.questions) {
		t.Errorf("got questions %q, want ssh's %q", ours.questions, theirs.questions)
	}
	// What ssh prints as it refuses is our caller's part.
	if ours.accepted && !slices.Equal(ours.lines, theirs.lines) {
		t.Errorf("got %q, want ssh's %q", ours.lines, theirs.lines)
	}
	if hk.PasswordsAllowed() != (s.safe || !ours.accepted) {
		t.Errorf("got passwords allowed: %v", hk.PasswordsAllowed())
	}
	if !hk.Hash && st.version >= s.since && ours.file != theirs.file {
		t.Errorf("got file %q, want ssh's %q", ours.file, theirs.file)
	}
	if hk.Hash {
		st.compareHashed(t, hk, ours.file, theirs.file)
	}
}

// compareHashed wants the same names to be found in both files.
func (st *stage) compareHashed(t *testing.T, hk *HostKeys, ours, theirs string) {
	for _, name := range []string{hk.hostName(false), hk.withPort(hk.Addr.String(), false), "other"} {
		got := len(knownFile{text: []byte(ours)}.lookup(name))
		want := len(knownFile{text: []byte(theirs)}.lookup(name))
		if got != want {
			t.Errorf("%s: got %d lines in %q, want %d as in %q", name, got, ours, want, theirs)
		}
	}
	if n := strings.Count(ours, "\n"); n == 0 || n != strings.Count(theirs, "\n") || n != strings.Count("\n"+ours, "\n|1|") {
		t.Errorf("got %q, want hashed lines as in %q", ours, theirs)
	}
}

// Questions, warnings and what is written are ssh's own, byte for byte.
func TestStrictAsSSH(t *testing.T) {
	st := newStage(t, nil, nil)
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) { st.play(t, &s) })
	}
}

func TestCheckHostIPAsSSH(t *testing.T) {
	r := sshtest.For(t)
	link := r.Link()
	if err := link.Up(); err != nil {
		t.Fatal(err)
	}
	st := newStage(t, link.Client, link.Server)
	for _, s := range checkIP {
		s.alias = "jump"
		edit := s.edit
		s.options = append(s.options, "CheckHostIP=yes")
		s.edit = func(h *HostKeys) {
			h.CheckIP = true
			if edit != nil {
				edit(h)
			}
		}
		t.Run(s.name, func(t *testing.T) { st.play(t, &s) })
	}
}
