// Package pattern matches names against the patterns of ssh_config(5),
// section PATTERNS, which known_hosts files share. It knows nothing else.
package pattern

import "strings"

// Match reports whether name matches one pattern: * is any text, ? any one
// byte. Case counts; lower both first where it shall not.
func Match(name, pattern string) bool {
	star, from := -1, 0
	n, p := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			n, p = n+1, p+1
		case star >= 0: // let the last star take one byte more
			from++
			n, p = from, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// MatchAny is MatchList where case does not count, as for most host names in
// OpenSSH.
func MatchAny(name string, patterns []string) bool {
	lower := make([]string, len(patterns))
	for i, p := range patterns {
		lower[i] = Lower(p)
	}
	return MatchList(Lower(name), lower)
}

// Lower puts ASCII letters into lower case and leaves other bytes as they are,
// as OpenSSH does.
func Lower(s string) string {
	if !strings.ContainsFunc(s, isUpper) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if isUpper(rune(c)) {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func isUpper(r rune) bool { return 'A' <= r && r <= 'Z' }

// maxPattern is the longest pattern of a list that OpenSSH takes. A list with a
// longer one matches nothing from there.
const maxPattern = 1022

// MatchList reports whether name matches one of patterns and none of those that
// begin with !. Case counts.
func MatchList(name string, patterns []string) bool {
	found := false
	for _, p := range patterns {
		p, negated := strings.CutPrefix(p, "!")
		if len(p) > maxPattern {
			return false
		}
		if !Match(name, p) {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}
