// Package setup puts ssh-stay into a user's ssh configuration, by one Include
// line at its top and a file of its own beside it, and takes it out again. It
// also edits the settings of VS Code and its like. Nothing is written before
// `ssh -G` has shown that no other host is changed. What is shown to the user,
// and whom to ask, is the caller's.
package setup

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Setup is one user's ssh, and the program to put before it.
type Setup struct {
	Home    string // the user's, as the password database has it
	Config  string // absolute path of another file than Home/.ssh/config; "" for that
	Program string // absolute path of ssh-stay
	SSH     string // the ssh to ask; "" for that in PATH
	System  string // the system's ssh_config, which is read with the user's own; "" for none
}

// Change is what a user wants.
type Change struct {
	// Patterns are those of a Host line; ! excludes hosts from all of them. Each
	// pattern is a stanza of its own, and replaces the one it had.
	Patterns []string
	Resume   string         // target, jump, no; "" says nothing about it
	Interval *time.Duration // StayInterval, in whole seconds; nil says nothing about it
	Undo     bool           // take the stanzas of Patterns out; without any, everything
}

// Plan is what is to be written. It is made of what the files held when it was
// made; Apply refuses where they hold something else by then.
type Plan struct {
	Notes []string // what the user should know, a line each

	edits []*edit
}

// Empty says that everything is as wanted.
func (p *Plan) Empty() bool { return len(p.edits) == 0 }

// Plan finds out what c takes, and proves it harmless. Errors are a
// *PatternError, *ProgramError, *ReadOnlyError, *OwnerError, *GroupError,
// *SystemConfigError, *ForeignFileError, *RefusedConfigError, *ChangedHostError,
// *PassingError, *CanonicalError, *AddressError, *SharedSocketError, or of files.
func (s *Setup) Plan(ctx context.Context, c Change) (*Plan, error) {
	t, err := s.read()
	if err != nil {
		return nil, err
	}
	stanzas, err := c.apply(t.stanzas)
	if err != nil {
		return nil, err
	}
	if c.Undo && len(stanzas) == 0 {
		return s.undo(ctx, t)
	}
	if c.Undo && len(stanzas) == len(t.stanzas) {
		return &Plan{}, nil
	}
	prog, err := s.command()
	if err != nil {
		return nil, err
	}
	return s.install(ctx, t, stanzas, prog)
}

// install renders the stanzas, and asks ssh what comes of them.
func (s *Setup) install(ctx context.Context, t *texts, stanzas []stanza, command string) (*Plan, error) {
	r := &rendering{stanzas: stanzas, command: command, config: t.config.path, created: t.created, jumps: [][]string{nil}}
	p, err := s.newProof(ctx, t, r)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	plan := &Plan{Notes: p.notes}
	own := &edit{file: t.own, text: []byte(r.text())}
	config := &edit{file: t.config, text: t.included()}
	for _, e := range []*edit{own, config} { // what the line includes, then the line
		if e.file.exists && string(e.file.text) == string(e.text) {
			continue
		}
		plan.edits = append(plan.edits, e)
	}
	return plan, readOnly(plan.check(), r)
}

// undo takes everything out that was put in: the line, then what it includes.
func (s *Setup) undo(ctx context.Context, t *texts) (*Plan, error) {
	plan := &Plan{}
	if t.isIncluded {
		if err := s.stillParses(ctx, t); err != nil {
			return nil, err
		}
		e := &edit{file: t.config, text: t.base}
		e.remove = slices.Contains(t.created, createdConfig) && len(t.base) == 0
		plan.edits = append(plan.edits, e)
	}
	if t.own.exists {
		e := &edit{file: t.own, remove: true}
		e.andFolder = slices.Contains(t.created, createdFolder)
		plan.edits = append(plan.edits, e)
	}
	return plan, readOnly(plan.check(), nil)
}

// What setup has made, and so takes away again.
const (
	createdConfig = "config"
	createdFolder = "folder"
)

