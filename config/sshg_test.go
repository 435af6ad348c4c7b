package config

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A file of the corpus says in comments how it is asked about:
//
//	# hosts: A B      the names, which all are tried
//	# error           ssh 9.2 refuses the file; "# error: A" for A only
//	# args: -o K=V    flags of ssh, quoted as in CSV with blanks: -o -l -p -J -F
//	# env: NAME=TEXT  a variable
//	# mode: 0666 FILE chmod in the copy; SELF for the file itself
//	# skip: KEYS      keywords left out of the comparison
//	# each            every line is a configuration of its own, alone and in a
//	                  block that does not match; "# each: active" for alone only
//	# unsupported: WHY  only ssh can tell, so the built-in engine may pass
//	# since: 9.9 WHY  documents what another version does
//
// @DIR@ stands for the folder of the copy, where .ssh is another name of parts.

// TestSameAsSSH compares all lines with those of `ssh -G`.
func TestSameAsSSH(t *testing.T) {
	dir := copyCorpus(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.conf"))
	if err != nil || len(files) < 150 {
		t.Fatalf("got %d configurations (%v), want at least 150", len(files), err)
	}
	ssh92 := strings.Contains(sshVersion(t), "OpenSSH_9.2")
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s := readSample(t, file)
			s.crossCheck = ssh92
			if len(s.env) == 0 {
				t.Parallel()
			}
			if len(s.modes) > 0 {
				s = s.withModes(t, filepath.Base(file))
			}
			for _, assignment := range s.env {
				name, value, _ := strings.Cut(assignment, "=")
				t.Setenv(name, value)
			}
			s.run(t)
		})
	}
}

// TestCorpusHasEveryKeyword finds each keyword of ours in the corpus.
func TestCorpusHasEveryKeyword(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join("..", "testdata", "config", "*.conf"))
	seen := map[string]bool{}
	for _, file := range files {
		for line := range strings.Lines(readFile(t, file)) {
			word, _, _ := strings.Cut(strings.Trim(line, "\ufeff \t\r\n=\""), " ")
			seen[strings.ToLower(strings.TrimRight(word, "\""))] = true
		}
	}
	for _, kw := range keywords {
		if !seen[kw.name] {
			t.Errorf("got no line with %s in the corpus, want one", kw.name)
		}
	}
}

