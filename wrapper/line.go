// Package wrapper stands in for ssh on its command line: it takes that apart as
// ssh's own main does, puts ssh-stay between ssh and the network, and finds the
// real ssh. It runs nothing, and what the files say it asks of config.
package wrapper

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"ssh-stay/config"
)

// Line is a command line of ssh's, without the program's name.
type Line struct {
	Host    string   // the destination's host as typed, which selects the blocks; "" for none
	File    string   // -F
	Jump    string   // -J
	Options []string // KEY=VALUE: all that is a setting, of a kind the first counts
	Verbose int      // how many -v

	// Plain is a line to leave as it is: one that connects with nobody (-V, -G,
	// -Q), or that ssh refuses, for ssh to say why.
	Plain bool

	args   []string
	over   []string // settings that win over what came before them
	level  int      // what -q and -v made of LogLevel; -1 for nothing
	set    []string // which of user, port and tag have been
	chosen bool     // a ProxyCommand or ProxyJump has been seen
	ended  bool     // ssh reads no further: it has what it wants, or gives up
	cuts   []cut
}

// cut is an option that ssh shall not see.
type cut struct {
	arg, letter int  // where its letter stands
	separate    bool // its value is the next argument
	kind        cutKind
}

type cutKind int

const (
	stayOption   cutKind = iota // ssh does not know it
	jumpOption                  // the proxy's
	socketOption                // -S, where we say it
)

const (
	flags  = "1246afgknqstvxACGKMNTVXYy"
	valued = "bceilmopBDEFIJLOQRSwW" // and P, from OpenSSH 9.4 on
)

// settings are the options that say what -o can say too; over: the last one
// counts, and more than any -o (main, ssh.c).
var settings = map[byte]struct {
	keyword, value string
	over           bool
}{
	'4': {"AddressFamily", "inet", true},
	'6': {"AddressFamily", "inet6", true},
	'K': {"GSSAPIAuthentication", "yes", true},
	'b': {"BindAddress", "", true},
	'B': {"BindInterface", "", true},
	'c': {"Ciphers", "", true},
	'I': {"PKCS11Provider", "", true},
	'm': {"MACs", "", true},
	'S': {"ControlPath", "", true},
	'i': {"IdentityFile", "", false},
	'l': {"User", "", false},
	'p': {"Port", "", false},
	'P': {"Tag", "", false},
}

// levels are LogLevel's in their order, which -v climbs from where -q has put it
// (main, ssh.c).
var levels = [...]string{"QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG1", "DEBUG2", "DEBUG3"}

// Parse takes the arguments apart. tagged says whether this ssh's -P takes a
// value, and is asked only where there is one.
func Parse(args []string, tagged func() bool) *Line {
	l := &Line{args: args, level: -1}
	next, last := l.options(0, tagged)
	if next < len(args) {
		l.destination(args[next])
	}
	if !last {
		l.options(next+1, tagged) // ssh goes on until a command begins
	}
	l.Plain = l.Plain || l.ended || l.Host == ""
	if l.level >= 0 {
		l.over = append(l.over, "LogLevel="+levels[l.level])
	}
	l.Options = append(l.over, l.Options...)
	return l
}

// options reads options from args[i] on, as getopt does, up to the first word
// that is none. last: they ended by a "--", also by one that is an option's value,
// which ssh takes for the same.
func (l *Line) options(i int, tagged func() bool) (next int, last bool) {
	start := i
	for ; i < len(l.args) && !l.ended; i++ {
		arg := l.args[i]
		if arg == "--" {
			return i + 1, true
		}
		if len(arg) < 2 || arg[0] != '-' {
			break
		}
		i = l.cluster(i, tagged)
	}
	return i, i > start && i <= len(l.args) && l.args[i-1] == "--"
}

// cluster reads the options of one argument, and returns the last argument that
// it took.
func (l *Line) cluster(i int, tagged func() bool) int {
	arg := l.args[i]
	for at := 1; at < len(arg) && !l.ended; at++ {
		letter := arg[at]
		takes := strings.IndexByte(valued, letter) >= 0 || letter == 'P' && tagged()
		switch {
		case !takes:
			l.flag(letter)
		case at+1 < len(arg):
			l.option(letter, arg[at+1:], cut{arg: i, letter: at})
			return i
		case i+1 < len(l.args):
			l.option(letter, l.args[i+1], cut{arg: i, letter: at, separate: true})
			return i + 1
		default:
			l.ended = true
		}
	}
	return i
}

