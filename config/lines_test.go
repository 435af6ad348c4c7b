package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestScan(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", ""},
		{"blank and comment", "\n# c\n \t\n  # d\n", ""},
		{"plain", "Host a\nPort 22\n", "1 host|a 2 port|22"},
		{"numbers count blank lines", "\n# c\nHost a\n\n\tPort 22", "3 host|a 5 port|22"},
		{"CRLF", "Host a\r\nPort 22\r\n", "1 host|a 2 port|22"},
		{"CR alone is no line end", "User a\rb\n", "1 user|a\rb"},
		{"equals", "Port=22\nPort = 23\nPort =24\nPort= 25\nPort\t=\t26", "1 port|22 2 port|23 3 port|24 4 port|25 5 port|26"},
		{"equals in the value", "User a=b\nUser = c = d\n", "1 user|a=b 2 user|c = d"},
		{"two equals", "User==a\n", "1 user|=a"},
		{"hash in a word", "User a#b\n", "1 user|a#b"},
		{"quotes stay", `User "a b" 'c'` + "\n", `1 user|"a b" 'c'`},
		{"escapes stay", `User a\ b\"` + "\n", `1 user|a\ b\"`},
		{"bytes that are no UTF-8", "User \xff\xe4x\n", "1 user|\xff\xe4x"},
		{"U+FFFD and planes of our own", "User \ufffd\U000F0023\n", "1 user|\ufffd\U000F0023"},
		{"no argument", "Port\n", "1 port|"},
		{"keyword case", "hOsTnAmE X\n", "1 hostname|X"},
		{"words that the library reads itself", "Match exec \"x\"\nInclude a b\nHost *[\n", "1 match|exec \"x\" 2 include|a b 3 host|*["},
		{"form feed at the end", "Port 22\f\n", "1 port|22"},
		{"form feed alone", "\f\n", "1 \f|"},
		{"form feed and vertical tab within", "User a\fb\vc\n", "1 user|a\fb\vc"},
		{"NBSP at the end", "User a\u00a0\n", "1 user|a\u00a0"},
		{"a keyword of the masks", "Setting 22\n", "1 setting|22"},
		{"quoted keyword", "\"Port\" 22\n", "1 port|22"},
		{"quote within the keyword", "Po\"rt\" 22\n", "1 port|22"},
		{"open quote hides the line", "\"Port 22\nUser a\n", "2 user|a"},
		{"= before the keyword", "=Port 22\n", "1 port|22"},
		{"NUL ends the line", "User a\x00b\nPort\x00 22\n", "1 user|a 2 port|"},
		{"byte order mark", "\ufeffPort 22\n", "1 \ufeffport|22"},
	} {
		var got []string
		for _, l := range scan("f", []byte(tt.text)) {
			got = append(got, fmt.Sprintf("%d %s|%s", l.line, l.keyword, l.rest))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, s, tt.want)
		}
	}
}

// The library sees what takes effect, and must find in it what we did.
func TestLibraryReads(t *testing.T) {
	var all []line
	for b := range 256 {
		if b == '\n' {
			continue
		}
		c := string([]byte{byte(b)})
		all = append(all, line{keyword: "user", rest: "x" + c + "y"}, line{keyword: "user", rest: c}, line{keyword: "user", rest: c + " z " + c})
	}
	got := slices.Clone(all)
	if err := read(got); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if got[i] != all[i] {
			t.Errorf("got %q, want %q", got[i].rest, all[i].rest)
		}
	}
}

