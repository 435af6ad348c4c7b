package config

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", ""},
		{"blank and comment", "\n# c\n \t\n  # d\n", ""},
		{"plain", "Host a\nPort 22\n", "1 host|a 2 port|22"},
		{"numbers count blank lines", "\n# c\nHost a\n\n\tPort 22", "3 host|a 5 port|22"},
		{"CRLF", "Host a\r\nPort 22\r\n", "1 host|a 2 port|22"},
		{"CR alone is no line end", "User a\rb\n", "1 user|a\rb"},
		{"equals", "Port=22\nPort = 23\nPort =24\nPort= 25\nPort\t=\t26", "1 port|22 2 port|23 3 port|24 4 port|25 5 port|26"},
		{"equals in the value", "User a=b\nUser = c = d\n", "1 user|a=b 2 user|c = d"},
		{"hash in a word", "User a#b\n", "1 user|a#b"},
		{"quotes stay", `User "a b" 'c'` + "\n", `1 user|"a b" 'c'`},
		{"escapes stay", `User a\ b\"` + "\n", `1 user|a\ b\"`},
		{"bytes that are no UTF-8", "User \xff\xe4x\n", "1 user|\xff\xe4x"},
		{"U+FFFD and planes of our own", "User \ufffd\U000F0023\n", "1 user|\ufffd\U000F0023"},
		{"no argument", "Port\n", "1 port|"},
		{"keyword case", "hOsTnAmE X\n", "1 hostname|X"},
		{"words that the library reads itself", "Match exec \"x\"\nInclude a b\nHost *[\n", "1 match|exec \"x\" 2 include|a b 3 host|*["},
		{"form feed at the end", "Port 22\f\n", "1 port|22"},
		{"form feed and vertical tab within", "User a\fb\vc\n", "1 user|a\fb\vc"},
		{"NBSP at the end", "User a\u00a0\n", "1 user|a\u00a0"},
		{"a keyword of the masks", "Stay-masked-Port 22\n", "1 stay-masked-port|22"},
	} {
		lines, err := parse("f", []byte(tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, l := range lines {
			got = append(got, fmt.Sprintf("%d %s|%s", l.pos.line, l.keyword, l.rest))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, s, tt.want)
		}
	}
}

// Lines on which the library would loop for ever, or for very long.
func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"=", "=Port 22"},
		{"= alone", "="},
		{"quote", `"Port" 22`},
		{"form feed", "\fPort 22"},
		{"vertical tab", "\vPort 22"},
		{"NUL", "\x00Port 22"},
		{"NUL within", "User a\x00b"},
		{"U+FFFD", "\ufffdPort 22"},
		{"byte order mark", "\ufeffPort 22"},
		{"NBSP", "\u00a0Port 22"},
		{"not UTF-8", "\xffPort 22"},
		{"1 MB", "User " + strings.Repeat("x", 1<<20)},
		{"1 MB of one keyword", strings.Repeat("x", 1<<20)},
		{"1 MB of equals signs", "User " + strings.Repeat("=", 1<<20)},
	} {
		start := time.Now()
		_, err := parse("f", []byte("# first\n"+tt.text+"\nPort 23\n"))
		if err == nil || !strings.HasPrefix(err.Error(), "f line 2: ") {
			t.Errorf("%s: got %v, want an error of f line 2", tt.name, err)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: got an answer after %v, want it at once", tt.name, d)
		}
	}
}

func TestLongestLine(t *testing.T) {
	text := "Host " + strings.Repeat("é", (maxLine-5)/2)
	lines, err := parse("f", []byte(strings.Repeat("# "+strings.Repeat("c", 1<<20)+"\n", 3)+text))
	if err != nil || len(lines) != 1 || "Host "+lines[0].rest != text || lines[0].pos.line != 4 {
		t.Errorf("got %d lines, %v, want line 4 whole", len(lines), err)
	}
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

// expected is what parse shall return, found without the library; ok is false
// if a line is refused.
func expected(text []byte) (want []line, ok bool) {
	for n, raw := range bytes.Split(text, []byte("\n")) {
		s := strings.TrimRight(string(raw), " \t\r\f\n")
		s = strings.TrimLeft(s, " \t\r")
		if s == "" || s[0] == '#' {
			continue
		}
		if c := s[0] | 0x20; c < 'a' || c > 'z' || len(s) > maxLine || strings.Contains(s, "\x00") {
			return nil, false
		}
		l := line{pos: pos{"f", n + 1}, keyword: s}
		if i := strings.IndexAny(s, " \t="); i >= 0 {
			l.keyword = s[:i]
			l.rest = strings.TrimLeft(s[i:], " \t")
			l.rest = strings.TrimPrefix(l.rest, "=")
			l.rest = strings.Trim(l.rest, " \t\r\n")
		}
		l.keyword = strings.ToLower(l.keyword)
		want = append(want, l)
	}
	return want, true
}

// Whatever the bytes, parse ends, and each line that is no comment comes back
// whole and with its number.
func FuzzParse(f *testing.F) {
	seeds := []string{
		"", "Host a\n Port 22\n", "# c\n\nUser=\"a b\" # d\r\n", "Match exec \"x y\"\nInclude ~/x\n", "=\n", "Port==22", "Port = = 22",
		"\f\n", "a\x00b", "\xff\xfe", "a\xffb = \ufffd", "Host *[!\\", "user a\r\rb", "x =\n", "x =\t#\n", "Stay-masked-x", "a\vb c\f",
		"x  =  y  z ", "x\"y\" z", "K=\"v\"", "K \"\"", "K = \"",
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parse("f", text)
		want, ok := expected(text)
		if (err == nil) != ok {
			t.Fatalf("%q: got error %v, want one: %v", text, err, !ok)
		}
		if err != nil {
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%q: got %d lines, want %d", text, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%q: got %q, want %q", text, got[i], want[i])
			}
		}
	})
}