// texts is what the files hold.
type texts struct {
	config, own *file
	include     string // our line
	comment     string // of the user's, behind it
	base        []byte // the config without it
	isIncluded  bool
	stanzas     []stanza // of own, where it is included
	created     []string
}

func (s *Setup) read() (*texts, error) {
	path := s.configPath()
	if s.System != "" && same(path, s.System) {
		return nil, &SystemConfigError{path}
	}
	config, err := openFile(path)
	if err != nil {
		return nil, err
	}
	own, err := openFile(filepath.Join(filepath.Dir(path), s.ownName()))
	if err != nil {
		return nil, err
	}
	own.inherit(config)
	t := &texts{config: config, own: own, include: s.includeLine(own.path)}
	t.base, t.comment, t.isIncluded = without(config.text, t.include)
	if own.exists {
		made, err := parseOwn(own.text, path)
		if err != nil {
			return nil, foreign(own.path, err)
		}
		if t.created = made.created; t.isIncluded {
			t.stanzas = made.stanzas
		}
	}
	if !config.exists {
		t.created = []string{createdConfig}
		if config.noFolder {
			t.created = append(t.created, createdFolder)
		}
	}
	return t, nil
}

// includeLine is relative to ~/.ssh where it can be, so that a config may be
// shared between machines: ssh passes over an Include that names no file.
func (s *Setup) includeLine(own string) string {
	if s.isDefault() {
		return "Include " + usualName
	}
	return "Include " + globQuote(own)
}

// globQuote makes one word for ssh_config of a path that no pattern takes for more.
func globQuote(path string) string {
	if runtime.GOOS == "windows" {
		return `"` + filepath.ToSlash(path) + `"`
	}
	return `"` + strings.NewReplacer(`*`, `\\*`, `?`, `\\?`, `[`, `\\[`, `\`, `\\\\`, `"`, `\"`).Replace(path) + `"`
}

const byteOrderMark = "\ufeff"

// without takes our line out of a config, wherever it stands, with the comment
// that a user has put behind the first.
func without(text []byte, line string) (rest []byte, comment string, found bool) {
	mark := ""
	body, ok := strings.CutPrefix(string(text), byteOrderMark)
	if ok {
		mark = byteOrderMark
	}
	var b strings.Builder
	for l := range strings.Lines(body) {
		behind, ours := strings.CutPrefix(strings.TrimSpace(l), line)
		if !ours || behind != "" && !strings.HasPrefix(strings.TrimLeft(behind, " \t"), "#") || strings.HasPrefix(behind, "#") {
			b.WriteString(l)
			continue
		}
		if !found {
			comment = behind
		}
		found = true
	}
	if !found {
		return text, "", false
	}
	return []byte(mark + b.String()), comment, true
}

// included is the config with our line at its top, with line ends like its own.
// A byte order mark stays first: an ssh that knows it wants it there.
func (t *texts) included() []byte {
	body, mark := strings.CutPrefix(string(t.base), byteOrderMark)
	end := "\n"
	if i := strings.IndexByte(body, '\n'); i > 0 && body[i-1] == '\r' {
		end = "\r\n"
	}
	out := t.include + t.comment + end + body
	if mark {
		out = byteOrderMark + out
	}
	return []byte(out)
}

// ForeignFileError is a file where ours should be, which setup has not written, or
// not for this config.
type ForeignFileError struct {
	Path  string
	Other string // the config that it is for; "" where setup has not written it
	Why   error
}

func (e *ForeignFileError) Error() string { return e.Path + ": " + e.Why.Error() }
func (e *ForeignFileError) Unwrap() error { return e.Why }

func foreign(path string, why error) error {
	e := &ForeignFileError{Path: path, Why: why}
	if of := (*otherConfigError)(nil); errors.As(why, &of) {
		e.Other = of.config
	}
	return e
}

type otherConfigError struct{ config string }

func (e *otherConfigError) Error() string { return "belongs to another config, " + e.config }

var errNotOurs = errors.New("exists, and is not of ssh-stay setup")
