package config

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ssh-stay/pattern"
)

// UnsupportedError is a setting that this package cannot evaluate, though an ssh
// may: a keyword, criterion or algorithm that is newer than it knows, or a name
// that only DNS can tell. Resolve then asks ssh, where it may.
type UnsupportedError struct {
	at   pos
	what string
}

func (e *UnsupportedError) Error() string {
	if e.at == (pos{}) {
		return e.what
	}
	return e.at.String() + ": " + e.what
}

// value is what one line gives a keyword.
type value struct {
	pos
	args []string // as `ssh -G` prints them
	user bool     // from the user's file, not the system's
}

func (v value) String() string { return strings.Join(v.args, " ") }

// evaluator walks configuration lines for one host. The first value of a
// keyword wins, except of those that accumulate.
type evaluator struct {
	Query
	exec func(command string) (bool, error) // runs a command of Match exec
	ssh  func() dialect                     // of the installed ssh; takes 2 ms the first time
	self string                             // base name of this program, to look past our own ProxyCommand

	final     bool // second pass, for Match final
	wantFinal bool // a Match final was seen
	own       bool // our own ProxyCommand would have won
	host      string
	values    map[string]value
	lists     map[string][]value
	files     map[string][]line // those that were read, by name

	token func(token byte, host string) (string, error) // asks ssh for %C or %j
	asked []string                                      // what `ssh -G` printed, where it was asked
}

func newEvaluator(ctx context.Context, q Query, ssh func() dialect) *evaluator {
	e := &evaluator{
		Query: q, exec: execer(ctx), ssh: ssh, self: selfName(), host: q.Host,
		values: map[string]value{}, lists: map[string][]value{}, files: map[string][]line{},
	}
	e.token = func(token byte, host string) (string, error) { return e.sshToken(ctx, token, host) }
	return e
}

// run evaluates the command line, then the files in order, and a second time
// where Match final or canonicalization asks for it (ssh.c).
func (e *evaluator) run() error {
	if err := e.options(); err != nil {
		return err
	}
	if err := e.pass(); err != nil {
		return err
	}
	host, err := e.hostName()
	if err != nil {
		return err
	}
	if e.host, err = e.canonical(host); err != nil {
		return err
	}
	for name, def := range map[string]string{
		"canonicalizehostname": "false", "canonicalizemaxdots": "1", "canonicalizefallbacklocal": "yes",
	} {
		e.first(name, value{args: []string{def}}) // the second pass does not change them
	}
	if !e.wantFinal && e.word("canonicalizehostname", "") == "false" {
		return nil
	}
	e.final = true
	return e.pass()
}

// settle is what ssh does between reading the files and using them.
func (e *evaluator) settle() error {
	if v, ok := e.values["hostkeyalias"]; ok {
		e.values["hostkeyalias"] = value{v.pos, []string{pattern.Lower(v.args[0])}, v.user}
	}
	if v, ok := e.values["connectionattempts"]; ok && v.args[0] == "0" {
		return fmt.Errorf("%s: Invalid number of ConnectionAttempts", v.pos)
	}
	return nil
}

func (e *evaluator) options() error {
	for _, opt := range e.Options {
		l, ok := scanLine(opt)
		if !ok {
			continue
		}
		l.file = commandLine
		if l.keyword == "proxyjump" {
			if _, err := ParseJumps(l.rest); err != nil {
				return err
			}
		}
		if kw, _ := find(l.keyword); kw.form == refused {
			return fmt.Errorf("%s: %s cannot be an option", commandLine, l.keyword)
		}
		if err := e.set(l, true, true); err != nil {
			return err
		}
	}
	if v, ok := e.values["user"]; ok { // as ssh since 10.3, before anything expands it
		return CheckUser(v.args[0])
	}
	return nil
}