// TestBounds: what is huge or endless is answered soon.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	loop, deep := filepath.Join(dir, "loop"), filepath.Join(dir, "deep0")
	write(t, loop, "Include "+loop+"\n")
	for i := range 17 {
		write(t, filepath.Join(dir, fmt.Sprintf("deep%d", i)), fmt.Sprintf("Include %s/deep%d\n", dir, i+1))
	}
	write(t, filepath.Join(dir, "deep17"), "Port 22\n")
	const mb = 1 << 20
	for _, tt := range []struct{ name, text, wantErr string }{
		{"1 MB value", "User " + strings.Repeat("x", mb), ""},
		{"1 MB of equals signs", "User " + strings.Repeat("=", mb), ""},
		{"1 MB of patterns", "Host " + strings.Repeat("a* ", mb/3), ""},
		{"1 MB of stars", "Host " + strings.Repeat("*a", mb/2), ""},
		{"1 MB of quotes", "User " + strings.Repeat(`"" `, mb/3) + "\n", "missing argument"},
		{"1 MB of one keyword", strings.Repeat("x", mb), "missing argument"},
		{"1 MB of bytes that are masked", "User " + strings.Repeat("\xff", mb), ""},
		{"Include of itself", "Include " + loop, "too many nested Include lines"},
		{"Include 17 deep", "Include " + deep, "too many nested Include lines"},
	} {
		start := time.Now()
		_, err := Resolve(t.Context(), Query{Host: "h", File: file(t, tt.text), Engine: EngineBuiltin})
		if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%s: got %.200v, want %q", tt.name, err, tt.wantErr)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: got an answer after %v, want it at once", tt.name, d)
		}
	}
}

func file(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config")
	write(t, name, text)
	return name
}

func TestWords(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{``, ``},
		{`a`, `a`},
		{`a b`, `a|b`},
		{"a\t b ", `a|b`},
		{`"a b" c`, `a b|c`},
		{`'a b' c`, `a b|c`},
		{`"a'b" 'c"d'`, `a'b|c"d`},
		{`a"b c"d`, `ab cd`},
		{`""`, ``},
		{`"" a`, `|a`},
		{`a\ b`, `a b`},
		{`"a\ b"`, `a\ b`},
		{`a\"b`, `a"b`},
		{`"a\"b"`, `a"b`},
		{`'a\'b'`, `a'b`},
		{`a\\b`, `a\b`},
		{`a\nb`, `a\nb`},
		{`a\`, `a\`},
		{`C:\dir\file`, `C:\dir\file`},
		{`a # b`, `a`},
		{`a #b`, `a`},
		{`a#b`, `a#b`},
		{`"#a" b`, `#a|b`},
		{`a=b`, `a=b`},
	} {
		got, err := words(tt.in)
		if err != nil || strings.Join(got, "|") != tt.want {
			t.Errorf("words(%s): got %q, %v, want %s", tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{`"a`, `'a`, `a "b`, `"a\"`, `'a"`} {
		if got, err := words(in); err == nil {
			t.Errorf("words(%s): got %q, want an error", in, got)
		}
	}
}

// Whatever the bytes: Resolve ends with settings or an error that names where it
// is, and the library finds what we found.
func FuzzResolve(f *testing.F) {
	seeds := []string{
		"", "Host a\n Port 22\n", "# c\n\nUser=\"a b\" # d\r\n", "Match host h user x\nInclude ~/x\n", "=\n", "Port==22", "Port = = 22",
		"\f\n", "a\x00b", "\xff\xfe", "IgnoreUnknown *\na\xffb = \ufffd", "Host *[!\\", "user a\r\rb", "x =\n", "Match !all", "Match host=h",
		"IPQoS 0x", "RekeyLimit 1G 1h", "LocalForward [::1]:22 [a]:b", "ProxyJump ssh://a@b:1,c", "EscapeChar ^", "Ciphers ^aes*",
		"SetEnv A=b\nSendEnv -*", "HostName %h%%%", "TunnelDevice 1:any", "AddKeysToAgent confirm 1h", "CanonicalizeHostname yes\nCanonicalDomains a.b",
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	name := filepath.Join(f.TempDir(), "config")
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(bytes.ToLower(text), []byte("exec")) || bytes.Contains(bytes.ToLower(text), []byte("include")) {
			return // no commands and no files of this machine
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		lines := scan("f", text)
		again := slices.Clone(lines)
		if err := read(again); err != nil || !slices.Equal(lines, again) {
			t.Fatalf("%q: the library read %q, %v, want %q", text, again, err, lines)
		}
		s, err := Resolve(t.Context(), Query{Host: "h", File: name, Home: "/home/me", LocalUser: "me", Engine: EngineBuiltin})
		if (s == nil) == (err == nil) {
			t.Fatalf("%q: got %v and %v, want one of them", text, s, err)
		}
		if u := (*UnsupportedError)(nil); err != nil && !errors.As(err, &u) && !strings.Contains(err.Error(), name) {
			t.Errorf("%q: got %q, want an error that names the file", text, err)
		}
	})
}
