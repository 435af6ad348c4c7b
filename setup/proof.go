package setup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"ssh-stay/config"
	"ssh-stay/pattern"
)

const (
	maxHosts    = 200              // asked about, and as many made of patterns
	workers     = 4                // ssh -G at a time
	askTimeout  = 30 * time.Second // commands of Match exec run in it
	askWaitPipe = time.Second      // for what such a command leaves behind
)

// RefusedConfigError is a configuration that ssh, or ssh-stay, cannot read.
type RefusedConfigError struct {
	Path string
	Why  error
	Undo bool // it is read only with our line in it
}

func (e *RefusedConfigError) Error() string {
	if e.Undo {
		return e.Path + ": without the Include line ssh would refuse it: " + e.Why.Error()
	}
	return e.Path + ": " + e.Why.Error()
}
func (e *RefusedConfigError) Unwrap() error { return e.Why }

// ChangedHostError is a host that would change in what setup does not mean to
// change. Nothing has been written.
type ChangedHostError struct {
	Host, Keyword string
	Old, New      string
	Err           error // where ssh or ssh-stay fails altogether; Keyword is "" then
}

func (e *ChangedHostError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: would fail: %v", e.Host, e.Err)
	}
	return fmt.Sprintf("%s: %s would change from %q to %q", e.Host, e.Keyword, e.Old, e.New)
}
func (e *ChangedHostError) Unwrap() error { return e.Err }

// PassingError is a host that was asked for, or hosts that only a pattern names,
// whose ProxyCommand passes a file descriptor: ssh-stay cannot stand between.
type PassingError struct {
	Host string // or pattern; "*" for any that no line mentions
}

func (e *PassingError) Error() string {
	return e.Host + ": its ProxyCommand passes a file descriptor (ProxyUseFdpass yes)"
}

// AddressError is a host for which a keyword counts that ssh can follow only where
// it knows the peer's address, which it does not behind any ProxyCommand.
type AddressError struct {
	Host    string // "*" for any that no line mentions
	Keyword string
}

func (e *AddressError) Error() string {
	return e.Host + ": " + e.Keyword + " has no effect behind a ProxyCommand"
}

// CanonicalError is a host that ssh looks up and renames, which it would not do
// behind any ProxyCommand.
type CanonicalError struct{ Host string }

func (e *CanonicalError) Error() string {
	return e.Host + ": CanonicalizeHostname yes has no effect behind a ProxyCommand"
}

// proof asks ssh, of copies of the files, what the change comes to.
type proof struct {
	s     *Setup
	t     *texts
	r     *rendering
	dir   string
	names []string
	notes []string

	requested map[string]bool   // names that the user gave
	invented  map[string]string // names that nobody did, and the pattern that each stands for
	old       []answer          // by name
}

// answer is what `ssh -G` and ssh-stay make of a host.
type answer struct {
	lines    map[string]string // by keyword, those of several lines joined
	order    []string
	err      error
	settings *config.Settings
	stayErr  error
}

