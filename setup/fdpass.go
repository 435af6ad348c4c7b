package setup

import (
	"errors"
	"slices"
	"strings"

	"ssh-stay/pattern"
)

// ErrIndirect is a host that would ask for ProxyUseFdpass, and has a jump host.
var ErrIndirect = errors.New("ProxyUseFdpass yes needs a direct route")

// mayJump notes the patterns of a block with a ProxyJump. It need not be what ssh
// takes: a host that is here too many dials well, and one too few not at all.
func (r *rendering) mayJump(patterns []string) {
	odd := func(p string) bool { return checkPattern(p) != nil }
	negated := func(p string) bool { return strings.HasPrefix(p, "!") }
	switch {
	case slices.Contains(r.jumps[0], "*"):
	case slices.Equal(patterns, []string{"*"}) || slices.ContainsFunc(patterns, odd):
		r.jumps = [][]string{{"*"}}
	case slices.ContainsFunc(patterns, negated):
		r.jumps = append(r.jumps, patterns)
	default:
		for _, p := range patterns {
			if !slices.Contains(r.jumps[0], p) {
				r.jumps[0] = append(r.jumps[0], p)
			}
		}
	}
}

// keepsFromPassing says that jumpBlocks are for a host.
func (r *rendering) keepsFromPassing(name string) bool {
	matches := func(list []string) bool { return pattern.MatchList(name, list) }
	return slices.ContainsFunc(r.jumps, matches) &&
		slices.ContainsFunc(r.stanzas, func(s stanza) bool { return matches(r.hosts(s)) })
}

// jumpBlocks keep hosts with a ProxyJump from asking for ProxyUseFdpass as well:
// ssh itself passes no descriptor over one; ours could not. They are for those
// alone that are in a stanza and in a list of jumps, which takes a Match line
// where neither is of all hosts.
func (r *rendering) jumpBlocks() string {
	var b strings.Builder
	block := func(line string) { b.WriteString("\n" + line + "\n    ProxyUseFdpass no\n") }
	if len(r.jumping) > 0 {
		block("Host " + strings.Join(r.jumping, " "))
	}
	for _, s := range r.stanzas {
		hosts := r.hosts(s)
		for _, list := range r.jumps {
			isName := !strings.ContainsAny(s.pattern, "*?")
			switch {
			case len(list) == 0 || isName && !pattern.MatchList(s.pattern, list):
			case isName || slices.Equal(list, []string{"*"}):
				block("Host " + strings.Join(hosts, " "))
			case slices.Equal(hosts, []string{"*"}):
				block("Host " + strings.Join(list, " "))
			default:
				block("Match originalhost " + strings.Join(hosts, ",") + " originalhost " + strings.Join(list, ","))
			}
		}
	}
	return b.String()
}
