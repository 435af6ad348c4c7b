package setup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func (b *bench) own() string {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(b.file), b.ownName()))
	must(b.T, err)
	return string(text)
}

// stanzaOrder is the comment lines of our file.
func (b *bench) stanzaOrder() []string {
	var order []string
	for l := range strings.Lines(b.own()) {
		if args, ok := strings.CutPrefix(l, stanzaPrefix); ok {
			order = append(order, strings.TrimSpace(args))
		}
	}
	return order
}

// TestRunsAddUp: each pattern keeps what was asked for it last, the more
// specific ones first.
func TestRunsAddUp(t *testing.T) {
	b := newBench(t, sample{config: "ServerAliveInterval 17\n" + usual})
	for _, step := range []struct {
		change Change
		want   []string
	}{
		{Change{}, []string{"*"}},
		{Change{Patterns: []string{"work"}, Resume: "target"}, []string{"--resume target work", "*"}},
		{Change{Patterns: []string{"*.example.com", "!x.example.com"}, Interval: seconds(9)}, []string{"--resume target work", "--interval 9s *.example.com !x.example.com", "*"}},
		{Change{Patterns: []string{"a*", "play"}}, []string{"play", "--resume target work", "--interval 9s *.example.com !x.example.com", "a*", "*"}},
		{Change{Patterns: []string{"work"}, Resume: "jump", Interval: seconds(5)}, []string{"play", "--resume jump --interval 5s work", "--interval 9s *.example.com !x.example.com", "a*", "*"}},
		{Change{Patterns: []string{"*"}, Resume: "target"}, []string{"play", "--resume jump --interval 5s work", "--interval 9s *.example.com !x.example.com", "a*", "--resume target *"}},
		{Change{Patterns: []string{"play"}, Resume: "no"}, []string{"--resume no play", "--resume jump --interval 5s work", "--interval 9s *.example.com !x.example.com", "a*", "--resume target *"}},
		{Change{Patterns: []string{"work", "a*"}, Undo: true}, []string{"--resume no play", "--interval 9s *.example.com !x.example.com", "--resume target *"}},
		{Change{Patterns: []string{"nowhere"}, Undo: true}, []string{"--resume no play", "--interval 9s *.example.com !x.example.com", "--resume target *"}},
	} {
		b.do(step.change)
		if got := b.stanzaOrder(); !slices.Equal(got, step.want) {
			t.Errorf("%+v: got %q, want %q", step.change, got, step.want)
		}
	}
	// What one stanza leaves open, a later one answers; but the probes of a host
	// that is not resumed are the user's.
	for host, want := range map[string]string{"play": "17", "y.example.com": "0", "other": "0"} {
		if got := strings.TrimSpace(b.ask(host)["serveraliveinterval"]); got != want {
			t.Errorf("%s: got ServerAliveInterval %s, want %s", host, got, want)
		}
	}
	b.do(Change{Patterns: []string{"play", "*.example.com", "*"}, Undo: true}) // the last ones
	if text, err := os.ReadFile(b.file); err != nil || string(text) != b.config() {
		t.Errorf("after all stanzas are undone: got %q, %v, want %q", text, err, b.config())
	}
}

func (b *bench) config() string { return b.sample.config }

// TestLineEnds: our line ends as the file's do, and nothing else moves.
func TestLineEnds(t *testing.T) {
	for config, want := range map[string]string{
		"":                 "Include ssh-stay.conf\n",
		"Port 7":           "Include ssh-stay.conf\nPort 7",
		"Port 7\r\n#\n":    "Include ssh-stay.conf\r\nPort 7\r\n#\n",
		"\n\r\nPort 7\r\n": "Include ssh-stay.conf\n\n\r\nPort 7\r\n",
	} {
		b := newBench(t, sample{config: config})
		b.do(Change{})
		if got, _ := os.ReadFile(b.file); string(got) != want {
			t.Errorf("%q: got %q, want %q", config, got, want)
		}
	}
}

