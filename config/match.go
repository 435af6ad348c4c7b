package config

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"ssh-stay/pattern"
)

// hostLine evaluates `Host PATTERN...`: a negated match excludes the block.
// Case counts, unlike in Match host.
func (e *evaluator) hostLine(l line) (bool, error) {
	patterns, err := words(l.rest)
	if err != nil {
		return false, fmt.Errorf("%s: %w", l.pos, err)
	}
	if len(patterns) == 0 {
		return false, fmt.Errorf("%s: host: missing argument", l.pos)
	}
	return pattern.MatchList(e.host, patterns), nil
}

// matchLine evaluates `Match CRITERION...`: all must hold.
func (e *evaluator) matchLine(l line) (bool, error) {
	args, err := words(l.rest)
	if err != nil {
		return false, fmt.Errorf("%s: %w", l.pos, err)
	}
	if len(args) == 0 {
		return false, fmt.Errorf("%s: match: missing argument", l.pos)
	}
	result := true
	for len(args) > 0 {
		var ok bool
		if len(args) > 1 && strings.EqualFold(args[0], "all") {
			return false, fmt.Errorf("%s: match all cannot be combined with other criteria", l.pos)
		}
		if ok, args, err = e.criterion(args, result); err != nil {
			return false, fmt.Errorf("%s: %w", l.pos, err)
		}
		result = result && ok
	}
	return result, nil
}

// criterion takes one criterion off args. A command is run only while all
// criteria before it held, as ssh does.
func (e *evaluator) criterion(args []string, reached bool) (bool, []string, error) {
	name, negated := strings.CutPrefix(args[0], "!")
	args = args[1:]
	name, value, hasValue := strings.Cut(name, "=")
	name = strings.ToLower(name)
	switch name {
	case "all":
		return !negated, args, nil
	case "final", "canonical":
		e.wantFinal = e.wantFinal || name == "final"
		return (e.final) != negated, args, nil
	}
	if !hasValue {
		if len(args) == 0 {
			return false, nil, fmt.Errorf("match %s: missing argument", name)
		}
		value, args = args[0], args[1:]
	}
	ok, err := e.holds(name, value, reached)
	return ok != negated, args, err
}

func (e *evaluator) holds(name, value string, reached bool) (bool, error) {
	patterns := strings.Split(value, ",")
	switch name {
	case "host":
		host, err := e.hostName()
		return pattern.MatchAny(host, patterns), err
	case "originalhost":
		return pattern.MatchAny(e.Host, patterns), nil
	case "user":
		return pattern.MatchList(e.user(), patterns), nil
	case "localuser":
		return pattern.MatchList(e.LocalUser, patterns), nil
	case "exec":
		if !reached {
			return false, nil
		}
		command, err := e.expandTokens(value)
		if err != nil {
			return false, err
		}
		return e.exec(command)
	}
	return false, fmt.Errorf("match %s: this criterion cannot be evaluated yet", name)
}

// execer runs commands by the user's shell, as ssh does. When ctx ends, the
// command is killed.
func execer(ctx context.Context) func(string) (bool, error) {
	return func(command string) (bool, error) {
		cmd := exec.CommandContext(ctx, cmp.Or(os.Getenv("SHELL"), "/bin/sh"), "-c", command)
		cmd.Stderr = os.Stderr
		err := cmd.Run()
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if _, failed := err.(*exec.ExitError); failed {
			return false, nil
		}
		return err == nil, err
	}
}
