package setup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// scan is what the lines of the configs mention, whichever block they are in. It
// is a reading by eye: what follows from it, ssh is asked about.
type scan struct {
	home    string
	names   []string   // hosts to ask about, those without wildcards first
	samples []string   // patterns, to ask about a name made of each
	ignored []string   // patterns of IgnoreUnknown
	passing [][]string // patterns of Host blocks whose own ProxyCommand passes descriptors
	jumps   [][]string // patterns of blocks with a ProxyJump
	fdpass  bool       // hosts that no line names may have ProxyUseFdpass yes

	seen  map[string]bool
	block block
}

type block struct {
	patterns              []string // of its Host line
	reach                 []string // of hosts that it may be for; none where those are asked about by name
	command, jump, fdpass bool
}

// Hosts are the names that the lines of a user's config mention, without patterns,
// in order of appearance; 200 at most. One with user, port or scheme, which no
// Host line is for, is not among them.
func Hosts(home, config string) []string {
	s := &scan{home: home, seen: map[string]bool{}}
	s.file(config, 0)
	return slices.DeleteFunc(s.names, func(name string) bool { return checkPattern(name) != nil })
}

// maxDepth is OpenSSH's bound on nested Include lines.
const maxDepth = 16

func (s *scan) file(path string, depth int) {
	if depth > maxDepth || s.seen[path] {
		return
	}
	// To open a pipe would wait for its writer.
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return // ssh tells what is wrong with it
	}
	s.seen[path] = true
	s.text(string(text), filepath.Dir(path), depth)
}

// text reads one file's lines; dir is where the system's relative includes are.
func (s *scan) text(text, dir string, depth int) {
	outer := s.block
	s.block = block{reach: outer.reach}
	if depth == 0 {
		s.block.reach = []string{"*"}
	}
	for line := range strings.Lines(text) {
		words := fields(line)
		if len(words) < 2 || strings.HasPrefix(words[0], "#") {
			continue
		}
		args := words[1:]
		switch strings.ToLower(words[0]) {
		case "host":
			s.end()
			s.block.patterns, s.block.reach = args, args
			for _, p := range args {
				s.name(strings.TrimPrefix(p, "!"))
			}
		case "match":
			s.end()
			s.match(args)
		case "include":
			for _, arg := range args {
				s.include(arg, dir, depth)
			}
		case "ignoreunknown":
			s.ignore(args[0])
		case "proxycommand":
			s.block.command = !strings.EqualFold(args[0], "none")
		case "proxyjump":
			s.block.jump = !strings.EqualFold(args[0], "none")
		case "proxyusefdpass":
			s.block.fdpass = strings.EqualFold(args[0], "yes") || strings.EqualFold(args[0], "true")
		}
	}
	s.end()
	s.block = outer
}

// end closes a block.
func (s *scan) end() {
	b := s.block
	if b.command && b.fdpass && len(b.patterns) > 0 {
		s.passing = append(s.passing, b.patterns)
	}
	if b.jump && len(b.reach) > 0 {
		s.jumps = append(s.jumps, b.reach)
	}
	s.fdpass = s.fdpass || b.fdpass && slices.ContainsFunc(b.reach, isWild)
	s.block = block{}
}

// match takes any host for one that the block may be for, unless the line says
// which, by patterns of what the user types, or by names.
func (s *scan) match(args []string) {
	s.block.reach = []string{"*"}
	for i := 0; i+1 < len(args); i++ {
		key := strings.ToLower(args[i])
		if key != "host" && key != "originalhost" {
			continue
		}
		list := strings.Split(args[i+1], ",")
		for _, p := range list {
			s.name(strings.TrimPrefix(p, "!"))
		}
		if key == "originalhost" {
			s.block.reach = list
		} else if !slices.ContainsFunc(list, isWild) {
			s.block.reach = nil
		}
	}
}

func isWild(p string) bool { return strings.ContainsAny(p, "*?") }

func (s *scan) name(p string) {
	list := &s.names
	if isWild(p) {
		list = &s.samples
	}
	if p != "" && !slices.Contains(*list, p) && len(*list) <= maxHosts {
		*list = append(*list, p)
	}
}

// example is a name that a pattern matches, and none of the names, where one of
// three is.
func example(p string, names []string) (name string) {
	for _, c := range []string{"x", "y", "z"} {
		name = strings.NewReplacer("*", c, "?", c).Replace(p)
		if !slices.Contains(names, name) {
			break
		}
	}
	return name
}

func (s *scan) ignore(list string) {
	for _, p := range strings.Split(list, ",") {
		if p != "" && !strings.ContainsAny(p, "\"'\\") && !slices.Contains(s.ignored, p) {
			s.ignored = append(s.ignored, p)
		}
	}
}

func (s *scan) include(arg, dir string, depth int) {
	switch {
	case strings.HasPrefix(arg, "~/"):
		arg = filepath.Join(s.home, arg[2:])
	case !filepath.IsAbs(arg):
		arg = filepath.Join(dir, arg)
	}
	files, _ := filepath.Glob(arg)
	for _, f := range files {
		s.file(f, depth+1)
	}
}

// fields splits a line into its keyword and words, without their quotes.
func fields(line string) []string {
	line = strings.TrimSpace(strings.TrimPrefix(line, byteOrderMark))
	i := strings.IndexAny(line, " \t=")
	if i < 0 {
		return nil
	}
	words := []string{strings.Trim(line[:i], `"`)}
	rest := strings.TrimLeft(line[i:], " \t=")
	for rest != "" {
		var w string
		if q := rest[0]; q == '"' || q == '\'' {
			end := strings.IndexByte(rest[1:], q)
			if end < 0 {
				return words
			}
			w, rest = rest[1:end+1], rest[end+2:]
		} else if end := strings.IndexAny(rest, " \t"); end >= 0 {
			w, rest = rest[:end], rest[end:]
		} else {
			w, rest = rest, ""
		}
		if strings.HasPrefix(w, "#") {
			return words
		}
		words = append(words, w)
		rest = strings.TrimLeft(rest, " \t")
	}
	return words
}
