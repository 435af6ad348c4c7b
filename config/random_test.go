package config

import (
	"cmp"
	goflag "flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var seedFlag = goflag.Uint64("config.seed", 1, "seed of TestRandomSameAsSSH; SSH_STAY_SEED does the same")

// TestRandomSameAsSSH compares random configurations, SSH_STAY_RANDOM of them.
// Configuration i of a seed is always the same.
func TestRandomSameAsSSH(t *testing.T) {
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SSH_STAY_SEED"), strconv.FormatUint(*seedFlag, 10)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	count, err := strconv.Atoi(cmp.Or(os.Getenv("SSH_STAY_RANDOM"), "2000"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("STAY_PATH", "/tmp/stay path")
	t.Setenv("STAY_PORT", "8088")
	home := t.TempDir()
	t.Setenv("HOME", home)
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(home, ".ssh", "rel.inc"), "User relative\nSendEnv REL\n")
	r := &randomRun{t: t, seed: seed, dir: t.TempDir(), values: knownValues(t), seen: map[string]int{}}
	indexes := make(chan int)
	var workers sync.WaitGroup
	for range 4 { // each ends when indexes is closed
		workers.Go(func() {
			for i := range indexes {
				r.try(uint64(i))
			}
		})
	}
	for i := 0; i < count && r.failed.Load() < 5; i++ {
		indexes <- i
	}
	close(indexes)
	workers.Wait()
	r.report(count)
}

// randomRun is one run of TestRandomSameAsSSH.
type randomRun struct {
	t      *testing.T
	seed   uint64
	dir    string
	values map[string][]string
	failed atomic.Int64

	mu       sync.Mutex // guards what follows
	accepted int
	onlySSH  int
	seen     map[string]int // accepted configurations by keyword
}

// try makes, compares and counts configuration i.
func (r *randomRun) try(i uint64) {
	dir := filepath.Join(r.dir, strconv.FormatUint(i, 10))
	g := &generator{Rand: rand.New(rand.NewPCG(r.seed, i)), dir: dir, values: r.values}
	c := g.configuration()
	refused, diff := r.compare(c)
	if diff != "" && diff != onlySSH {
		r.failed.Add(1)
		c, diff = r.shrink(c, diff)
		r.t.Errorf("seed %d, configuration %d, host %q, flags %q:\n%s\n%s", r.seed, i, c.host, c.args, diff, c)
	}
	if err := os.RemoveAll(dir); err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff == onlySSH {
		r.onlySSH++
	}
	if !refused {
		r.accepted++
		for keyword := range g.used {
			r.seen[keyword]++
		}
	}
}

func (r *randomRun) compare(c configuration) (refused bool, diff string) {
	r.t.Helper()
	for name, text := range c.files {
		name = filepath.Join(c.dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			r.t.Error(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			r.t.Error(err)
		}
		if err := os.Chmod(name, c.modes[name]|0o600); err != nil {
			r.t.Error(err)
		}
	}
	diff, err := disagreement(r.t, filepath.Join(c.dir, mainFile), c.host, c.args, nil)
	return err != nil, diff
}

// shrink leaves out lines as long as we differ from ssh, but those that keep
// names from being looked up.
func (r *randomRun) shrink(c configuration, diff string) (configuration, string) {
	for again := true; again; {
		again = false
		for _, name := range slices.Sorted(maps.Keys(c.files)) {
			lines := slices.Collect(strings.Lines(c.files[name]))
			first := 0
			if name == mainFile {
				first = c.preamble
			}
			for i := len(lines) - 1; i >= first; i-- {
				less := c
				less.files = maps.Clone(c.files)
				less.files[name] = strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")
				if _, d := r.compare(less); d != "" && d != onlySSH {
					c, diff, again = less, d, true
					lines = slices.Delete(lines, i, i+1)
				}
			}
		}
	}
	return c, diff
}

// report fails the run if its configurations say too little.
func (r *randomRun) report(count int) {
	r.t.Logf("seed %d: ssh took %d of %d configurations, %d of them only ssh can tell", r.seed, r.accepted, count, r.onlySSH)
	if r.t.Failed() || count < 1000 {
		return
	}
	if r.accepted < count*7/10 {
		r.t.Errorf("got %d configurations that ssh takes, want at least %d", r.accepted, count*7/10)
	}
	if r.onlySSH > count/20 {
		r.t.Errorf("got %d configurations that only ssh can tell, want at most %d", r.onlySSH, count/20)
	}
	for keyword := range r.values {
		if r.seen[keyword] == 0 {
			r.t.Errorf("got no configuration with %s that ssh takes, want some", keyword)
		}
	}
}

// configuration is one host and the files by name.
type configuration struct {
	dir   string
	host  string
	args  []string
	files map[string]string
	modes map[string]os.FileMode

	preamble int // lines of the main file that must stay
}

const mainFile = "config"

func (c configuration) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		if c.files[name] != "" {
			fmt.Fprintf(&b, "--- %s ---\n%s\n", filepath.Join(c.dir, name), c.files[name])
		}
	}
	return b.String()
}

