package config

import (
	"bytes"
	"fmt"
	"strings"

	ssh_config "github.com/kevinburke/ssh_config"

	"ssh-stay/pattern"
)

// pos is where a setting was written.
type pos struct {
	file string
	line int
}

func (p pos) String() string {
	if p.line == 0 {
		return p.file
	}
	return fmt.Sprintf("%s line %d", p.file, p.line)
}

// line is one keyword with its raw, still quoted, arguments.
type line struct {
	pos
	keyword string // lower case
	rest    string
}

// commandLine is the file of settings made there.
const commandLine = "command line"

// scan finds the keyword of each line of FILE, and what follows it. It leaves
// comments, empty lines, and what ssh itself passes over out.
func scan(file string, text []byte) []line {
	lines := make([]line, 0, bytes.Count(text, []byte("\n"))+1)
	n := 0
	for raw := range bytes.Lines(text) {
		n++
		if l, ok := scanLine(string(raw)); ok {
			l.pos = pos{file, n}
			lines = append(lines, l)
		}
	}
	return lines
}

// scanLine is the first half of process_config_line (readconf.c): a NUL byte
// ends the line; form feeds are stripped at its end alone; a keyword may be
// quoted, and stand behind one = sign; an unfinished quote there hides the line.
func scanLine(raw string) (line, bool) {
	raw, _, _ = strings.Cut(raw, "\x00")
	if raw != "" { // ssh leaves the first byte
		raw = raw[:1] + strings.TrimRight(raw[1:], blanks+"\f")
	}
	key, rest, _, ok := nextWord(raw)
	if ok && key == "" {
		key, rest, _, ok = nextWord(rest)
	}
	if !ok || key == "" || key[0] == '#' {
		return line{}, false
	}
	return line{keyword: pattern.Lower(key), rest: strings.TrimLeft(rest, blanks)}, true
}

// The library reads the lines that take effect. It stumbles over comments within
// words, bytes that are not UTF-8, and what it takes for syntax; so it sees all
// but plain ones as runes of a private-use plane, behind a keyword of its own.
const (
	maskWord = "Setting "
	maskBase = 0xF0000
)

// maxMasked bounds what the library is given in one line: it takes time in the
// square of a line's length, 10 ms for this. Longer ones are taken as scanned.
const maxMasked = 4 << 10

// read has the library read the arguments of lines, the settings of one block
// that applies. The lines keep their order.
func read(lines []line) error {
	var masked strings.Builder
	short := make([]*line, 0, len(lines))
	for i := range lines {
		if l := &lines[i]; len(l.rest) <= maxMasked && l.rest != "" {
			masked.WriteString(maskWord)
			mask(&masked, l.rest)
			short = append(short, l)
		}
	}
	if len(short) == 0 {
		return nil
	}
	decoded, err := ssh_config.DecodeBytes([]byte(masked.String()))
	if err != nil {
		return fmt.Errorf("%s: %w", short[0].pos, err)
	}
	n := 0
	for _, host := range decoded.Hosts {
		for _, node := range host.Nodes {
			if kv, ok := node.(*ssh_config.KV); ok && n < len(short) {
				short[n].rest = unmask(kv.Value)
				n++
			}
		}
	}
	if n != len(short) {
		return fmt.Errorf("%s: %d of %d lines of this block could be read", short[0].pos, n, len(short))
	}
	return nil
}

func mask(w *strings.Builder, s string) {
	for i := range len(s) {
		switch c := s[i] | 0x20; {
		case 'a' <= c && c <= 'z' || '0' <= s[i] && s[i] <= '9' || strings.IndexByte("./-_,:@~ ", s[i]) >= 0 && i > 0 && i < len(s)-1:
			w.WriteByte(s[i])
		default:
			w.WriteRune(maskBase + rune(s[i]))
		}
	}
	w.WriteByte('\n')
}

func unmask(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r >= maskBase }) {
		return s
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r >= maskBase && r < maskBase+256 {
			r -= maskBase
		}
		b = append(b, byte(r))
	}
	return string(b)
}