func (s *Setup) newProof(ctx context.Context, t *texts, r *rendering) (*proof, error) {
	dir, err := makeProofFolder()
	if err != nil {
		return nil, err
	}
	p := &proof{s: s, t: t, r: r, dir: dir, requested: map[string]bool{}, invented: map[string]string{}}
	sc := &scan{home: s.Home, seen: map[string]bool{t.config.path: true}}
	for _, st := range r.stanzas {
		sc.name(st.pattern)
		p.requested[st.pattern] = true
	}
	sc.text(string(t.base), filepath.Join(s.Home, ".ssh"), 0)
	if s.system() != "" {
		sc.file(s.System, 0)
	}
	r.ignored = sc.ignored
	p.pick(sc)
	p.leaveOut(sc.passing)
	if sc.fdpass {
		for _, patterns := range sc.jumps {
			r.mayJump(patterns)
		}
	}
	base := t.base
	if err := p.write("old", base); err != nil {
		return nil, errors.Join(err, p.close())
	}
	// Lines of Stay keywords may stand there since ours lets them pass.
	if _, err := p.ask(ctx, "old", p.names[0]); err != nil && t.isIncluded {
		r.lenient = true
		base = append([]byte("IgnoreUnknown "+strings.Join(r.ignores(), ",")+"\n"), base...)
		if err := p.write("old", base); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

// system is the system's config where ssh reads it, and we may.
func (s *Setup) system() string {
	if !s.isDefault() || s.System == "" {
		return ""
	}
	f, err := os.Open(s.System)
	if err != nil {
		return ""
	}
	f.Close()
	return s.System
}

// pick chooses the names to ask about: one that no line mentions, those that
// lines do, and one for each pattern. What is invented must not be written.
func (p *proof) pick(sc *scan) {
	any := "stay" + strings.ToLower(rand.Text()[:10])
	all := append([]string{any, any + ".invalid"}, sc.names...)
	p.invented[any], p.invented[any+".invalid"] = "*", "*"
	for _, pat := range sc.samples {
		if n := example(pat, all); !slices.Contains(all, n) {
			p.invented[n] = pat
			all = append(all, n)
		}
	}
	for _, n := range all {
		if config.CheckHost(n) == nil && !slices.Contains(p.names, n) {
			p.names = append(p.names, n)
		}
	}
	if len(p.names) > maxHosts {
		p.notes = append(p.notes, fmt.Sprintf("of the hosts of the config %d were compared, and more were not", maxHosts))
		p.names = p.names[:maxHosts]
	}
}

// leaveOut keeps our stanzas off blocks like systemd's `Host unix/* vsock/*`.
func (p *proof) leaveOut(blocks [][]string) {
	for _, patterns := range blocks {
		if slices.ContainsFunc(patterns, func(s string) bool { return strings.HasPrefix(s, "!") || checkPattern(s) != nil || s == "*" }) {
			continue // ssh is asked about each of its names
		}
		for _, pat := range patterns {
			p.pass(pat)
		}
	}
}

func (p *proof) pass(pat string) {
	if !slices.Contains(p.r.passing, pat) && !p.requested[pat] {
		p.r.passing = append(p.r.passing, pat)
		p.notes = append(p.notes, pat+" is left out: its ProxyCommand passes a file descriptor")
	}
}

func (p *proof) close() error { return os.RemoveAll(p.dir) }

// write makes the copy of a config that ssh is asked about. With it goes the
// system's, as ssh would read both.
func (p *proof) write(name string, text []byte) error {
	main := filepath.Join(p.dir, name)
	if err := os.WriteFile(main+".user", text, 0o600); err != nil {
		return err
	}
	top := "Include " + globQuote(main+".user") + "\n"
	if sys := p.s.system(); sys != "" {
		top += "Include " + globQuote(sys) + "\n"
	}
	return os.WriteFile(main, []byte(top), 0o600)
}

// run compares, and completes the rendering by what it learns on the way.
func (p *proof) run(ctx context.Context) error {
	p.old = p.askAll(ctx, "old", p.names)
	if err := p.old[0].err; err != nil {
		return &RefusedConfigError{p.t.config.path, errors.New(p.translate(err.Error())), false}
	}
	for i, a := range p.old {
		if err := p.learn(p.names[i], a); err != nil {
			return err
		}
	}
	own := filepath.Join(p.dir, "own")
	if err := os.WriteFile(own, []byte(p.r.text()), 0o600); err != nil {
		return err
	}
	text := bytes.Replace(p.t.included(), []byte(p.t.include), []byte("Include "+globQuote(own)), 1)
	if err := p.write("new", text); err != nil {
		return err
	}
	now := p.askAll(ctx, "new", p.names)
	for i := range now {
		err := p.compare(p.names[i], p.old[i], now[i])
		if err != nil && ctx.Err() == nil { // a command of Match exec may not always say the same
			p.old[i] = p.askAll(ctx, "old", p.names[i:i+1])[0]
			now[i] = p.askAll(ctx, "new", p.names[i:i+1])[0]
			err = p.compare(p.names[i], p.old[i], now[i])
		}
		if err != nil {
			return err
		}
	}
	return cmp.Or(ctx.Err(), sharedSocket(p.names, p.old, now))
}

// translate puts the user's file for its copy into a message of ssh.
func (p *proof) translate(text string) string {
	return strings.ReplaceAll(text, filepath.Join(p.dir, "old.user"), p.t.config.path)
}

// learn takes what one host's old settings mean for the rendering.
func (p *proof) learn(name string, a answer) error {
	if a.err != nil || a.settings == nil {
		return nil
	}
	for _, pat := range strings.Split(a.lines["ignoreunknown"], ",") {
		if pat != "" && !strings.ContainsAny(pat, "\"' ") && !slices.Contains(p.r.ignored, pat) {
			p.r.ignored = append(p.r.ignored, pat)
		}
	}
	if !p.inside(name, a) {
		return nil
	}
	s := a.settings
	_, invented := p.invented[name]
	switch {
	case s.ProxyUseFdpass && s.ProxyCommand != "" && (p.requested[name] || invented):
		return &PassingError{p.known(name)}
	case s.ProxyUseFdpass && s.ProxyCommand != "":
		p.pass(name)
	case s.ProxyUseFdpass && len(s.Jumps) > 0 && p.r.keepsFromPassing(name):
	case s.ProxyUseFdpass && len(s.Jumps) > 0 && invented:
		p.r.mayJump([]string{"*"}) // by lines that the scan has not understood
	case s.ProxyUseFdpass && len(s.Jumps) > 0:
		p.r.jumping = append(p.r.jumping, name)
	case a.direct() && a.lines["canonicalizehostname"] == "true":
		return &CanonicalError{name}
	}
	return nil
}

// known is a name, or the pattern that an invented one stands for.
func (p *proof) known(name string) string { return cmp.Or(p.invented[name], name) }

// direct says that ssh itself dials the host.
func (a answer) direct() bool {
	command := a.lines["proxycommand"]
	return (command == "" || command == "none") && a.lines["proxyjump"] == ""
}

// inside says whether a host is one of those that shall go through us: by its
// name, or by the one that ssh has found for it.
func (p *proof) inside(name string, a answer) bool {
	names := []string{name}
	if c := a.lines["canonicalizehostname"]; c == "true" || c == "always" {
		names = append(names, a.lines["hostname"])
	}
	for _, st := range p.r.stanzas {
		list := p.r.hosts(st)
		if slices.ContainsFunc(names, func(n string) bool { return pattern.MatchList(n, list) }) {
			return true
		}
	}
	return false
}

// mayChange are the keywords that setup means to change, for hosts of its
// patterns. ssh hides a ProxyJump behind our ProxyCommand, and with it the share
// that it has in %C and %j of a ControlPath.
var mayChange = []string{"proxycommand", "proxyjump", "serveraliveinterval", "proxyusefdpass", "controlpath"}

// compare says what else has changed.
func (p *proof) compare(name string, old, now answer) error {
	if old.err != nil {
		return nil // whatever it is, it is not worse
	}
	if now.err != nil {
		return &ChangedHostError{Host: name, Err: now.err}
	}
	inside := p.inside(name, old)
	for _, key := range append(slices.Clone(old.order), now.order...) {
		if old.lines[key] == now.lines[key] || key == "ignoreunknown" || inside && slices.Contains(mayChange, key) {
			continue
		}
		return &ChangedHostError{Host: name, Keyword: key, Old: old.lines[key], New: now.lines[key]}
	}
	if !inside {
		return nil
	}
	return p.compareRoute(name, old, now)
}

// compareRoute asks ssh-stay itself: that it can read the config, and finds
// behind its own ProxyCommand the way that was there before.
func (p *proof) compareRoute(name string, old, now answer) error {
	if now.stayErr != nil {
		return &ChangedHostError{Host: name, Err: now.stayErr}
	}
	was, is := old.settings, now.settings
	changed := func(key, from, to string) error {
		return &ChangedHostError{Host: name, Keyword: key + " behind ours", Old: from, New: to}
	}
	switch {
	case is.ProxyUseFdpass && len(is.Jumps) > 0 && now.lines["proxyjump"] == "": // hidden, so that it is for us
		return &ChangedHostError{Host: p.known(name), Err: ErrIndirect}
	case was == nil:
		return nil
	case was.ProxyCommand != is.ProxyCommand:
		return changed("proxycommand", was.ProxyCommand, is.ProxyCommand)
	case !slices.Equal(was.Jumps, is.Jumps):
		return changed("proxyjump", fmt.Sprint(was.Jumps), fmt.Sprint(is.Jumps))
	case was.HostName != is.HostName:
		return changed("hostname", was.HostName, is.HostName)
	case old.direct() && is.StayResume != "target" && was.AddressCounts() != "":
		if name == p.names[0] {
			name = "*"
		}
		return &AddressError{name, was.AddressCounts()}
	}
	return nil
}

// SharedSocketError is a host whose ControlPath would become that of another,
// which stands for another way: ssh would take the master of the one for the
// other. From OpenSSH 9.6 on %C and %j tell jump hosts apart, which our
// ProxyCommand hides (ssh.c).
type SharedSocketError struct{ Host, Other, Path string }

func (e *SharedSocketError) Error() string {
	return fmt.Sprintf("%s: would share its ControlPath with %s, %s: their jump hosts alone tell them apart", e.Host, e.Other, e.Path)
}

// sharedSocket finds two hosts that have one ControlPath now, and had two.
func sharedSocket(names []string, old, now []answer) error {
	seen := map[string][]int{}
	for i, name := range names {
		was, path := old[i].lines["controlpath"], now[i].lines["controlpath"]
		if path == "" || path == "none" || was == "" {
			continue
		}
		for _, j := range seen[path] {
			switch other := old[j].lines["controlpath"]; {
			case was == other:
			case was == path: // it is the other that has changed
				return &SharedSocketError{names[j], name, path}
			default:
				return &SharedSocketError{name, names[j], path}
			}
		}
		seen[path] = append(seen[path], i)
	}
	return nil
}

// askAll asks about names, a few at a time.
func (p *proof) askAll(ctx context.Context, which string, names []string) []answer {
	answers := make([]answer, len(names))
	next := make(chan int)
	var all sync.WaitGroup
	for range workers { // each ends when next is closed
		all.Go(func() {
			for i := range next {
				answers[i], _ = p.ask(ctx, which, names[i])
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	all.Wait()
	return answers
}

func (p *proof) ask(ctx context.Context, which, name string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	main := filepath.Join(p.dir, which)
	a := answer{lines: map[string]string{}}
	out, err := dump(ctx, p.s.SSH, "-F", main, "--", name)
	if err != nil {
		a.err = err
		return a, err
	}
	for line := range strings.Lines(out) {
		key, val, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if have, ok := a.lines[key]; ok {
			val = have + "\n" + val
		} else {
			a.order = append(a.order, key)
		}
		a.lines[key] = val
	}
	a.settings, a.stayErr = config.Resolve(ctx, config.Query{Host: name, File: main, SSH: p.s.SSH})
	return a, nil
}

// dump runs `ssh -G`.
func dump(ctx context.Context, ssh string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, cmp.Or(ssh, "ssh"), append([]string{"-G"}, args...)...)
	cmd.WaitDelay = askWaitPipe
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
		return "", errors.New(cmp.Or(complaint(stderr.String()), exit.String()))
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return "", err
	}
	return stdout.String(), nil
}

// complaint is the first line of ssh that is one.
func complaint(stderr string) string {
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "Pseudo-terminal will not be") {
			return line
		}
	}
	return ""
}

// stillParses refuses to take the line away from a config that needs it: one with
// Stay keywords, and no IgnoreUnknown of its own for them. One that ssh refuses
// as it stands loses nothing.
func (s *Setup) stillParses(ctx context.Context, t *texts) error {
	dir, err := makeProofFolder()
	if err != nil {
		return err
	}
	p := &proof{s: s, t: t, dir: dir}
	defer p.close()
	if err := errors.Join(p.write("old", t.base), p.write("new", t.config.text)); err != nil {
		return err
	}
	with := bytes.Replace(t.config.text, []byte(t.include), []byte("Include "+globQuote(t.own.path)), 1)
	if err := p.write("new", with); err != nil {
		return err
	}
	_, without := p.ask(ctx, "old", "stay")
	if without == nil {
		return nil
	}
	if _, err := p.ask(ctx, "new", "stay"); err != nil {
		return nil
	}
	return &RefusedConfigError{t.config.path, errors.New(p.translate(without.Error())), true}
}