// knownValues are the values by keyword, without the keywords that this ssh does
// not know.
func knownValues(t *testing.T) map[string][]string {
	t.Helper()
	out, err := askSSH(t, "none", "foo", nil)
	if err != nil {
		t.Fatal(err)
	}
	known := "\n" + strings.ToLower(out)
	values := map[string][]string{}
	for line := range strings.Lines(readFile(t, filepath.Join("..", "testdata", "config", "random.txt"))) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		keyword, alternatives, _ := strings.Cut(strings.TrimSpace(line), " ")
		if probe, newer := strings.CutPrefix(keyword, "?"); newer {
			probe, name, unset := strings.Cut(probe, "=")
			if !strings.Contains(known, "\n"+strings.ToLower(probe)+" ") {
				continue
			}
			if keyword = probe; unset {
				keyword = name
			}
		}
		values[keyword] = strings.Split(strings.TrimSpace(alternatives), "|")
	}
	return values
}

// generator makes one configuration.
type generator struct {
	*rand.Rand
	dir    string
	values map[string][]string
	used   map[string]bool
	names  []string // files that may be included

	keywords []string // to choose from
	canonize bool     // CanonicalizeHostname is decided
	proxied  bool     // so is that a proxy looks names up
	ignores  bool     // unknown keywords that begin with Xy
}

// one chooses among strings.
func (g *generator) one(s ...string) string { return s[g.IntN(len(s))] }

// words chooses among the words of s.
func (g *generator) words(s string) string { return g.one(strings.Fields(s)...) }

// chance is true in n of 1000 cases.
func (g *generator) chance(n int) bool { return g.IntN(1000) < n }

const (
	randomHosts    = "foo Foo bar web1 web2.example.org DB.example.org 192.0.2.7 127.1 ::1 gate"
	randomUsers    = "bob alice root nobody Bob"
	randomPatterns = "foo foo foo bar web1 web2.example.org db.example.org *.example.org web* *o* ??? * 192.0.2.* 127.* ::1 gate nothing f?o F* *.org"
)

func (g *generator) configuration() configuration {
	g.used = map[string]bool{}
	g.keywords = slices.Sorted(maps.Keys(g.values))
	c := configuration{dir: g.dir, host: g.words(randomHosts), files: map[string]string{}, modes: map[string]os.FileMode{}}
	for _, flags := range [][]string{
		{"-l", g.words(randomUsers)}, {"-p", g.words("22 2201")}, {"-o", "User=" + g.words(randomUsers)},
		{"-o", "SendEnv=" + g.words("A -A* B")}, {"-o", g.one("ProxyJump=gate", "ProxyCommand nc %h", "Port=2202")},
	} {
		if g.chance(50) {
			c.args = append(c.args, flags...)
		}
	}
	prefix := g.preamble()
	for _, name := range []string{"c/deep 1.inc", "c/deep2.inc", "b1.inc", "a2.inc", "a1.inc"} {
		if g.chance(500) {
			c.files[name] = g.file(g.IntN(8))
			g.names = append(g.names, name)
			if g.chance(10) {
				c.modes[filepath.Join(g.dir, name)] = 0o666
			}
		}
		switch name { // patterns that cannot find the file they are in
		case "c/deep2.inc":
			g.names = append(g.names, "c/*.inc")
		case "b1.inc":
			g.names = append(g.names, "b?.inc", "[bB]*")
		}
	}
	g.names = append(g.names, "*.inc", "a[!1].inc", "a*")
	c.preamble = strings.Count(prefix, "\n")
	c.files[mainFile] = prefix + g.file(3+g.IntN(18))
	return c
}