func (l *Line) flag(letter byte) {
	switch {
	case letter == 'v' && l.Verbose == 0:
		l.Verbose, l.level = 1, slices.Index(levels[:], "DEBUG1")
	case letter == 'v':
		l.Verbose, l.level = l.Verbose+1, min(l.level+1, len(levels)-1)
	case letter == 'q':
		l.level = 0
	case letter == 'G':
		l.Plain = true
	case letter == 'V':
		l.ended = true
	case letter == 'P': // means nothing
	case strings.IndexByte(flags, letter) >= 0:
		if s, ok := settings[letter]; ok {
			l.over = append([]string{s.keyword + "=" + s.value}, l.over...)
		}
	default:
		l.ended = true
	}
}

func (l *Line) option(letter byte, value string, c cut) {
	switch letter {
	case 'Q':
		l.ended = true
	case 'F':
		l.File = value
	case 'J':
		// A second one is an error of ssh's, and so is one behind -o ProxyCommand,
		// or one that names nobody.
		_, err := config.ParseJumps(value)
		l.ended = l.chosen || err != nil
		l.Jump, l.chosen = value, true
		c.kind = jumpOption
		l.cuts = append(l.cuts, c)
	case 'o':
		l.Options = append(l.Options, value)
		switch keyword := keyword(value); {
		case keyword == "user" || keyword == "port" || keyword == "tag":
			l.first(keyword)
		case keyword == "proxycommand" || keyword == "proxyjump":
			l.chosen = true
		case strings.HasPrefix(keyword, "stay"):
			l.cuts = append(l.cuts, c)
		}
	default:
		if letter == 'S' {
			c.kind = socketOption
			l.cuts = append(l.cuts, c)
		}
		s, ok := settings[letter]
		switch set := s.keyword + "=" + configWord(value); {
		case letter == 'i' && !isThere(value): // ssh warns, and does without
		case ok && s.over:
			l.over = append([]string{set}, l.over...)
		case ok && (letter == 'i' || l.first(strings.ToLower(s.keyword))):
			l.Options = append(l.Options, set)
		}
	}
}

// isThere says whether ssh finds a file of its command line.
func isThere(path string) bool {
	path, err := config.Tilde(path)
	if err == nil {
		_, err = os.Stat(path)
	}
	return err == nil
}

// first says whether a keyword has not been set before: ssh does not even look at
// what comes then.
func (l *Line) first(keyword string) bool {
	seen := slices.Contains(l.set, keyword)
	l.set = append(l.set, keyword)
	return !seen
}

// destination is [user@]host or ssh://[user@]host[:port].
func (l *Line) destination(text string) {
	if strings.HasPrefix(text, "ssh://") {
		jumps, err := config.ParseJumps(text)
		if err != nil || len(jumps) != 1 {
			l.ended = true
			return
		}
		to := jumps[0]
		l.Host = to.Host
		if to.User != "" && l.first("user") {
			l.Options = append(l.Options, "User="+configWord(to.User))
		}
		if to.Port != 0 && l.first("port") {
			l.Options = append(l.Options, "Port="+strconv.Itoa(to.Port))
		}
		return
	}
	l.Host = text
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		l.Host = text[at+1:]
		if l.first("user") {
			l.Options = append(l.Options, "User="+configWord(text[:at]))
		}
	}
	l.ended = l.ended || strings.HasPrefix(text, "@")
}

// keyword is the first word of a configuration line, in lower case.
func keyword(line string) string {
	line = strings.TrimLeft(line, " \t\r\n")
	end := " \t\r\n="
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		line, end = quoted, `"`
	}
	if i := strings.IndexAny(line, end); i >= 0 {
		line = line[:i]
	}
	return strings.ToLower(line)
}

// configWord makes one word of a value for a configuration line.
func configWord(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\r\n\"'\\#=") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// remaining are the arguments for ssh, without options of these kinds.
func (l *Line) remaining(without ...cutKind) []string {
	args := slices.Clone(l.args)
	for _, c := range slices.Backward(l.cuts) {
		if !slices.Contains(without, c.kind) {
			continue
		}
		if c.separate {
			args = slices.Delete(args, c.arg+1, c.arg+2)
		}
		if args[c.arg] = args[c.arg][:c.letter]; c.letter == 1 {
			args = slices.Delete(args, c.arg, c.arg+1)
		}
	}
	return args
}
