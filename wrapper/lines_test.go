//go:build unix

package wrapper

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssh-stay/config"
)

// recorded is a command line of a client's, and what the real ssh gets of it.
type recorded struct {
	text       string
	args, rest []string
}

// recordedLines reads testdata/lines.txt.
func recordedLines(t *testing.T, configFile string) []recorded {
	t.Helper()
	text, err := os.ReadFile("testdata/lines.txt")
	if err != nil {
		t.Fatal(err)
	}
	var lines []recorded
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		whole, rest, cut := strings.Cut(line, " => ")
		r := recorded{text: line, args: split(t, whole, configFile)}
		if r.rest = r.args; cut {
			r.rest = split(t, rest, configFile)
		}
		lines = append(lines, r)
	}
	if len(lines) < 60 {
		t.Fatalf("got %d recorded lines, want 60", len(lines))
	}
	return lines
}

// split is what a shell makes of a line.
func split(t *testing.T, line, configFile string) []string {
	t.Helper()
	cmd := exec.Command("sh", "-c", `printf '%s\0' `+line)
	cmd.Env = []string{"CONFIG=" + configFile}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// testConfig has a setting for some of the hosts named.
func testConfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	text := "Match user me\n\tPort 2022\nHost host\n\tHostName host.example.com\n\tUser fallback\nHost web*\n\tHostName %h.example.com\n\tPort 1022\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func oldSSH() bool {
	banner, _ := exec.Command("ssh", "-V").CombinedOutput()
	return !TakesTag(string(banner))
}

// TestRecordedLines: what remains for ssh is what stood there, and the line means
// to us what it means to ssh.
func TestRecordedLines(t *testing.T) {
	file := testConfig(t)
	for _, r := range recordedLines(t, file) {
		l := Parse(r.args, func() bool { return !oldSSH() })
		if got := remainder(l); !slices.Equal(got, r.rest) {
			t.Errorf("%s\n got %q\nwant %q", r.text, got, r.rest)
		}
		if !l.Plain {
			compare(t, file, r.args, l)
		}
	}
}

// remainder is what ssh gets of a line where nothing says that it is ssh's alone.
func remainder(l *Line) []string {
	if l.Plain {
		return l.remaining(stayOption)
	}
	return l.remaining(stayOption, jumpOption)
}

// compare has ssh -G read a line, and says whether it did.
func compare(t *testing.T, file string, args []string, l *Line) bool {
	t.Helper()
	q := l.Query()
	if q.File == "" {
		q.File = file
	}
	// ssh knows no Stay, and of two -F takes the second.
	out, err := exec.Command("ssh", append([]string{"-G", "-F", file}, l.remaining(stayOption)...)...).Output()
	if err != nil {
		return false
	}
	want := answers(string(out))
	s, err := config.Resolve(t.Context(), q)
	if err != nil {
		t.Errorf("%q: %v, and ssh -G takes it", args, err)
		return true
	}
	var printed bytes.Buffer
	if err := s.Print(&printed, false); err != nil {
		t.Error(err)
	}
	if got := answers(printed.String()); got != want {
		t.Errorf("%q\n got %s\nwant %s", args, got, want)
	}
	return true
}

// answers picks what matters to the proxy.
func answers(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		name, _, _ := strings.Cut(line, " ")
		switch name {
		case "user", "hostname", "port", "addressfamily", "bindaddress", "bindinterface", "proxyjump", "proxycommand", "connecttimeout",
			"identityfile", "ciphers", "macs", "pkcs11provider", "gssapiauthentication", "tag", "batchmode", "proxyusefdpass", "loglevel",
			"controlpath":
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "; ")
}