// preamble makes sure that no name is looked up, or leaves canonicalization out.
func (g *generator) preamble() string {
	var text string
	switch g.IntN(5) {
	case 0:
		g.canonize, g.proxied = true, true
		text = g.one("ProxyCommand nc %h %p\n", "ProxyJump gate2\n") + "CanonicalizeHostname " + g.one("yes", "no", "true") + "\n"
	case 1:
		g.canonize = true
		text = "CanonicalDomains none\nCanonicalizeHostname " + g.one("yes", "always", "no") + "\n"
	case 2:
		g.canonize = true
		text = "CanonicalizeHostname no\n"
	}
	if g.chance(250) {
		g.ignores = true
		text += "IgnoreUnknown " + g.one("xy*", "Foo,Xy*", "*,!abc", "\"XY?*\"") + "\n"
	}
	return text
}

// file makes n lines.
func (g *generator) file(n int) string {
	eol := "\n"
	if g.chance(60) {
		eol = "\r\n"
	}
	var b strings.Builder
	for range n {
		b.WriteString(g.line() + eol)
	}
	if g.chance(80) {
		return strings.TrimSuffix(b.String(), eol)
	}
	return b.String()
}

func (g *generator) line() string {
	indent := g.one("", "", "    ", "\t", " \t ", "  ")
	switch n := g.IntN(1000); {
	case n < 120:
		return indent + g.mutated(g.keyword("Host")+g.several(1+g.IntN(3), " ", g.hostPattern)) + g.ending()
	case n < 220:
		return indent + g.mutated(g.keyword("Match")+g.criteria()) + g.ending()
	case n < 280:
		return indent + g.keyword("Include") + g.several(1+g.IntN(2), "  ", g.included) + g.ending()
	case n < 320:
		return indent + g.one("", "# comment", "#Port 1", "\"#\" x", "== nothing", "\"open", "=#")
	case n < 330 && (g.ignores || g.chance(50)):
		return indent + g.one("Xyz", "xyA", "XY9") + " " + g.one("a", "b c", "\"d\" # e")
	default:
		return indent + g.mutated(g.option()) + g.ending()
	}
}

// mutated changes one byte, seldom, and never where a name could be looked up or
// another command be run.
func (g *generator) mutated(line string) string {
	lower := strings.ToLower(line)
	for _, s := range []string{"canonical", "hostname", "exec"} {
		if strings.Contains(lower, s) {
			return line
		}
	}
	if !g.chance(12) {
		return line
	}
	i := g.IntN(len(line))
	if g.chance(300) {
		return line[:i] + line[i+1:]
	}
	const bytes = "\"\"''\\\\##==%!,:@[]~ \t-+*?0aZ\r\f\v\xe9"
	return line[:i] + string(bytes[g.IntN(len(bytes))]) + line[i:]
}

// option sets one keyword, seldom badly.
func (g *generator) option() string {
	name := g.one(g.keywords...)
	value := g.one(g.values[name]...)
	switch {
	case name == "CanonicalizeHostname" && !g.canonize:
		value = "no"
	case name == "CanonicalizePermittedCNAMEs" && !g.proxied:
		value = "none"
	}
	g.used[name] = true
	if g.chance(6) {
		value = g.one("\"\"", value+" x", "@@", "-1", "99999999999", "\"open", "none none", "", "x'", "#", value+" \"\"")
	}
	if strings.HasPrefix(name, "Proxy") || strings.HasSuffix(name, "Command") {
		return g.keyword(name) + value
	}
	return g.keyword(name) + g.quoted(value)
}

// keyword writes a keyword and what parts it from its value.
func (g *generator) keyword(name string) string {
	switch g.IntN(20) {
	case 0:
		name = strings.ToUpper(name)
	case 1:
		name = strings.ToLower(name)
	case 2:
		if g.chance(200) {
			return "\"" + name + "\" "
		}
	case 3:
		if g.chance(100) {
			name = "=" + name
		}
	}
	return name + g.one(" ", " ", " ", " ", " ", "\t", "  ", "=", " = ", " =", "=\t", " \t ")
}