// TestUsersLinesAfterwards: lines that the user adds below ours go on to work,
// and setup does not pull the ground from under them.
func TestUsersLinesAfterwards(t *testing.T) {
	b := newBench(t, sample{config: usual})
	b.do(Change{Interval: seconds(9)})
	text, _ := os.ReadFile(b.file)
	must(t, os.WriteFile(b.file, append(text, "Host late\n  StayResume target\n"...), 0o600))
	b.do(Change{Patterns: []string{"work"}})
	if got := b.route("late"); got != "direct" {
		t.Errorf("got %q, want direct", got)
	}
	_, err := b.Plan(t.Context(), Change{Undo: true})
	if refused, ok := errors.AsType[*RefusedConfigError](err); !ok || !refused.Undo || !strings.Contains(err.Error(), b.file+": line") {
		t.Errorf("undo under StayResume: got %v, want a refusal that names %s and the line", err, b.file)
	}

	b.do(Change{}) // which has no such keywords itself
	if got := b.route("late"); got != "direct" || !strings.Contains(b.own(), "IgnoreUnknown Stay*\n") {
		t.Errorf("got %q behind ours, %s, want the user's keywords still ignored", got, b.own())
	}
	b.do(Change{Interval: seconds(9)})

	// An IgnoreUnknown that ours hides is taken over when setup runs again.
	must(t, os.WriteFile(b.file, append(text, "IgnoreUnknown Late\nLate 1\n"...), 0o600))
	if plan := b.do(Change{Patterns: []string{"work"}}); plan.Empty() || !strings.Contains(b.own(), "IgnoreUnknown Stay*,Late\n") {
		t.Errorf("got %s, want the user's IgnoreUnknown in it", b.own())
	}
	b.ask("work")

	// Our line is the first again, and there once.
	must(t, os.WriteFile(b.file, []byte("Port 7\nInclude ssh-stay.conf\n Include ssh-stay.conf \n"), 0o600))
	b.do(Change{})
	if got, _ := os.ReadFile(b.file); string(got) != "Include ssh-stay.conf\nPort 7\n" {
		t.Errorf("got %q, want one Include line, the first", got)
	}
}

// TestIgnoredIsMerged: what the user's lines ignore is in ours.
func TestIgnoredIsMerged(t *testing.T) {
	b := newBench(t, sample{config: "IgnoreUnknown Foo,!Bar\nFoo 1\nHost work\n  IgnoreUnknown UseKeychain\nMatch user nobody\n  Include more\n",
		prepare: write(".ssh/more", "IgnoreUnknown Deep\n", 0o600), system: "IgnoreUnknown Quux\n"})
	b.do(Change{Interval: seconds(9)})
	if !strings.Contains(b.own(), "\nIgnoreUnknown Stay*,Foo,!Bar,UseKeychain,Deep,Quux\n") {
		t.Errorf("got %s, want all of the user's and the system's patterns", b.own())
	}
}

// TestIgnoresNothing: without Stay keywords, an IgnoreUnknown that the user adds
// later counts.
func TestIgnoresNothing(t *testing.T) {
	b := newBench(t, sample{config: "IgnoreUnknown Foo\nFoo 1\n"})
	b.do(Change{})
	if strings.Contains(b.own(), "IgnoreUnknown") {
		t.Errorf("got %s, want no IgnoreUnknown", b.own())
	}
	must(t, os.WriteFile(b.file, []byte("Include ssh-stay.conf\nIgnoreUnknown Bar\nBar 1\n"), 0o600))
	b.ask("work")
	for _, c := range []Change{{Resume: "no"}, {Interval: seconds(9)}} {
		if b.do(c); !strings.Contains(b.own(), "IgnoreUnknown Stay*,Bar\n") {
			t.Errorf("%+v: got %s, want Stay keywords ignored", c, b.own())
		}
		b.ask("work")
	}
}

// TestComment: a comment that the user has put behind our line makes it no other.
func TestComment(t *testing.T) {
	b := newBench(t, sample{config: usual})
	b.do(Change{})
	must(t, os.WriteFile(b.file, []byte("Include ssh-stay.conf\t # mine\n"+usual+"Include ssh-stay.conf#x\n"), 0o600))
	if plan := b.do(Change{}); !plan.Empty() {
		t.Errorf("got %s, want nothing to do", plan.Diff())
	}
	b.do(Change{Patterns: []string{"work"}, Resume: "target"})
	b.do(Change{Undo: true})
	if got, _ := os.ReadFile(b.file); string(got) != usual+"Include ssh-stay.conf#x\n" {
		t.Errorf("got %q, want no line of ours", got)
	}
}