// TestRandomLines: whatever ssh takes means the same to us, and we leave alone
// what it refuses for want of a destination or a value.
func TestRandomLines(t *testing.T) {
	file := testConfig(t)
	old := oldSSH()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 6))
	taken := 0
	const runs = 300
	for range runs {
		args := randomLine(r)
		l := Parse(args, func() bool { return !old })
		if !l.Plain {
			if compare(t, file, args, l) {
				taken++
			}
			continue
		}
		if out, err := exec.Command("ssh", append([]string{"-G", "-F", file}, args...)...).CombinedOutput(); err == nil && !asksNothing(args) {
			t.Errorf("%q: left alone, and ssh takes it:\n%.200s", args, out)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if taken < runs/4 {
		t.Errorf("seed %d: ssh took %d lines of %d, too few to tell", seed, taken, runs)
	}
}

// TestRefusedJumps: a jump that ssh refuses it gets to see, for it to say why.
func TestRefusedJumps(t *testing.T) {
	for _, jump := range []string{"", ",", "gate,", "a;b", "$x", "-x", "u@", "gate:0x", "ssh://a/b"} {
		args := []string{"-v", "-J", jump, "host", "true"}
		if out, err := exec.Command("ssh", append([]string{"-G", "-F", "none"}, args...)...).CombinedOutput(); err == nil {
			t.Errorf("-J %q: ssh takes it:\n%.200s", jump, out)
		}
		l := Parse(args, func() bool { return true })
		if got := l.Args("/bin/ssh-stay", nil); !slices.Equal(got, args) {
			t.Errorf("-J %q: got %q, want %q", jump, got, args)
		}
	}
}

// asksNothing says whether a line may hold -G, -V or -Q.
func asksNothing(args []string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") && strings.ContainsAny(a, "GVQ") })
}

func randomLine(r *rand.Rand) []string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var args []string
	option := func() {
		values := map[string][]string{
			"l": {"me", "you", "-x", "--"}, "p": {"22", "2200", "ssh", "0", "x"}, "b": {"127.0.0.1"}, "B": {"lo"}, "c": {"aes128-ctr"},
			"m": {"hmac-sha2-256"}, "i": {"/etc/hostname", "/etc/group", "/nonexistent", "~/none", ""}, "J": {"gate", "u@gate:22,b", "none", "", ",", "a;b"}, "P": {"tag"},
			"o": {"User=other", "user you", "Port=77", " port = 78", `"Port" 79`, "ProxyJump=gate", "ProxyCommand=nc %h %p", "ProxyCommand none",
				"AddressFamily=inet", "BindAddress=127.0.0.2", "IdentityFile=/etc/passwd", `User="quo ted"`, "BatchMode=yes", "#", "ConnectTimeout=5"},
			"W": {"h:22"}, "L": {"1:h:2"}, "D": {"1080"}, "S": {"none", "/tmp/%n-%h"}, "e": {"none"}, "O": {"check"}, "E": {"/dev/null"}, "Q": {"mac"}, "I": {"/x.so"},
		}
		letters := []string{"l", "p", "o", "o", "o", "o", "J", "i", "b", "B", "c", "m", "W", "L", "D", "S", "e", "O", "E", "I", "P"}
		cluster := "-"
		for range r.IntN(3) {
			cluster += pick("4", "6", "v", "n", "T", "t", "q", "C", "A", "x", "N", "K", "k", "f", "M")
		}
		if r.IntN(60) == 0 {
			cluster += pick("G", "V", "Z", "?")
		}
		if r.IntN(4) > 0 {
			letter := pick(letters...)
			value := pick(values[letter]...)
			if r.IntN(2) == 0 {
				args = append(args, cluster+letter+value)
			} else {
				args = append(args, cluster+letter, value)
			}
			return
		}
		args = append(args, cluster)
	}
	for range r.IntN(4) {
		option()
	}
	if r.IntN(12) == 0 {
		args = append(args, "--")
	}
	args = append(args, pick("host", "me@host", "you@web1", "a@b@host", "ssh://host", "ssh://me@host:99", "ssh://host:1/x", "HOST", "::1", "@host"))
	for range r.IntN(3) {
		option()
	}
	if r.IntN(3) == 0 {
		args = append(args, "uptime", "-p", fmt.Sprint(r.IntN(9)))
	}
	return args
}