// quoted writes a plain word another way, now and then.
func (g *generator) quoted(s string) string {
	if strings.ContainsAny(s, " \t\"'\\#") || s == "" || !g.chance(120) {
		return s
	}
	i := g.IntN(len(s))
	return g.one("\""+s+"\"", "'"+s+"'", s[:i]+"\""+s[i:]+"\"", "'"+s[:i]+"'"+s[i:], s[:i]+"\"\""+s[i:])
}

func (g *generator) ending() string {
	if !g.chance(150) {
		return ""
	}
	return g.one(" ", "\t", " # note", " #", "\t#x 'y", " \f", "\f", "  # \"z")
}

// several joins n of what next makes.
func (g *generator) several(n int, sep string, next func() string) string {
	s := make([]string, n)
	for i := range s {
		s[i] = next()
	}
	return strings.Join(s, sep)
}

func (g *generator) hostPattern() string {
	p := g.words(randomPatterns)
	if g.chance(150) {
		p = "!" + p
	}
	return g.quoted(p)
}

func (g *generator) included() string {
	if len(g.names) == 0 || g.chance(150) {
		return g.one(g.dir+"/none/*", g.dir+"/nothing.inc", "rel.inc", "~/.ssh/rel.inc", "/etc/nothing-here")
	}
	name := filepath.Join(g.dir, g.one(g.names...))
	if strings.Contains(name, " ") {
		return g.one("\""+name+"\"", "'"+name+"'", strings.ReplaceAll(name, " ", "\\ "))
	}
	return g.quoted(name)
}

// criteria are those of one Match.
func (g *generator) criteria() string {
	if g.chance(5) {
		return g.one("all all", "host", "bogus x", "host foo user", "\"\"", "all host foo", "#", "host \"\"")
	}
	if g.chance(150) {
		return g.one("all", "final all", "canonical all", "!all", "host foo all", "ALL")
	}
	return g.several(1+g.IntN(3), g.one(" ", " ", "\t", "  "), g.criterion)
}

func (g *generator) criterion() string {
	not := ""
	if g.chance(200) {
		not = "!"
	}
	names := "host host host originalhost originalhost user user localuser exec final final canonical"
	if _, known := g.values["Tag"]; known {
		names += " tagged localnetwork"
	}
	if _, known := g.values["WarnWeakCrypto"]; known {
		names += " version sessiontype command"
	}
	name := g.words(names)
	var value string
	switch name {
	case "final", "canonical":
		return not + name
	case "host", "originalhost":
		value = g.several(1+g.IntN(3), ",", func() string { return g.one("", "", "", "!") + g.words(randomPatterns) })
	case "user", "localuser":
		value = g.several(1+g.IntN(2), ",", func() string { return g.one("", "", "!") + g.words(randomUsers+" * ro*") })
	case "exec":
		value = g.one("true", "\"false\"", "\"test %h = foo\"", "\"test %n = foo -a %p -eq 22\"", "\"test '%r' != bob # x\"", "\"exit 3\"",
			"\"test $STAY_PORT = 8088\"", "\"test 1 = 1%%\"")
		return not + name + g.one(" ", "=", "\t") + value
	case "localnetwork":
		value = g.words("127.0.0.0/8 192.0.2.0/24 ::1/128,192.0.2.1/32")
	case "version":
		value = g.words("OpenSSH_* *p1* 9.*,!*Debian*")
	case "sessiontype":
		value = g.words("shell none exec,subsystem *")
	default:
		value = g.words("x a,b * \"\" !x,*")
	}
	if g.chance(150) && value != "\"\"" {
		value = "\"" + value + "\""
	}
	blank := g.one(" ", " ", "\t", "  ")
	if g.chance(300) && name != "sessiontype" { // which ssh does not take with =
		blank = "="
	} else if _, newer := g.values["Tag"]; !newer && g.chance(200) {
		blank = " = "
	}
	return not + name + blank + value
}