// TestKilled stops after each step: ssh then sees what was there, or what was to
// be there, and the next run and the next undo clear up.
func TestKilled(t *testing.T) {
	installed := func(b *bench) { b.do(Change{Patterns: []string{"other"}}) }
	stale := func(b *bench) { // of an undo that was killed
		text := header + "\n" + forPrefix + b.file + "\n\n" + stanzaPrefix + "*\nHost *\n    ProxyCommand stale\n"
		write(".ssh/ssh-stay.conf", text, 0o600)(b.T, b.home)
	}
	for _, tc := range []struct {
		change Change
		before func(*bench)
	}{
		{Change{}, func(*bench) {}},
		{Change{}, installed},
		{Change{}, stale},
		{Change{Patterns: []string{"work"}, Resume: "target"}, stale},
		{Change{Patterns: []string{"work"}, Resume: "target"}, installed},
		{Change{Undo: true}, installed},
	} {
		stop := 0
		for done := false; !done; stop++ {
			b := newBench(t, sample{config: usual})
			tc.before(b)
			done = b.killAfter(stop, tc.change)
		}
		if stop < 3 {
			t.Errorf("%+v: got %d steps, want two at least", tc.change, stop-1)
		}
	}
}

// killAfter stops a change after so many steps, and says whether these were all.
func (b *bench) killAfter(stop int, c Change) bool {
	b.Helper()
	old := b.meaning()
	plan, err := b.Plan(b.Context(), c)
	must(b.T, err)
	steps := plan.steps()
	for _, s := range steps[:min(stop, len(steps))] {
		must(b.T, s.do())
	}
	now := b.meaning()
	left, _ := filepath.Glob(filepath.Join(b.home, ".ssh", tempPrefix+"*"))
	b.do(c) // whole, whatever was left
	if want := b.meaning(); now != old && now != want {
		b.Errorf("%+v, killed after %d steps: got %q, want %q or %q", c, stop, now, old, want)
	}
	b.do(Change{Undo: true})
	if got, _ := os.ReadFile(b.file); string(got) != usual {
		b.Errorf("%+v, killed after %d steps, undone: got %q, want %q", c, stop, got, usual)
	}
	day := time.Now().Add(-24 * time.Hour)
	for _, path := range left {
		must(b.T, os.Chtimes(path, day, day))
	}
	b.do(Change{}) // a day later
	if left, _ := filepath.Glob(filepath.Join(b.home, ".ssh", tempPrefix+"*")); len(left) > 0 {
		b.Errorf("got left-overs %q, want none", left)
	}
	return stop >= len(steps)
}

// meaning is what ssh makes of some hosts.
func (b *bench) meaning() string {
	b.Helper()
	var all string
	for _, host := range []string{"work", "other", "a"} {
		s := b.ask(host)
		all += host + " " + s["proxycommand"] + s["serveraliveinterval"]
	}
	return all
}

// TestChangedMeanwhile: what the user has written since is not written over, and
// what was done is taken back.
func TestChangedMeanwhile(t *testing.T) {
	for name, meddle := range map[string]func(b *bench){
		"text":  func(b *bench) { write(".ssh/config", usual+"# new\n", 0o600)(t, b.home) },
		"mode":  func(b *bench) { must(t, os.Chmod(b.file, 0o644)) },
		"gone":  func(b *bench) { must(t, os.Remove(b.file)) },
		"link":  func(b *bench) { moved("elsewhere")(t, b.home) },
		"ours":  func(b *bench) { write(".ssh/ssh-stay.conf", "Host mine\n", 0o600)(t, b.home) },
		"error": func(b *bench) { must(t, os.Remove(b.file)); must(t, os.Mkdir(b.file, 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, sample{config: usual})
			plan, err := b.Plan(t.Context(), Change{})
			must(t, err)
			meddle(b)
			before := b.tree(false)
			if err := plan.Apply(); err == nil || name != "error" && !as[*RaceError](err) {
				t.Errorf("got %v, want a RaceError", err)
			}
			b.sameTree("after the refusal", before, b.tree(false))
		})
	}
}