func failAt(l line, err error) error {
	if u, ok := err.(*UnsupportedError); ok {
		return &UnsupportedError{l.pos, l.keyword + ": " + u.what}
	}
	return fmt.Errorf("%s: %s: %w", l.pos, l.keyword, err)
}

// set reads a setting, and records its value if its block applies and no earlier
// one has won. What is wrong with it is an error in any block.
func (e *evaluator) set(l line, active, user bool) error {
	if l.rest == "" {
		return failAt(l, errMissing)
	}
	args, err := words(l.rest)
	if err != nil {
		return failAt(l, err)
	}
	kw, known := e.lookup(l)
	if !known {
		if e.ignores(l.keyword) {
			return nil
		}
		return &UnsupportedError{l.pos, "Bad configuration option: " + l.keyword}
	}
	if isStay(kw.name) && l.line > 0 && !e.ignores(kw.name) { // or ssh would refuse the file
		return fmt.Errorf("%s: Bad configuration option: %s (without IgnoreUnknown Stay*)", l.pos, l.keyword)
	}
	if kw.form == ofLine {
		return e.setLine(kw, l, active)
	}
	out, err := kw.read(args)
	if err == nil && kw.family != 0 {
		err = kw.family.checkNames(out[0], e.ssh)
	}
	if err == nil && kw.name == "revokedhostkeys" && len(out) > 1 && e.ssh().version < v10_3 {
		err = errExtra
	}
	if err == nil && len(args) == 0 && e.wantsWord(kw) {
		err = errMissing
	}
	if err != nil {
		return failAt(l, err)
	}
	if len(out) == 0 || !active && kw.form != always {
		return nil
	}
	return e.record(kw, value{l.pos, out, user})
}

// wantsWord says whether a list may not be empty.
func (e *evaluator) wantsWord(kw keyword) bool {
	switch kw.name {
	case "revokedhostkeys", "permitremoteopen":
		return true
	case "sendenv", "setenv", "canonicaldomains", "canonicalizepermittedcnames", "channeltimeout":
		return e.ssh().version >= v10_0
	}
	return false
}

func (e *evaluator) lookup(l line) (keyword, bool) {
	kw, ok := find(alias(l.keyword))
	known := ok && (kw.since == 0 || e.ssh().version >= kw.since) && (!debianOnly(l.keyword) || e.ssh().debian)
	return kw, known
}

func isStay(keyword string) bool { return strings.HasPrefix(keyword, "stay") }

func (e *evaluator) ignores(name string) bool {
	v, ok := e.values["ignoreunknown"]
	return ok && pattern.MatchAny(name, strings.Split(v.args[0], ","))
}

// record keeps a value by the rules of its keyword.
func (e *evaluator) record(kw keyword, v value) error {
	switch kw.name {
	case "streamlocalbindmask": // readconf.c sets it each time
		e.values[kw.name] = v
	case "rekeylimit":
		e.first("rekeylimit", value{v.pos, v.args[:1], v.user})
		if v.args[1] != "" {
			e.first("rekeytime", value{v.pos, v.args[1:], v.user})
		}
	case "forwardagent":
		if word := v.args[0]; word != "yes" && word != "no" {
			e.first("forwardagentpath", v)
			v.args = []string{"yes"}
		}
		e.first(kw.name, v)
	case "sendenv":
		e.sendEnv(v)
	case "dynamicforward":
		return e.add("localforward", v)
	case "refuseconnection":
		return fmt.Errorf("%s: RefuseConnection: %s", v.pos, v)
	case "logverbose": // readconf.c takes the first word alone
		e.first(kw.name, value{v.pos, v.args[:1], v.user})
	case "globalknownhostsfile", "userknownhostsfile", "canonicaldomains", "canonicalizepermittedcnames":
		if len(v.args) > maxEntries && !e.has(kw.name) && (strings.HasSuffix(kw.name, "file") || e.ssh().version < v10_0) {
			return fmt.Errorf("%s: %s: too many entries (max %d)", v.pos, kw.name, maxEntries)
		}
		e.first(kw.name, v)
	default:
		if kw.form == inList {
			return e.add(kw.name, v)
		}
		e.first(kw.name, v)
	}
	return nil
}

