package setup

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ssh-stay/config"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func isRefused(err error) bool  { return as[*RefusedConfigError](err) }
func isForeign(err error) bool  { return as[*ForeignFileError](err) }
func isReadOnly(err error) bool { return as[*ReadOnlyError](err) }

func isPassing(host string) func(error) bool {
	return func(err error) bool {
		passing, ok := errors.AsType[*PassingError](err)
		return ok && passing.Host == host
	}
}

// bench is a home with one of the samples in it.
type bench struct {
	*testing.T
	sample
	home string
	file string
	*Setup
}

func newBench(t *testing.T, s sample) *bench {
	t.Helper()
	home, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	t.Setenv("HOME", home) // where ssh looks for a relative Include
	must(t, os.Mkdir(filepath.Join(home, ".ssh"), 0o700))
	b := &bench{T: t, sample: s, home: home, file: filepath.Join(home, ".ssh", "config")}
	if !s.none {
		if b.mode == 0 {
			b.mode = 0o600
		}
		write(".ssh/config", s.config, b.mode)(t, home)
	}
	if s.prepare != nil {
		s.prepare(t, home)
	}
	b.Setup = &Setup{Home: home, Program: "/opt/stay/ssh-stay", SSH: os.Getenv("SSH_STAY_TEST_SSH")}
	if s.program != "" {
		b.Program = s.program
	}
	if s.file != "" {
		b.Config = filepath.Join(home, s.file)
		b.file = b.Config
	}
	if s.system != "" {
		b.System = filepath.Join(home, "system")
		must(t, os.WriteFile(b.System, []byte(s.system), 0o644))
	}
	return b
}

// ask is `ssh -G` on what is there now.
func (b *bench) ask(host string) map[string]string {
	b.Helper()
	lines := map[string]string{}
	if _, err := os.Stat(b.file); err != nil {
		return lines
	}
	out, err := exec.Command(cmp.Or(b.SSH, "ssh"), "-G", "-F", b.file, "--", host).Output()
	if err != nil {
		b.Fatalf("ssh -G %s: %v\n%s", host, err, errors.Join(err).(interface{ Unwrap() []error }).Unwrap()[0].(*exec.ExitError).Stderr)
	}
	for line := range strings.Lines(string(out)) {
		key, val, _ := strings.Cut(strings.TrimSpace(line), " ")
		lines[key] += val + "\n"
	}
	return lines
}

// do plans and applies.
func (b *bench) do(c Change) *Plan {
	b.Helper()
	plan, err := b.Plan(b.Context(), c)
	if err == nil {
		err = plan.Apply()
	}
	if err != nil {
		b.Fatalf("%+v: %v", c, err)
	}
	return plan
}

// tree is all that can be seen of a folder: kinds, modes, owners, texts, times.
func (b *bench) tree(times bool) map[string]string {
	b.Helper()
	seen := map[string]string{}
	must(b.T, filepath.WalkDir(b.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		what := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
		if times {
			what += fmt.Sprintf(" %v %d", info.ModTime(), st.Ino)
		}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			what += " -> " + to
		case info.Mode().IsRegular():
			text, _ := os.ReadFile(path)
			what += fmt.Sprintf(" %x", sha256.Sum256(text))
		}
		seen[path] = what
		return nil
	}))
	return seen
}

func (b *bench) sameTree(when string, want, got map[string]string) {
	b.Helper()
	for path := range maps.Keys(want) {
		if got[path] != want[path] {
			b.Errorf("%s: %s: got %q, want %q", when, path, got[path], want[path])
		}
	}
	for path := range maps.Keys(got) {
		if _, ok := want[path]; !ok {
			b.Errorf("%s: %s: got a file, want none", when, path)
		}
	}
}

