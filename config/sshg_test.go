package config

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sameAsSSH are the keywords compared with `ssh -G`.
const sameAsSSH = "hostname port user proxyjump proxycommand serveraliveinterval serveralivecountmax connecttimeout " +
	"connectionattempts tcpkeepalive addressfamily bindaddress bindinterface hostkeyalias identitiesonly proxyusefdpass " +
	"ciphers macs kexalgorithms hostkeyalgorithms"

// corpus copies testdata/config to a folder that only we can write, as ssh
// wants it, puts the folder's name for @DIR@, and returns the files.
func corpus(t *testing.T) []string {
	t.Helper()
	dir, from := t.TempDir(), filepath.Join("..", "testdata", "config")
	if err := os.Mkdir(filepath.Join(dir, "parts"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, glob := range []string{"*.conf", "parts/*.inc"} {
		files, err := filepath.Glob(filepath.Join(from, glob))
		if err != nil || len(files) == 0 {
			t.Fatalf("got no %s in %s (%v), want some", glob, from, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := filepath.Rel(from, f)
			text = bytes.ReplaceAll(text, []byte("@DIR@"), []byte(dir))
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.conf"))
	if len(files) < 40 {
		t.Fatalf("got %d configurations, want at least 40", len(files))
	}
	return files
}

// directive is the rest of a line "# NAME: REST" or "# NAME" of a file.
func directive(text, name string) (string, bool) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "# "+name)
		if ok {
			return strings.TrimPrefix(rest, ":"), true
		}
	}
	return "", false
}

// keywords makes a map of `keyword value` lines.
func keywords(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		m[key] = value
	}
	return m
}

// askSSH runs `ssh -G`.
func askSSH(t *testing.T, file, host string) (map[string]string, error) {
	t.Helper()
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatalf("ssh is not installed (Debian package openssh-client): %v", err)
	}
	out, err := exec.Command(ssh, "-G", "-F", file, host).Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return keywords(string(out)), err
}

func TestSameAsSSH(t *testing.T) {
	for _, file := range corpus(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := string(b)
			hosts, _ := directive(text, "hosts")
			skip, _ := directive(text, "skip")
			_, wantErr := directive(text, "error")
			if len(strings.Fields(hosts)) == 0 {
				t.Fatal("got no hosts line, want one")
			}
			for _, host := range strings.Fields(hosts) {
				want, err := askSSH(t, file, host)
				if (err != nil) != wantErr {
					t.Errorf("%s: ssh -G: got %v, want an error: %v", host, err, wantErr)
				}
				s, err := Resolve(t.Context(), Query{Host: host, File: file})
				if (err != nil) != wantErr {
					t.Errorf("%s: got %v, want an error: %v", host, err, wantErr)
				}
				if err != nil || wantErr {
					continue
				}
				var out bytes.Buffer
				if err := s.Print(&out, false); err != nil {
					t.Fatal(err)
				}
				compare(t, host, skip, keywords(out.String()), want)
			}
		})
	}
}

func compare(t *testing.T, host, skip string, got, want map[string]string) {
	t.Helper()
	for key := range strings.FieldsSeq(sameAsSSH) {
		if strings.Contains(" "+skip+" ", " "+key+" ") {
			continue
		}
		g, w := got[key], want[key]
		if key == "proxyjump" && w != "" { // ssh prints it as written
			jumps, err := ParseJumps(w)
			if err != nil {
				t.Errorf("%s: ParseJumps(%q): %v", host, w, err)
			}
			var s []string
			for _, j := range jumps {
				s = append(s, j.String())
			}
			w = strings.Join(s, ",")
		}
		if g != w {
			t.Errorf("%s: %s: got %q, want %q as ssh", host, key, g, w)
		}
	}
}
