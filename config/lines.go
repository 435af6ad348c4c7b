package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	ssh_config "github.com/kevinburke/ssh_config"
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

// The library rejects or misreads Host, Match and Include lines, comments
// within words, and bytes that are not UTF-8. So it sees them masked: the
// keyword behind maskWord, the bytes as runes of a private-use plane.
const (
	maskWord = "Stay-masked-"
	maskBase = 0xF0000
)

// blanks are what OpenSSH strips from both ends of a line.
const blanks = " \t\r\n"

// maxLine bounds a line: the library takes time in its square, 0.1 s for this.
const maxLine = 16 << 10

// parseFile reads FILE into lines. A missing file is os.ErrNotExist.
func parseFile(file string) ([]line, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return parse(file, b)
}

// parse splits the text of FILE into lines, without comments and empty lines.
func parse(file string, text []byte) ([]line, error) {
	var masked strings.Builder
	var numbers []int
	n := 0
	for raw := range bytes.Lines(text) {
		n++
		raw = bytes.TrimLeft(bytes.TrimRight(raw, blanks+"\f"), blanks)
		if len(raw) == 0 || raw[0] == '#' {
			continue
		}
		if err := checkLine(raw); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", file, n, err)
		}
		mask(&masked, raw)
		numbers = append(numbers, n)
	}
	decoded, err := ssh_config.DecodeBytes([]byte(masked.String()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return unmaskAll(file, decoded, numbers)
}

// checkLine refuses what the library would read for ever or for far too long,
// and what ssh would cut.
func checkLine(raw []byte) error {
	switch c := raw[0] | 0x20; {
	case c < 'a' || c > 'z':
		return errors.New("line does not begin with a keyword")
	case bytes.IndexByte(raw, 0) >= 0:
		return errors.New("line holds a NUL byte")
	case len(raw) > maxLine:
		return fmt.Errorf("line is longer than %d bytes", maxLine)
	}
	return nil
}

func unmaskAll(file string, decoded *ssh_config.Config, numbers []int) ([]line, error) {
	lines := make([]line, 0, len(numbers))
	for _, host := range decoded.Hosts {
		for _, node := range host.Nodes {
			kv, ok := node.(*ssh_config.KV)
			if !ok {
				continue
			}
			if len(lines) == len(numbers) {
				return nil, fmt.Errorf("%s: more settings than lines", file)
			}
			lines = append(lines, unmask(kv, pos{file, numbers[len(lines)]}))
		}
	}
	if len(lines) != len(numbers) {
		return nil, fmt.Errorf("%s: %d of %d lines could be read", file, len(lines), len(numbers))
	}
	return lines, nil
}

func mask(w *strings.Builder, raw []byte) {
	w.WriteString(maskWord)
	for _, b := range raw {
		if b == '#' || b == '\r' || b == '\v' || b == '\f' || b >= 0x80 {
			w.WriteRune(maskBase + rune(b))
		} else {
			w.WriteByte(b)
		}
	}
	w.WriteByte('\n')
}

func unmask(kv *ssh_config.KV, at pos) line {
	// KV.String is the one place where the library gives the value verbatim.
	rest := strings.TrimLeft(kv.String(), " ")[len(kv.Key):]
	if after, ok := strings.CutPrefix(rest, " = "); ok {
		rest = after
	}
	rest = strings.Trim(unmaskBytes(rest), blanks)
	return line{
		pos:     at,
		keyword: strings.ToLower(unmaskBytes(strings.TrimPrefix(kv.Key, maskWord))),
		rest:    rest,
	}
}

func unmaskBytes(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r >= maskBase }) {
		return s
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r >= maskBase && r < maskBase+256 {
			b = append(b, byte(r-maskBase))
		} else {
			b = append(b, byte(r))
		}
	}
	return string(b)
}

// words splits arguments as OpenSSH's argv_split does: blanks separate, single
// and double quotes group, a backslash escapes quotes, itself and, outside
// quotes, a blank; a word that begins with # ends the line.
func words(s string) ([]string, error) {
	var out []string
	for i := 0; i < len(s); {
		if s[i] == ' ' || s[i] == '\t' {
			i++
			continue
		}
		if s[i] == '#' {
			break
		}
		w, next, err := word(s, i)
		if err != nil {
			return nil, err
		}
		out = append(out, w)
		i = next
	}
	return out, nil
}

func word(s string, i int) (string, int, error) {
	var b strings.Builder
	var quote byte
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s) && escapable(s[i+1], quote):
			i++
			b.WriteByte(s[i])
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), i, nil
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", i, fmt.Errorf("no closing quote")
	}
	return b.String(), i, nil
}

func escapable(c, quote byte) bool {
	return c == '\'' || c == '"' || c == '\\' || quote == 0 && c == ' '
}
