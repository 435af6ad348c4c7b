package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"

	"ssh-stay/pattern"
)

// hostLine evaluates `Host PATTERN...`: a negated match excludes the block.
// Case counts, unlike in Match host.
func (e *evaluator) hostLine(l line) (bool, error) {
	if l.rest == "" {
		return false, failAt(l, errMissing)
	}
	patterns, err := words(l.rest)
	if err != nil {
		return false, failAt(l, err)
	}
	found := false
	for _, p := range patterns {
		if p == "" {
			return false, failAt(l, errors.New("empty argument"))
		}
		p, negated := strings.CutPrefix(p, "!")
		if pattern.Match(e.host, p) {
			if negated {
				return false, nil
			}
			found = true
		}
	}
	return found, nil
}

// criterion is one condition of a Match line.
type criterion struct {
	name    string
	negated bool
	value   string
}

// matchLine evaluates `Match CRITERION...`: all must hold.
func (e *evaluator) matchLine(l line) (bool, error) {
	if l.rest == "" {
		return false, failAt(l, errMissing)
	}
	list, err := e.criteria(l.rest)
	if err != nil {
		return false, failAt(l, err)
	}
	result := true
	for _, c := range list {
		ok, err := e.holds(c, result)
		if err != nil {
			return false, failAt(l, err)
		}
		result = result && ok != c.negated
	}
	return result, nil
}

// criteria parses the line. OpenSSH 9.9 changed how: up to then strdelim split
// it, which knows double quotes alone and takes one = for a blank. Where the two
// ways differ, the installed ssh decides.
func (e *evaluator) criteria(text string) ([]criterion, error) {
	args, err := words(text)
	if err != nil {
		return nil, err
	}
	after, errAfter := splitCriteria(args, true)
	before, errBefore := splitCriteria(delimited(text), false)
	if slices.Equal(after, before) && (errAfter == nil) == (errBefore == nil) || e.ssh().version >= v9_9 {
		return after, errAfter
	}
	return before, errBefore
}

// delimited splits by strdelim. An empty word ends the line, and is an argument
// too many where more follows.
func delimited(text string) []string {
	var out []string
	for more := true; more && text != ""; {
		var word string
		var ok bool
		if word, text, more, ok = nextWord(text); !ok {
			break
		}
		if word == "" && text == "" {
			break
		}
		out = append(out, word)
	}
	return out
}

// splitCriteria parses words. joined says that name=value is one word.
func splitCriteria(args []string, joined bool) ([]criterion, error) {
	var out []criterion
	for len(args) > 0 && !strings.HasPrefix(args[0], "#") {
		word := args[0]
		args = args[1:]
		if word == "" {
			return nil, errExtra
		}
		name, negated := strings.CutPrefix(word, "!")
		c := criterion{name: pattern.Lower(name), negated: negated}
		switch c.name {
		case "all":
			if len(out) > 1 || len(args) > 0 && args[0] != "" && !strings.HasPrefix(args[0], "#") {
				return nil, fmt.Errorf("%q cannot be combined with other Match attributes", word)
			}
			return append(out, c), nil
		case "canonical", "final":
			out = append(out, c)
			continue
		}
		if left, right, ok := strings.Cut(name, "="); joined && ok && joinable(left) {
			c.name, c.value = pattern.Lower(left), right
		} else if len(args) == 0 {
			return nil, fmt.Errorf("missing argument for %q", word)
		} else {
			c.value, args = args[0], args[1:]
		}
		empty := c.value == "" && c.name != "tagged" && c.name != "command"
		if empty || strings.HasPrefix(c.value, "#") {
			return nil, fmt.Errorf("missing argument for %q", word)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("one or more attributes required")
	}
	return out, nil
}

// joinable lists the criteria that OpenSSH 9.9 takes as name=value.
func joinable(name string) bool {
	switch strings.ToLower(name) {
	case "host", "originalhost", "user", "localuser", "localnetwork", "version", "tagged", "command", "exec":
		return true
	}
	return false
}

// holds evaluates a criterion. A command is run only while all criteria before
// it held, as ssh does.
func (e *evaluator) holds(c criterion, reached bool) (bool, error) {
	patterns := strings.Split(c.value, ",")
	switch c.name {
	case "all":
		return true, nil
	case "final":
		// Until 10.0 `!final` asked for a second pass too; 10.3 does not.
		if !e.wantFinal && (!c.negated || e.ssh().version < v10_1) {
			e.wantFinal = true
		}
		return e.final, nil
	case "canonical":
		return e.final, nil
	case "host":
		host, err := e.matchHost()
		return pattern.MatchAny(host, patterns), err
	case "originalhost":
		return pattern.MatchAny(e.Host, patterns), nil
	case "user":
		return pattern.MatchList(e.user(), patterns), nil
	case "localuser":
		return pattern.MatchList(e.LocalUser, patterns), nil
	case "exec":
		command, err := e.expandTokens(c.value)
		if err != nil || !reached {
			return false, err
		}
		return e.exec(command)
	}
	return e.holdsNewer(c, patterns)
}

// holdsNewer evaluates what OpenSSH 9.2 does not know. The command and the kind
// of session are those of a login shell: a ProxyCommand is not told of others.
func (e *evaluator) holdsNewer(c criterion, patterns []string) (bool, error) {
	since := map[string]version{"localnetwork": v9_4, "tagged": v9_4, "version": v10_0, "sessiontype": v10_0, "command": v10_0}[c.name]
	if since == 0 || e.ssh().version < since {
		return false, &UnsupportedError{what: fmt.Sprintf("unsupported Match attribute %q", c.name)}
	}
	orEmpty := func(s string) bool {
		return s == "" && c.value == "" || s != "" && pattern.MatchList(s, patterns)
	}
	switch c.name {
	case "localnetwork":
		return localNetwork(patterns)
	case "tagged":
		return orEmpty(e.word("tag", "")), nil
	case "version":
		return pattern.MatchList(e.ssh().release, patterns), nil
	case "command":
		return orEmpty(""), nil
	}
	session := e.word("sessiontype", "default")
	if session == "default" {
		session = "shell"
	}
	return pattern.MatchList(session, patterns), nil
}

// localNetwork says whether an address of an interface that is up lies in one of
// the networks.
func localNetwork(networks []string) (bool, error) {
	var prefixes []netip.Prefix
	for _, n := range networks {
		p, err := netip.ParsePrefix(n)
		if addr, addrErr := netip.ParseAddr(n); addrErr == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return false, fmt.Errorf("invalid network %q", n)
		}
		if p != p.Masked() {
			return false, fmt.Errorf("inconsistent mask in network %q", n)
		}
		prefixes = append(prefixes, p)
	}
	return slices.ContainsFunc(localAddresses(), func(addr netip.Addr) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	}), nil
}

func localAddresses() []netip.Addr {
	interfaces, _ := net.Interfaces()
	var out []netip.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				out = append(out, p.Addr())
			}
		}
	}
	return out
}

// execer runs commands by the user's shell, as ssh does. When ctx ends, the
// command is killed.
func execer(ctx context.Context) func(string) (bool, error) {
	return func(command string) (bool, error) {
		shell, ok := os.LookupEnv("SHELL")
		if !ok {
			shell = "/bin/sh"
		}
		cmd := exec.CommandContext(ctx, shell, "-c", command)
		cmd.Stderr = os.Stderr
		err := cmd.Run()
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if exit, ok := err.(*exec.ExitError); ok && exit.Exited() {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("command %q: %w", command, err)
		}
		return true, nil
	}
}
