//go:build unix

package wrapper

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var awkward = []string{
	"", "plain", "two words", "it's", `a "b" c`, `back\slash`, `end\`, `\`, `\\'\\`, "!", "a!b 'c!'", "$HOME", "`id`", "a%b%%c%h", "*?[x]", "~", "~/x", "=ls",
	"#x", "a#b", "{a,b}", "a;b|c&d>e<f", "(x)", "^x^y", "ä€", "-o", "a=b", `C:\Users\x y`, `'"'"'`, "tab\there",
}

// TestShells has ssh itself run the line, by every shell that a user may have.
func TestShells(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `it's a "dir" 100% $x!`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	self, record := filepath.Join(dir, "ssh-stay"), filepath.Join(t.TempDir(), "record")
	script := "#!/bin/sh\nprintf '%s\\0' \"$@\" >'" + record + "'\n"
	if err := os.WriteFile(self, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config") // what it says of a user ssh takes
	if err := os.WriteFile(file, []byte("User \"a;b  $c\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := append([]string{"proxy", "--alias", "h*st", "--user", "a;b  $c", "-F", "/a b"}, append(awkward, "h*st", "22")...)
	line := ProxyCommand(self, true, append([]string{"-F", "/a b"}, awkward...)...)
	for _, shell := range []string{"sh", "dash", "bash", "zsh", "fish", "csh", "tcsh", "ksh", "mksh"} {
		path, err := exec.LookPath(shell)
		if err != nil && (shell == "ksh" || shell == "mksh") {
			continue
		}
		if err != nil {
			t.Errorf("%s is not installed: sh testdata/peers.sh", shell)
			continue
		}
		os.Remove(record)
		cmd := exec.Command("ssh", "-F", file, "-o", "BatchMode=yes", "-o", "ProxyCommand="+line, "h*st")
		cmd.Env = append(os.Environ(), "SHELL="+path, "HOME="+t.TempDir())
		said, _ := cmd.CombinedOutput() // it fails: the program says nothing
		got, err := os.ReadFile(record)
		if err != nil {
			t.Errorf("%s: %v\n%s\n%s", shell, err, line, said)
			continue
		}
		if want := strings.Join(want, "\x00") + "\x00"; string(got) != want {
			t.Errorf("%s:\n got %q\nwant %q", shell, got, want)
		}
	}
}

// TestWindowsWord gives what CommandLineToArgvW and sh both read as the word.
func TestWindowsWord(t *testing.T) {
	for _, tc := range []struct{ word, want string }{
		{"plain", "plain"},
		{"", `""`},
		{"C:/Program Files/ssh-stay.exe", `"C:/Program Files/ssh-stay.exe"`},
		{`C:\Users\x\.ssh\config`, `"C:\Users\x\.ssh\config"`},
		{`C:\dir\`, `"C:\dir\\"`},
		{`ControlPath="C:\x"`, `"ControlPath=\"C:\x\""`},
		{`a\"b`, `"a\\\"b"`},
		{"%h", `"%h"`},
	} {
		got := windowsWord(tc.word)
		if got != tc.want {
			t.Errorf("%q: got %s, want %s", tc.word, got, tc.want)
		}
		out, err := exec.Command("sh", "-c", "printf %s "+got).Output()
		if err != nil || string(out) != tc.word {
			t.Errorf("%s: sh reads %q, %v; want %q", got, out, err, tc.word)
		}
	}
}