// TestSamples sets up, looks with ssh, sets up again, and undoes.
func TestSamples(t *testing.T) {
	if n := len(samples()); n < 40 {
		t.Fatalf("got %d samples, want at least 40", n)
	}
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			b := newBench(t, s)
			if s.refused != nil {
				b.refuses()
				return
			}
			plain, dated := b.tree(false), b.tree(true)
			before := map[string]map[string]string{}
			for _, host := range slices.Concat(s.through, s.past) {
				before[host] = b.ask(host)
			}
			b.do(s.change)
			b.looks(before)
			b.keeps(plain)

			again := b.tree(true)
			if plan := b.do(s.change); !plan.Empty() {
				t.Errorf("second run: got %s, want nothing to do", plan.Diff())
			}
			b.sameTree("second run", again, b.tree(true))

			b.do(Change{Undo: true})
			if s.name == "a left-over of ours" { // which goes as well
				delete(plain, filepath.Join(b.home, ".ssh", usualName))
			}
			b.sameTree("undo", plain, b.tree(false))
			if plan := b.do(Change{Undo: true}); !plan.Empty() {
				t.Errorf("second undo: got %s, want nothing to do", plan.Diff())
			}
			for path, was := range dated {
				if now := b.tree(true)[path]; strings.HasSuffix(path, "system") && now != was {
					t.Errorf("%s: got %s, want %s", path, now, was)
				}
			}
		})
	}
}

// refuses: an error of the kind, and not a byte or a time has changed.
func (b *bench) refuses() {
	b.Helper()
	before := b.tree(true)
	_, err := b.Plan(b.Context(), b.change)
	if err == nil || !b.refused(err) {
		b.Errorf("got %T %v, want a refusal of another kind", err, err)
	}
	b.sameTree("refused", before, b.tree(true))
}

// looks compares what ssh says now.
func (b *bench) looks(before map[string]map[string]string) {
	b.Helper()
	command, err := b.command()
	must(b.T, err)
	for _, host := range b.through {
		now := b.ask(host)
		if got := strings.TrimSpace(now["proxycommand"]); got != command {
			b.Errorf("%s: got ProxyCommand %q, want %q", host, got, command)
		}
		for key, val := range now {
			if old := before[host]; len(old) > 0 && old[key] != val && key != "ignoreunknown" && !slices.Contains(mayChange, key) {
				b.Errorf("%s: %s: got %q, want %q", host, key, val, old[key])
			}
		}
	}
	for _, host := range b.past {
		now, old := b.ask(host), before[host]
		delete(now, "ignoreunknown")
		delete(old, "ignoreunknown")
		if len(old) > 0 && !maps.Equal(now, old) {
			b.Errorf("%s: got %v, want as it was, %v", host, now, old)
		}
	}
	for _, line := range b.lines {
		f := strings.SplitN(line, " ", 3)
		if got := strings.TrimSpace(b.ask(f[0])[f[1]]); got != f[2] {
			b.Errorf("%s: %s: got %q, want %q", f[0], f[1], got, f[2])
		}
	}
	for _, line := range b.behind {
		host, want, _ := strings.Cut(line, " ")
		if got := b.route(host); got != want {
			b.Errorf("%s: got the route %q behind ours, want %q", host, got, want)
		}
	}
}

// route is what ssh-stay finds behind itself.
func (b *bench) route(host string) string {
	b.Helper()
	s, err := config.Resolve(b.Context(), config.Query{Host: host, File: b.file})
	must(b.T, err)
	switch {
	case s.ProxyCommand != "":
		return s.ProxyCommand
	case len(s.Jumps) > 0:
		var names []string
		for _, j := range s.Jumps {
			names = append(names, j.String())
		}
		return strings.Join(names, ",")
	}
	return "direct"
}

// keeps: all that was there is there, of its kind, mode and owner; the config
// has one line more, and one file more is there.
func (b *bench) keeps(before map[string]string) {
	b.Helper()
	now := b.tree(false)
	for path, was := range before {
		kind := strings.Join(strings.Fields(was)[:2], " ")
		if !strings.HasPrefix(now[path], kind) {
			b.Errorf("%s: got %q, want still %q", path, now[path], kind)
		}
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(b.file))
	must(b.T, err)
	own := filepath.Join(dir, b.ownName())
	for path := range now {
		if _, was := before[path]; !was && path != own && path != b.file && path != filepath.Dir(b.file) {
			b.Errorf("got a file %s, want none", path)
		}
	}
	info, err := os.Stat(own)
	must(b.T, err)
	if got := info.Mode().Perm(); got != 0o600 {
		b.Errorf("%s: got mode %v, want 0600", own, got)
	}
	st, config := info.Sys().(*syscall.Stat_t), new(syscall.Stat_t)
	must(b.T, syscall.Stat(b.file, config))
	if st.Uid != config.Uid || st.Gid != config.Gid {
		b.Errorf("%s: got owner %d:%d, want the config's, %d:%d", own, st.Uid, st.Gid, config.Uid, config.Gid)
	}
}
