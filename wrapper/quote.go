package wrapper

import (
	"path/filepath"
	"runtime"
	"strings"
)

// ProxyCommand is the value of ssh's keyword by which the program self stands
// between ssh and the network, with args as flags. The flag --alias comes first:
// by it a program that is itself named ssh knows that it is not meant as ssh.
// user says to hand on the user's name, which must be fit for quotes.
func ProxyCommand(self string, user bool, args ...string) string {
	word := shellWord
	if runtime.GOOS == "windows" {
		self, word = filepath.ToSlash(self), windowsWord
	}
	words := []string{literal(self, word), "proxy", "--alias", word("%n")}
	if user {
		words = append(words, "--user", word("%r"))
	}
	for _, arg := range args {
		words = append(words, literal(arg, word))
	}
	return strings.Join(append(words, word("%h"), word("%p")), " ")
}

// literal is a word without tokens.
func literal(s string, word func(string) string) string {
	return word(strings.ReplaceAll(s, "%", "%%"))
}

// shellWord makes one word for the user's shell, which ssh runs the line by: sh,
// csh and fish understand it alike, and so do the rules of quotes by which ssh
// itself looks at a line (argv_split, misc.c). Backslash and quote mean different
// things to them between quotes, and csh replaces ! there, so these stand outside.
func shellWord(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@"
	if s != "" && s[0] != '=' && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.NewReplacer(`'`, `'\''`, `\`, `'\\'`, `!`, `'\!'`).Replace(s) + "'"
}

// windowsWord makes one word for CreateProcess, by which Microsoft's ssh runs the
// line, and as far as the two agree for the sh of Git's: only before a quote are
// backslashes doubled.
func windowsWord(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	var b strings.Builder
	backslashes := 0
	for i := range len(s) {
		switch s[i] {
		case '\\':
			backslashes++
		case '"':
			b.WriteString(strings.Repeat(`\`, backslashes+1))
			backslashes = 0
		default:
			backslashes = 0
		}
		b.WriteByte(s[i])
	}
	return `"` + b.String() + strings.Repeat(`\`, backslashes) + `"`
}
