package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxIncludeDepth is OpenSSH's READCONF_MAX_DEPTH.
const maxIncludeDepth = 16

// entry is the winning value of one keyword.
type entry struct {
	line
	args []string
}

// evaluator walks configuration lines for one host. The first value of a
// keyword wins, except those that accumulate.
type evaluator struct {
	Query
	exec func(command string) (bool, error) // runs a command of Match exec
	self string                             // base name of this program, to look past our own ProxyCommand

	final     bool // second pass, for Match final
	wantFinal bool // a Match final or canonical was seen
	host      string
	values    map[string]entry
	lists     map[string][]entry
}

// accumulates lists the keywords whose values add up; ssh drops repetitions.
func accumulates(keyword string) bool {
	return keyword == "identityfile" || keyword == "certificatefile"
}

// takesLine lists the keywords whose value is the rest of the line, verbatim.
func takesLine(keyword string) bool {
	switch keyword {
	case "proxycommand", "remotecommand", "localcommand", "knownhostscommand":
		return true
	}
	return false
}

// isTime lists ssh's own keywords of ours whose value is a time.
func isTime(keyword string) bool {
	return keyword == "connecttimeout" || keyword == "serveraliveinterval"
}

func canonicalKeyword(keyword string) string {
	switch keyword {
	case "dsaauthentication":
		return "pubkeyauthentication"
	case "pubkeyacceptedkeytypes":
		return "pubkeyacceptedalgorithms"
	case "hostbasedkeytypes":
		return "hostbasedacceptedalgorithms"
	case "keepalive":
		return "tcpkeepalive"
	}
	return keyword
}

// run evaluates the command line, then the files in order.
func (e *evaluator) run() error {
	e.host = e.Host
	if err := e.pass(); err != nil {
		return err
	}
	if !e.wantFinal {
		return nil
	}
	host, err := e.hostName()
	if err != nil {
		return err
	}
	e.host, e.final = host, true
	return e.pass()
}

func (e *evaluator) pass() error {
	for _, opt := range e.Options {
		lines, err := parse("command line", []byte(optionLine(opt)))
		if err != nil || len(lines) != 1 {
			return fmt.Errorf("command line: bad option %q: want KEY=VALUE", opt)
		}
		l := lines[0]
		l.pos.line = 0
		switch l.keyword {
		case "host", "match", "include":
			return fmt.Errorf("command line: %s cannot be an option", l.keyword)
		}
		if err := e.set(l); err != nil {
			return err
		}
	}
	files, err := e.files()
	if err != nil {
		return err
	}
	for _, f := range files {
		err := e.file(f.name, f.includeDir, true, 0)
		if errors.Is(err, fs.ErrNotExist) && f.optional {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// optionLine turns KEY=VALUE or KEY VALUE into one configuration line.
func optionLine(opt string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(opt) }

// configFile is a file to read, and where its relative includes are found.
type configFile struct {
	name, includeDir string
	optional         bool
}

func (e *evaluator) files() ([]configFile, error) {
	userDir := filepath.Join(e.Home, ".ssh")
	switch {
	case strings.EqualFold(e.File, "none"):
		return nil, nil
	case e.File != "":
		return []configFile{{name: e.File, includeDir: userDir}}, nil
	}
	return []configFile{
		{filepath.Join(userDir, "config"), userDir, true},
		{systemConfig(), filepath.Dir(systemConfig()), true},
	}, nil
}

// file evaluates one file. An inactive parent block makes all of it inactive.
func (e *evaluator) file(name, includeDir string, parent bool, depth int) error {
	if depth > maxIncludeDepth {
		return fmt.Errorf("%s: too many nested Include lines (more than %d)", name, maxIncludeDepth)
	}
	lines, err := parseFile(name)
	if err != nil {
		return err
	}
	active := parent
	for _, l := range lines {
		switch l.keyword {
		case "host":
			active, err = e.hostLine(l)
			active = active && parent
		case "match":
			active, err = e.matchLine(l)
			active = active && parent
		case "include":
			if active {
				err = e.include(l, includeDir, depth)
			}
		default:
			if active {
				err = e.set(l)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *evaluator) include(l line, dir string, depth int) error {
	args, err := words(l.rest)
	if err != nil {
		return fmt.Errorf("%s: %w", l.pos, err)
	}
	if len(args) == 0 {
		return fmt.Errorf("%s: include: missing argument", l.pos)
	}
	for _, arg := range args {
		path, err := e.tilde(arg)
		if err != nil {
			return fmt.Errorf("%s: %w", l.pos, err)
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		found, err := filepath.Glob(path)
		if err != nil {
			return fmt.Errorf("%s: %w", l.pos, err)
		}
		for _, f := range found {
			if err := e.file(f, dir, true, depth+1); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// set records a value unless an earlier one has won.
func (e *evaluator) set(l line) error {
	l.keyword = canonicalKeyword(l.keyword)
	if takesLine(l.keyword) {
		l.rest = strings.TrimLeft(l.rest, blanks+"=")
	}
	ent := entry{line: l, args: []string{l.rest}}
	if !takesLine(l.keyword) {
		args, err := words(l.rest)
		if err != nil {
			return fmt.Errorf("%s: %w", l.pos, err)
		}
		ent.args = args
	}
	if len(ent.args) == 0 || len(ent.args) == 1 && ent.args[0] == "" {
		return fmt.Errorf("%s: %s: missing argument", l.pos, l.keyword)
	}
	if isTime(l.keyword) && strings.EqualFold(ent.args[0], "none") {
		return nil // leaves it to later lines (readconf.c)
	}
	if accumulates(l.keyword) {
		if len(ent.args) > 1 {
			return fmt.Errorf("%s: %s: extra arguments at end of line", l.pos, l.keyword)
		}
		for _, have := range e.lists[l.keyword] {
			if have.args[0] == ent.args[0] {
				return nil
			}
		}
		e.lists[l.keyword] = append(e.lists[l.keyword], ent)
		return nil
	}
	if !e.slotFree(ent) {
		return nil
	}
	if _, ok := e.values[l.keyword]; !ok {
		e.values[l.keyword] = ent
	}
	return nil
}

// slotFree says whether a ProxyCommand or ProxyJump may still be set: the two
// are one slot (readconf.c), but `ProxyJump none` does not keep a later
// ProxyCommand out. Our own ProxyCommand counts as absent: we look past it.
func (e *evaluator) slotFree(ent entry) bool {
	jump, hasJump := e.values["proxyjump"]
	_, hasCommand := e.values["proxycommand"]
	switch ent.keyword {
	case "proxycommand":
		return !isOwnCommand(ent.rest, e.self) && (!hasJump || strings.EqualFold(jump.args[0], "none"))
	case "proxyjump":
		return !hasCommand
	}
	return true
}

// isOwnCommand says whether a ProxyCommand runs `ssh-stay proxy`.
func isOwnCommand(command, self string) bool {
	args, err := words(command)
	if err != nil {
		return false
	}
	if len(args) > 0 && args[0] == "exec" {
		args = args[1:]
	}
	if len(args) < 2 || args[1] != "proxy" {
		return false
	}
	base := args[0][strings.LastIndexAny(args[0], `/\`)+1:]
	base = strings.TrimSuffix(base, ".exe")
	called := filepath.Base(os.Args[0])
	return base == "ssh-stay" || base == self || base == strings.TrimSuffix(called, ".exe")
}