func (e *evaluator) first(name string, v value) {
	if _, ok := e.values[name]; !ok {
		e.values[name] = v
	}
}

// How many identity and certificate files, and how many words of some lists,
// OpenSSH takes.
const (
	maxFiles   = 100
	maxEntries = 32
)

// add appends to a list what it does not hold. The system's files count by
// themselves, as in ssh.
func (e *evaluator) add(name string, v value) error {
	isFile := name == "identityfile" || name == "certificatefile"
	if isFile && len(e.lists[name]) == maxFiles {
		return fmt.Errorf("%s: %s: too many files (max %d)", v.pos, name, maxFiles)
	}
	for _, have := range e.lists[name] {
		if slices.Equal(have.args, v.args) && (!isFile || have.user == v.user) {
			return nil
		}
	}
	e.lists[name] = append(e.lists[name], v)
	return nil
}

// sendEnv adds names, and takes out those that match -PATTERN.
func (e *evaluator) sendEnv(v value) {
	list := e.lists["sendenv"]
	for _, arg := range v.args {
		if pat, remove := strings.CutPrefix(arg, "-"); remove {
			list = slices.DeleteFunc(list, func(have value) bool { return pattern.Match(have.args[0], pat) })
		} else {
			list = append(list, value{v.pos, []string{arg}, v.user})
		}
	}
	e.lists["sendenv"] = list
}

// setLine records a command, a jump list, or another value that is the rest of
// its line. ProxyCommand and ProxyJump are one slot: the first wins, but since
// OpenSSH 10.3, and Debian's 9.2, `ProxyJump none` does not keep a later
// ProxyCommand out. Our own ProxyCommand counts as absent: we look past it.
func (e *evaluator) setLine(kw keyword, l line, active bool) error {
	text := strings.TrimLeft(l.rest, blanks+"=")
	_, hasCommand := e.values["proxycommand"]
	jump, hasJump := e.values["proxyjump"]
	switch kw.name {
	case "versionaddendum":
		if strings.EqualFold(text, "none") {
			text = ""
		}
	case "proxyjump":
		text = e.jumpList(text)
		if _, err := parseJumps(text, false); err != nil {
			return failAt(l, err)
		}
		active = active && !hasJump && (!hasCommand || strings.EqualFold(text, "none"))
	case "proxycommand":
		active = active && (!hasJump || strings.EqualFold(jump.args[0], "none") && (e.ssh().debian || e.ssh().version >= v10_3))
		if active && isOwnCommand(text, e.self) {
			e.own = e.own || !hasCommand
			return nil
		}
	}
	if active {
		e.first(kw.name, value{pos: l.pos, args: []string{text}})
	}
	return nil
}

// jumpList takes a comment off, and blanks at the end. Up to OpenSSH 10.0 the
// list ended at its first blank. "none" is a host where a comment follows.
func (e *evaluator) jumpList(text string) string {
	if strings.EqualFold(text, "none") {
		return text
	}
	list, _, _ := strings.Cut(text, "#")
	first := min(1, len(list)) // ssh leaves the first byte, whatever it is
	list = list[:first] + strings.TrimRight(list[first:], space)
	if i := strings.IndexAny(list[first:], space); i >= 0 && e.ssh().version < v10_1 {
		list = list[:first+i]
	}
	if strings.EqualFold(list, "none") {
		return "[" + list + "]"
	}
	return list
}

// word is the value of a keyword that has one word, or def.
func (e *evaluator) word(name, def string) string {
	if v, ok := e.values[name]; ok {
		return v.args[0]
	}
	return def
}

func (e *evaluator) has(name string) bool {
	_, ok := e.values[name]
	return ok
}
