package vscode

import (
	"fmt"
	"regexp"
	"strings"
)

// ResolverError is a failure to get an ssh with a server behind it, of the class
// that the extension makes of it. The class is all that the core looks at.
type ResolverError struct {
	Offline bool   // TemporarilyNotAvailable: try again. Else the end: "Reload Window"
	Why     string // ssh's last words
}

func (e *ResolverError) Error() string {
	class := "cannot reconnect"
	if e.Offline {
		class = "temporarily not available"
	}
	return fmt.Sprintf("%s: %s", class, e.Why)
}

// offline are the words of ssh that stand for a network which is away. The first
// is known from logs (#8046), the second too (#7504): what ssh says of a
// ProxyCommand that kept silent beyond ConnectTimeout. The third is what it says
// of a server that did not answer to TCP: by no log known to be the same class,
// but counted so, in favour of stock ssh.
//
// Everything else is known to be the end or not known at all: "Network is
// unreachable" and its like are parsed as a server that said nothing of a port
// ("Failed to parse remote port", vscode PR 273060), and so is a connection closed
// before its banner.
var offline = []*regexp.Regexp{
	regexp.MustCompile(`Could not resolve hostname`),
	regexp.MustCompile(`(?m)^Connection to \S+ port \d+ timed out`),
	regexp.MustCompile(`connect to host \S+ port \d+: (Connection|Operation) timed out`),
}

// Classify reads what an ssh said before it ended without having started a
// server, its stdout and its stderr together.
func Classify(said string) *ResolverError {
	var words []string
	for line := range strings.Lines(said) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "debug1: ") {
			words = append(words, line)
		}
	}
	text := strings.Join(words, "\n")
	e := &ResolverError{Why: "ssh ended without a word"}
	if len(words) > 0 {
		e.Why = words[len(words)-1]
	}
	for _, o := range offline {
		if found := o.FindString(text); found != "" {
			return &ResolverError{Offline: true, Why: found}
		}
	}
	return e
}
