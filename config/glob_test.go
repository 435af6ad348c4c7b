package config

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Include finds the files that ssh finds. Each file adds its number.
func TestGlobSameAsSSH(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"a.c", "b.c", "7.c", "-.c", "].c", "^.c", "!.c", "\xc3\xa9.c", ".hidden.c", "A.c", "a*.c", "sub/x.c", "sub/.y.c", ".d/z.c", "[.c", "ab.c"} {
		write(t, filepath.Join(dir, name), fmt.Sprintf("IdentityFile /%d\n", i))
	}
	for _, pat := range []string{
		"*.c", "?.c", "??.c", "[ab].c", "[!ab].c", "[^a].c", "[[:digit:]].c", "[[:alpha:]].c", "[[:upper:][:digit:]].c", "[]a].c", "[!]].c",
		"[a-].c", "[-a].c", "[a-c].c", "[c-a].c", "a\\*.c", "a\\?.c", "*/x.c", "s*/*.c", "*/*.c", ".*.c", ".?/*.c", "[.]hidden.c", "sub\\/x.c", "[.c", "[a.c",
		"[!a.c", "**.c", "*a*.c", "sub//x.c", "./a.c", "sub/../a.c", "a.c", "none*", "[[:nothing:]].c", "\\a.c", "[\\]].c", "{a,b}.c", "sub/", "sub",
	} {
		config := file(t, "Include \""+dir+"/"+strings.ReplaceAll(pat, `\`, `\\`)+"\"\n")
		out, err := exec.Command("ssh", "-G", "-F", config, "h").Output()
		if err != nil {
			t.Fatalf("%s: ssh -G: %v", pat, err)
		}
		var want []string
		for line := range strings.Lines(string(out)) {
			if n, ok := strings.CutPrefix(line, "identityfile /"); ok {
				want = append(want, "/"+strings.TrimSpace(n))
			}
		}
		s, err := Resolve(t.Context(), Query{Host: "h", File: config})
		if err != nil {
			t.Fatalf("%s: %v", pat, err)
		}
		got := s.IdentityFile
		if !s.IdentityFileSet {
			got = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got files %v, want %v as ssh", pat, got, want)
		}
	}
}

// TestHostileUser: a user of the command line reaches no command of Match exec.
func TestHostileUser(t *testing.T) {
	canary := filepath.Join(t.TempDir(), "canary")
	text := file(t, "Match exec \"echo %r\"\n Port 23\n")
	for _, user := range []string{"a;touch " + canary, "$(touch " + canary + ")", "`touch " + canary + "`", "a\ntouch " + canary, "-x", "a|b"} {
		for _, q := range []Query{
			{Host: "h", File: text, User: user},
			{Host: "h", File: text, Options: []string{`User="` + user + `"`}},
			{Host: "h", File: text, Options: []string{`User="` + user + `"`}, Engine: EngineSSH},
		} {
			if _, err := Resolve(t.Context(), q); err == nil {
				t.Errorf("user %q: got no error, want it refused", user)
			}
		}
	}
	if _, err := os.Stat(canary); err == nil {
		t.Error("got a command run, want none")
	}
}
