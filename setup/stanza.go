package setup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stanza is what was asked for one pattern.
type stanza struct {
	pattern  string
	except   []string // without their !
	resume   string
	interval string // seconds; "" for none
}

// PatternError is a pattern that cannot stand on a Host line, or a list of them
// that names no host.
type PatternError struct{ Pattern, Why string }

func (e *PatternError) Error() string { return fmt.Sprintf("pattern %q: %s", e.Pattern, e.Why) }

func checkPattern(p string) error {
	switch bare := strings.TrimPrefix(p, "!"); {
	case bare == "":
		return &PatternError{p, "is empty"}
	case strings.HasPrefix(bare, "-") || strings.HasPrefix(bare, "!"):
		return &PatternError{p, "begins with " + bare[:1]}
	case strings.ContainsAny(bare, "\"'\\,#=") || strings.ContainsFunc(bare, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return &PatternError{p, `blanks, quotes and \ , # = are not for patterns of Host`}
	case strings.Contains(bare, "://") || strings.Contains(bare, "@") || hasPort(bare):
		return &PatternError{p, "Host patterns are of names alone, without user, port or scheme"}
	}
	return nil
}

// hasPort tells host:port and [::1]:port from an IPv6 address.
func hasPort(p string) bool {
	_, port, found := strings.Cut(p, ":")
	if strings.HasPrefix(p, "[") {
		_, port, found = strings.Cut(p, "]:")
	}
	return found && port != "" && strings.Trim(port, "0123456789") == ""
}

// CheckPatterns says whether a Change may have these; the error is a *PatternError.
func CheckPatterns(patterns []string) error {
	_, err := Change{Patterns: patterns}.apply(nil)
	return err
}

// apply makes the stanzas of a change from those of before.
func (c Change) apply(have []stanza) ([]stanza, error) {
	var except []string
	var patterns []string
	for _, p := range c.Patterns {
		if err := checkPattern(p); err != nil {
			return nil, err
		}
		if bare, negated := strings.CutPrefix(p, "!"); negated {
			except = append(except, bare)
		} else {
			patterns = append(patterns, p)
		}
	}
	switch {
	case len(patterns) == 0 && c.Undo && len(except) == 0:
		return nil, nil
	case len(patterns) == 0 && len(except) > 0:
		return nil, &PatternError{"!" + except[0], "excludes hosts from nothing: '*' first"}
	case len(patterns) == 0:
		patterns = []string{"*"}
	}
	out := slices.DeleteFunc(slices.Clone(have), func(s stanza) bool { return slices.Contains(patterns, s.pattern) })
	if c.Undo {
		return out, nil
	}
	slices.Sort(patterns)
	for _, p := range slices.Compact(patterns) {
		s := stanza{pattern: p, except: except, resume: c.Resume}
		if c.Interval != nil {
			s.interval = strconv.FormatInt(int64(*c.Interval/time.Second), 10)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, bySpecificity)
	return out, nil
}

// bySpecificity puts names before patterns, and of these the longer first: in
// ssh_config the first value wins.
func bySpecificity(a, b stanza) int {
	rank := func(p string) int {
		if !strings.ContainsAny(p, "*?") {
			return -1
		}
		return -1 + 1000 - min(998, len(strings.ReplaceAll(p, "*", "")))
	}
	if d := rank(a.pattern) - rank(b.pattern); d != 0 {
		return d
	}
	return strings.Compare(a.pattern, b.pattern)
}

// rendering is the text of our file.
type rendering struct {
	stanzas []stanza
	command string   // the ProxyCommand
	config  string   // whom the file is for
	created []string // what undo takes away

	ignored []string // patterns of the user's IgnoreUnknown lines, which ours hides
	passing []string // hosts whose own ProxyCommand passes descriptors: left out
	lenient bool     // the config has Stay keywords, which pass because of ours

	jumping []string   // hosts that ask for both ProxyUseFdpass and ProxyJump, which jumps are not for
	jumps   [][]string // lists of patterns of hosts that may; the first has none of !
}

const (
	header       = "# Written by `ssh-stay setup`, and replaced by it. To undo: ssh-stay setup --undo"
	forPrefix    = "# for: "
	madePrefix   = "# made: "
	stanzaPrefix = "# setup "
)

// text is our whole file. Every setting stands under a Host line: of the file
// that includes us nothing is captured, since Include restores the block.
func (r *rendering) text() string {
	var b strings.Builder
	b.WriteString(header + "\n" + forPrefix + r.config + "\n")
	if len(r.created) > 0 {
		b.WriteString(madePrefix + strings.Join(r.created, " ") + "\n")
	}
	if r.lenient || slices.ContainsFunc(r.stanzas, stanza.hasKeywords) {
		b.WriteString("IgnoreUnknown " + strings.Join(r.ignores(), ",") + "\n")
	}
	b.WriteString(r.jumpBlocks())
	for i, s := range r.stanzas {
		b.WriteString("\n" + stanzaPrefix + s.arguments() + "\n")
		b.WriteString(r.block(s, r.stanzas[:i]))
	}
	return b.String()
}

// hasKeywords says that there are keywords that ssh does not know.
func (s stanza) hasKeywords() bool { return s.resume != "" || s.interval != "" }

// ignores is a list that keeps what the user's own lines ignore: in ssh_config
// the first IgnoreUnknown wins, and ours is the first. It would hide one that the
// user adds later, too, so that it is written only where it is needed.
func (r *rendering) ignores() []string {
	list := []string{"Stay*"}
	for _, p := range r.ignored {
		if !slices.ContainsFunc(list, func(have string) bool { return strings.EqualFold(have, p) }) {
			list = append(list, p)
		}
	}
	return list
}

// hosts are the patterns of a stanza's Host line.
func (r *rendering) hosts(s stanza) []string {
	hosts := []string{s.pattern}
	for _, p := range append(slices.Clone(s.except), r.passing...) {
		if p != s.pattern {
			hosts = append(hosts, "!"+p)
		}
	}
	return hosts
}

func (r *rendering) block(s stanza, before []stanza) string {
	hosts := r.hosts(s)
	block := "Host " + strings.Join(hosts, " ") + "\n    ProxyCommand " + r.command + "\n"
	if s.interval != "" {
		block += "    StayInterval " + s.interval + "\n"
	}
	if s.resume == "" {
		return block
	}
	block += "    StayResume " + s.resume + "\n"
	if s.resume == "no" {
		return block
	}
	// The probes of the inner ssh go on while the line is down, and would end a
	// session that could be resumed. A stream of ours is no socket to pass.
	for _, other := range before {
		if other.resume == "no" && len(hosts) < maxPatterns {
			hosts = append(hosts, "!"+other.pattern)
		}
	}
	if last := "Host " + strings.Join(hosts, " ") + "\n"; !strings.HasPrefix(block, last) {
		block += last
	}
	return block + "    ServerAliveInterval 0\n    ProxyUseFdpass no\n"
}

const maxPatterns = 1000

// paste is the same for a config that we cannot write. At its end it returns to
// where lines are for all hosts, as they are at the top of a config.
func (r *rendering) paste() string {
	var b strings.Builder
	for l := range strings.Lines(r.text()) {
		if !strings.HasPrefix(l, "#") && l != "\n" {
			b.WriteString(l)
		}
	}
	return b.String() + "Host *\n"
}

func (s stanza) arguments() string {
	var args []string
	if s.resume != "" {
		args = append(args, "--resume", s.resume)
	}
	if s.interval != "" {
		args = append(args, "--interval", s.interval+"s")
	}
	args = append(args, s.pattern)
	for _, p := range s.except {
		args = append(args, "!"+p)
	}
	return strings.Join(args, " ")
}

// made is what our file says of itself.
type made struct {
	stanzas []stanza
	created []string
}

// parseOwn reads our file back: the comments say what was asked for.
func parseOwn(text []byte, config string) (*made, error) {
	lines := strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	if lines[0] != header {
		return nil, errNotOurs
	}
	m := &made{}
	for _, l := range lines[1:] {
		if path, ok := strings.CutPrefix(l, forPrefix); ok && path != config {
			return nil, &otherConfigError{path}
		}
		if what, ok := strings.CutPrefix(l, madePrefix); ok {
			m.created = strings.Fields(what)
		}
		if args, ok := strings.CutPrefix(l, stanzaPrefix); ok {
			s, err := parseStanza(strings.Fields(args))
			if err != nil {
				return nil, fmt.Errorf("line %q: %w", l, err)
			}
			m.stanzas = append(m.stanzas, s)
		}
	}
	return m, nil
}

var errStanza = errors.New("is not as ssh-stay setup has written it")

func parseStanza(args []string) (stanza, error) {
	var s stanza
	for len(args) > 1 && strings.HasPrefix(args[0], "--") {
		switch args[0] {
		case "--resume":
			s.resume = args[1]
		case "--interval":
			s.interval = strings.TrimSuffix(args[1], "s")
		}
		args = args[2:]
	}
	if len(args) == 0 || strings.HasPrefix(args[0], "!") || !slices.Contains([]string{"", "no", "jump", "target"}, s.resume) {
		return s, errStanza
	}
	if _, err := strconv.ParseUint(s.interval, 10, 32); err != nil && s.interval != "" {
		return s, errStanza
	}
	s.pattern = args[0]
	for _, p := range args {
		if checkPattern(p) != nil {
			return s, errStanza
		}
	}
	for _, p := range args[1:] {
		bare, negated := strings.CutPrefix(p, "!")
		if !negated {
			return s, errStanza
		}
		s.except = append(s.except, bare)
	}
	return s, nil
}
