package config

import (
	"errors"
	"strings"
)

// blanks are what OpenSSH's strdelim separates by and strips at line ends.
const blanks = " \t\r\n"

// space is what isspace(3) is true for.
const space = " \t\n\v\f\r"

var errQuote = errors.New("invalid quotes")

// nextWord takes one word off s as OpenSSH's strdelim does: it ends at a blank,
// at one = among blanks, or at the second of two double quotes, which may begin
// within it and are dropped. Without a second quote, ok is false. After the last
// word, rest is "" and more is false.
func nextWord(s string) (word, rest string, more, ok bool) {
	i := strings.IndexAny(s, blanks+"\"=")
	if i < 0 {
		return s, "", false, true
	}
	if s[i] == '"' {
		end := strings.IndexByte(s[i+1:], '"')
		if end < 0 {
			return "", "", false, false
		}
		end += i + 1
		return s[:i] + s[i+1:end], strings.TrimLeft(s[end+1:], blanks), true, true
	}
	word, rest = s[:i], strings.TrimLeft(s[i+1:], blanks)
	if s[i] != '=' && strings.HasPrefix(rest, "=") {
		rest = strings.TrimLeft(rest[1:], blanks)
	}
	return word, rest, true, true
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

// word reads the word at s[i:] and returns where it ends.
func word(s string, i int) (string, int, error) {
	if end := strings.IndexAny(s[i:], " \t\\'\""); end < 0 {
		return s[i:], len(s), nil
	} else if s[i+end] == ' ' || s[i+end] == '\t' {
		return s[i : i+end], i + end, nil
	}
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
		return "", i, errQuote
	}
	return b.String(), i, nil
}

func escapable(c, quote byte) bool {
	return c == '\'' || c == '"' || c == '\\' || quote == 0 && c == ' '
}