// TestPatterns are those that cannot stand on a Host line.
func TestPatterns(t *testing.T) {
	b := newBench(t, sample{config: usual})
	for _, patterns := range [][]string{{""}, {"a b"}, {"!x"}, {"!"}, {"!!a"}, {"-a"}, {`"a"`}, {"a,b"}, {"#a"}, {"a=b"}, {"a\nb"}, {`a\b`},
		{"me@work"}, {"*", "!me@work"}, {"ssh://work"}, {"work:22"}, {"*.x:2222"}, {"[::1]:22"}} {
		if _, err := b.Plan(t.Context(), Change{Patterns: patterns}); !as[*PatternError](err) {
			t.Errorf("%q: got %v, want a PatternError", patterns, err)
		}
	}
	for _, pattern := range []string{"::1", "2001:db8::22", "2001:db8*", "fe80::1%eth0", "unix/x", "a_b", "10.0.0.?"} {
		if err := CheckPatterns([]string{pattern}); err != nil {
			t.Errorf("got %v, want none", err)
		}
	}
}

// TestReadsItsOwnFile: our file read back is what was written, and a stranger's is
// none of ours.
func TestReadsItsOwnFile(t *testing.T) {
	for _, s := range []stanza{
		{pattern: "*"}, {pattern: "work", resume: "target", interval: "30"},
		{pattern: "*.x", except: []string{"a.x", "b*"}, resume: "no"},
	} {
		r := &rendering{stanzas: []stanza{s}, command: "x", config: "/c", created: []string{createdConfig}}
		m, err := parseOwn([]byte(r.text()), "/c")
		if err != nil || len(m.stanzas) != 1 || m.stanzas[0].arguments() != s.arguments() || !slices.Equal(m.created, r.created) {
			t.Errorf("%+v: got %+v, %v", s, m, err)
		}
	}
	for _, line := range []string{"", "!a", "a b", "--resume maybe a", "--interval x a", "--resume target", "a,b"} {
		text := header + "\n" + stanzaPrefix + line + "\n"
		if _, err := parseOwn([]byte(text), "/c"); !errors.Is(err, errStanza) {
			t.Errorf("%q: got %v, want %v", line, err, errStanza)
		}
	}
}

// TestProof: what a stanza of ours would do beyond its purpose is found before
// anything is written. Here it is made to.
func TestProof(t *testing.T) {
	const ours = "/opt/stay/ssh-stay proxy --alias '%n' --user '%r' '%h' %p"
	for _, tc := range []struct{ command, host, keyword string }{
		{ours, "", ""},
		{ours + "\nHost *\n    User leak", "other", "user"},
		{ours + "\nHost *\n    Port 9", "work", "port"},
		{ours + "\n    Port 9", "work", "port"},
		{ours + "\n    ProxyJump evil", "work", "proxyjump behind ours"},
		{"nc %h %p", "work", "proxycommand behind ours"},
		{ours + "\n    Prt 9", "work", ""},
	} {
		b := newBench(t, sample{config: "Host work\n  User me\nHost other\n"})
		before := b.tree(true)
		texts, err := b.read()
		must(t, err)
		_, err = b.install(t.Context(), texts, []stanza{{pattern: "work"}}, tc.command)
		changed, ok := errors.AsType[*ChangedHostError](err)
		switch {
		case tc.host == "" && err != nil:
			t.Errorf("%q: got %v, want no error", tc.command, err)
		case tc.host != "" && (!ok || changed.Keyword != tc.keyword || tc.keyword == "port" && changed.New != "9"):
			t.Errorf("%q: got %v, want that %s changes", tc.command, err, tc.keyword)
		case tc.keyword == "" && tc.host != "" && changed.Err == nil:
			t.Errorf("%q: got %v, want the error of ssh", tc.command, err)
		}
		b.sameTree(tc.command, before, b.tree(true))
	}
}

// TestMatchExecChangesItsMind: a command that says something else once is not
// taken for our doing.
func TestMatchExecChangesItsMind(t *testing.T) {
	b := newBench(t, sample{config: "Match exec \"ls $TMPDIR/ssh-stay-setup-*/new >/dev/null 2>&1 && mkdir $HOME/once 2>/dev/null\"\n  Port 7\n"})
	t.Setenv("TMPDIR", b.home)
	plan, err := b.Plan(t.Context(), Change{Patterns: []string{"work"}})
	if err != nil || plan.Empty() {
		t.Errorf("got %v, want a plan", err)
	}
	if _, err := os.Stat(filepath.Join(b.home, "once")); err != nil {
		t.Errorf("the command has not said it: %v", err)
	}
}
