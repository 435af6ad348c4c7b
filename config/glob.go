package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// glob is the glob(3) that OpenSSH has, which works on bytes: names in order; a
// wildcard does not match a leading dot; what is no pattern must exist.
func glob(pattern string) []string {
	if pattern == "" {
		return nil
	}
	paths := []string{""}
	if strings.HasPrefix(pattern, "/") {
		paths = []string{"/"}
	}
	for part := range strings.SplitSeq(pattern, "/") {
		if part = strings.TrimSuffix(part, `\`); part == "" { // "\/" is a slash
			continue
		}
		var next []string
		for _, dir := range paths {
			next = append(next, globPart(dir, part)...)
		}
		paths = next
	}
	slices.Sort(paths)
	return paths
}

// globPart lists what of a folder matches one part of a path.
func globPart(dir, part string) []string {
	join := func(name string) string {
		if dir == "" || strings.HasSuffix(dir, "/") {
			return dir + name
		}
		return dir + "/" + name
	}
	if !strings.ContainsAny(part, `*?[`) {
		path := join(unescape(part))
		if _, err := os.Lstat(path); err != nil {
			return nil
		}
		return []string{path}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "."))
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") && !strings.HasPrefix(part, ".") && !strings.HasPrefix(part, `\.`) {
			continue
		}
		if globMatch(name, part) {
			found = append(found, join(name))
		}
	}
	return found
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// globMatch matches a name, byte by byte. It takes the last star back first, so
// that its time is at most the product of the lengths.
func globMatch(name, pattern string) bool {
	n, p := 0, 0
	starP, starN := -1, 0
	for n < len(name) || p < len(pattern) {
		if p < len(pattern) && pattern[p] == '*' {
			starP, starN = p, n
			p++
			continue
		}
		if n < len(name) && p < len(pattern) {
			if ok, size := globByte(name[n], pattern[p:]); ok {
				n, p = n+1, p+size
				continue
			}
		}
		if starP < 0 || starN >= len(name) {
			return false
		}
		starN++
		n, p = starN, starP+1
	}
	return true
}

// globByte matches one byte against the first element of a pattern, and returns
// that element's length.
func globByte(c byte, pattern string) (ok bool, size int) {
	switch pattern[0] {
	case '?':
		return true, 1
	case '\\':
		if len(pattern) > 1 {
			return c == pattern[1], 2
		}
	case '[':
		if set, negated, size := globSet(pattern); size > 0 {
			return setHolds(set, c) != negated, size
		}
	}
	return c == pattern[0], 1
}

// globSet takes [SET] or [!SET] off a pattern; its first byte may be a bracket.
// size is 0 where none ends it: then the bracket stands for itself.
func globSet(pattern string) (set string, negated bool, size int) {
	i := 1
	if i < len(pattern) && pattern[i] == '!' {
		negated = true
		i++
	}
	start := i
	if i < len(pattern) && pattern[i] == '\\' {
		i++
	}
	for i++; i < len(pattern); i++ {
		if pattern[i] == '\\' {
			i++
			continue
		}
		if strings.HasPrefix(pattern[i-1:], "[:") {
			if end := strings.Index(pattern[i+1:], ":]"); end >= 0 {
				i += end + 3
				if i > len(pattern)-1 {
					break
				}
			}
		}
		if pattern[i] == ']' {
			return pattern[start:i], negated, i + 1
		}
	}
	return "", false, 0
}

// setHolds says whether a set holds a byte, by itself, in a range or in a class.
func setHolds(set string, c byte) bool {
	for i := 0; i < len(set); {
		if strings.HasPrefix(set[i:], "[:") {
			if end := strings.Index(set[i:], ":]"); end > 0 {
				if inClass(set[i+2:i+end], c) {
					return true
				}
				i += end + 2
				continue
			}
		}
		if set[i] == '\\' && i+1 < len(set) {
			i++
		}
		low, high := set[i], set[i]
		if i+2 < len(set) && set[i+1] == '-' {
			high = set[i+2]
			i += 2
		}
		if low <= c && c <= high {
			return true
		}
		i++
	}
	return false
}

// inClass is a class of POSIX, for ASCII.
func inClass(class string, c byte) bool {
	lower, upper, digit := 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9'
	graph := c > ' ' && c < 0x7f
	switch class {
	case "alnum":
		return lower || upper || digit
	case "alpha":
		return lower || upper
	case "blank":
		return c == ' ' || c == '\t'
	case "cntrl":
		return c < ' ' || c == 0x7f
	case "digit":
		return digit
	case "graph":
		return graph
	case "lower":
		return lower
	case "print":
		return graph || c == ' '
	case "punct":
		return graph && !lower && !upper && !digit
	case "space":
		return strings.IndexByte(space, c) >= 0
	case "upper":
		return upper
	case "xdigit":
		return digit || 'a' <= c|0x20 && c|0x20 <= 'f'
	}
	return false
}