// copyCorpus copies testdata/config to a folder that only we can write, as ssh
// wants it, and puts the folder's name for @DIR@.
func copyCorpus(t *testing.T) string {
	t.Helper()
	dir, from := t.TempDir(), filepath.Join("..", "testdata", "config")
	if err := os.Mkdir(filepath.Join(dir, "parts"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("parts", filepath.Join(dir, ".ssh")); err != nil {
		t.Fatal(err)
	}
	for _, glob := range []string{"*.conf", "parts/*.inc", "parts/.*.inc"} {
		files, err := filepath.Glob(filepath.Join(from, glob))
		if err != nil || len(files) == 0 {
			t.Fatalf("got no %s in %s (%v), want some", glob, from, err)
		}
		for _, f := range files {
			name, _ := filepath.Rel(from, f)
			text := strings.ReplaceAll(readFile(t, f), "@DIR@", dir)
			writeFile(t, filepath.Join(dir, name), text)
		}
	}
	return dir
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sample is one file of the corpus.
type sample struct {
	file, text  string
	hosts, args []string
	env, modes  []string
	skip        []string
	refused     []string // hosts that ssh 9.2 refuses
	each        bool
	activeOnly  bool
	unsupported bool // what the built-in engine may say
	crossCheck  bool
}

func readSample(t *testing.T, file string) sample {
	t.Helper()
	s := sample{file: file, text: readFile(t, file)}
	s.hosts = strings.Fields(strings.Join(directives(s.text, "hosts"), " "))
	if len(s.hosts) == 0 {
		t.Fatal("got no hosts line, want one")
	}
	for _, args := range directives(s.text, "args") {
		r := csv.NewReader(strings.NewReader(args))
		r.Comma = ' '
		words, err := r.Read()
		if err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		s.args = append(s.args, words...)
	}
	s.env, s.modes = directives(s.text, "env"), directives(s.text, "mode")
	s.skip = strings.Fields(strings.Join(directives(s.text, "skip"), " "))
	if e := directives(s.text, "error"); len(e) > 0 {
		s.refused = strings.Fields(e[0])
		if len(s.refused) == 0 {
			s.refused = s.hosts
		}
	}
	s.unsupported = len(directives(s.text, "unsupported")) > 0
	if e := directives(s.text, "each"); len(e) > 0 {
		s.each, s.activeOnly = true, e[0] == "active"
	}
	return s
}

// directives are the rests of the lines "# NAME: REST", or "" for "# NAME".
func directives(text, name string) []string {
	var rests []string
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "# "+name)
		if value, colon := strings.CutPrefix(rest, ":"); ok && (colon || rest == "") {
			rests = append(rests, strings.TrimSpace(value))
		}
	}
	return rests
}

// withModes is the sample in a copy of its own with its modes set.
func (s sample) withModes(t *testing.T, name string) sample {
	t.Helper()
	dir := copyCorpus(t)
	crossCheck := s.crossCheck
	s = readSample(t, filepath.Join(dir, name))
	s.crossCheck = crossCheck
	for _, m := range s.modes {
		octal, file, _ := strings.Cut(m, " ")
		mode, err := strconv.ParseUint(octal, 8, 12)
		if err != nil {
			t.Fatal(err)
		}
		if file == "SELF" {
			file = name
		}
		if err := os.Chmod(filepath.Join(dir, file), os.FileMode(mode)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// run compares the sample for all its hosts.
func (s sample) run(t *testing.T) {
	t.Helper()
	if !s.each {
		s.compare(t, s.file)
		return
	}
	var all strings.Builder
	for line := range strings.Lines(s.text) {
		if text := strings.TrimLeft(line, " \t"); text == "\n" || strings.HasPrefix(text, "#") {
			continue
		}
		s.compareText(t, line)
		if len(s.refused) > 0 && !s.activeOnly {
			s.compareText(t, "Host nothing\n"+line)
		}
		all.WriteString(line)
	}
	if len(s.refused) == 0 && !s.activeOnly {
		s.compareText(t, "Host nothing\n"+all.String())
	}
}

// compareText compares a part of the sample.
func (s sample) compareText(t *testing.T, text string) {
	t.Helper()
	file := s.file + ".each"
	writeFile(t, file, text)
	if !s.compare(t, file) {
		t.Logf("in the configuration\n%s", text)
	}
}

func (s sample) compare(t *testing.T, file string) bool {
	t.Helper()
	same := true
	for _, host := range s.hosts {
		diff, sshErr := disagreement(t, file, host, s.args, s.skip)
		if diff == onlySSH && s.unsupported {
			diff = ""
		}
		if diff != "" {
			t.Errorf("%s:\n%s", host, diff)
			same = false
		}
		if refused := slices.Contains(s.refused, host); s.crossCheck && (sshErr != nil) != refused {
			t.Errorf("%s: got %v from ssh, want refused: %v", host, sshErr, refused)
			same = false
		}
	}
	return same
}

// onlySSH is the disagreement of a built-in engine that does not know.
const onlySSH = "got an UnsupportedError, want what ssh says"

// disagreement asks ssh and us, and says where we differ; "" for nowhere. sshErr
// is ssh's refusal.
func disagreement(t testing.TB, file, host string, args, skip []string) (diff string, sshErr error) {
	t.Helper()
	want, sshErr := askSSH(t, file, host, args)
	got, err := askUs(t, file, host, args)
	switch {
	case sshErr == nil && errors.As(err, new(*UnsupportedError)):
		return onlySSH, nil
	case err != nil && sshErr == nil:
		return fmt.Sprintf("got error %v, want none as ssh", err), nil
	case err == nil && sshErr != nil:
		return fmt.Sprintf("got no error, want one as ssh: %v", sshErr), sshErr
	case err != nil:
		return "", sshErr
	}
	return difference(got, want, skip), nil
}

// testSSH is the ssh to compare with.
func testSSH(t testing.TB) string {
	t.Helper()
	if ssh := os.Getenv("SSH_STAY_TEST_SSH"); ssh != "" {
		return ssh
	}
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatalf("ssh is not installed (Debian package openssh-client): %v", err)
	}
	return ssh
}

func sshVersion(t testing.TB) string {
	t.Helper()
	out, err := exec.Command(testSSH(t), "-V").CombinedOutput()
	if err != nil {
		t.Fatalf("ssh -V: %v: %s", err, out)
	}
	return string(out)
}

// askSSH runs `ssh -G`. Its refusal is an error, with what it wrote. So is what
// it says of a list of algorithms that comes to nothing: ssh 9.2 to 10.3 leave
// out the rest of their defaults then, and go on.
func askSSH(t testing.TB, file, host string, args []string) (string, error) {
	t.Helper()
	argv := append([]string{"-G", "-F", file}, args...)
	cmd := exec.Command(testSSH(t), append(argv, host)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err != nil || strings.Contains(stderr.String(), "fill_default_options: ") {
		return "", fmt.Errorf("%v: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

// askUs prints the settings, without the lines that are ours alone.
func askUs(t testing.TB, file, host string, args []string) (string, error) {
	t.Helper()
	q := Query{Host: host, File: file, Engine: EngineBuiltin, SSH: os.Getenv("SSH_STAY_TEST_SSH")}
	for ; len(args) > 1; args = args[2:] {
		switch value := args[1]; args[0] {
		case "-o":
			q.Options = append(q.Options, value)
		case "-J":
			q.Options = append(q.Options, "ProxyJump="+value)
		case "-F":
			q.File = value
		case "-l":
			q.User = value
		case "-p":
			port, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			q.Port = port
		default:
			t.Fatalf("got flag %s, want one of -o -J -F -l -p", args[0])
		}
	}
	s, err := Resolve(t.Context(), q)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := s.Print(&out, false); err != nil {
		return "", err
	}
	text, _, _ := strings.Cut(out.String(), "\nstay")
	return strings.TrimSuffix(text, "\n") + "\n", nil
}

// difference lists the lines that only one of the two has, or else the first
// ones out of order. Lines of the keywords in skip do not count.
func difference(got, want string, skip []string) string {
	lines := func(text string) []string {
		return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool {
			key, _, _ := strings.Cut(line, " ")
			return slices.Contains(skip, key)
		})
	}
	g, w := lines(got), lines(want)
	if slices.Equal(g, w) {
		return ""
	}
	var b strings.Builder
	without := func(a, b []string) []string {
		b = slices.Clone(b)
		return slices.DeleteFunc(slices.Clone(a), func(line string) bool {
			i := slices.Index(b, line)
			if i >= 0 {
				b = slices.Delete(b, i, i+1)
			}
			return i >= 0
		})
	}
	for _, line := range without(g, w) {
		fmt.Fprintf(&b, "got  %q\n", line)
	}
	for _, line := range without(w, g) {
		fmt.Fprintf(&b, "want %q\n", line)
	}
	for i := 0; b.Len() == 0; i++ {
		if g[i] != w[i] {
			fmt.Fprintf(&b, "got  %q in line %d\nwant %q\n", g[i], i+1, w[i])
		}
	}
	return b.String()
}
