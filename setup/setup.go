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
// *PatternError, *ProgramError, *ReadOnlyError, *ForeignFileError,
// *RefusedConfigError, *ChangedHostError, or of files.
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
	r := &rendering{stanzas: stanzas, command: command, config: t.config.path, created: t.created}
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
	base        []byte // the config without it
	isIncluded  bool
	stanzas     []stanza // of own, where it is included
	created     []string
}

// ownName is the file beside the config.
const ownName = "ssh-stay.conf"

func (s *Setup) read() (*texts, error) {
	path := filepath.Clean(s.configPath())
	config, err := openFile(path)
	if err != nil {
		return nil, err
	}
	own, err := openFile(filepath.Join(filepath.Dir(path), ownName))
	if err != nil {
		return nil, err
	}
	own.inherit(config)
	t := &texts{config: config, own: own, include: s.includeLine(own.path)}
	t.base, t.isIncluded = without(config.text, t.include)
	if own.exists {
		made, err := parseOwn(own.text, path)
		if err != nil {
			return nil, &ForeignFileError{own.path, err}
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

func (s *Setup) configPath() string {
	if s.Config != "" {
		return s.Config
	}
	return filepath.Join(s.Home, ".ssh", "config")
}

// isDefault says that ssh reads the config without being told to.
func (s *Setup) isDefault() bool {
	return filepath.Clean(s.configPath()) == filepath.Join(s.Home, ".ssh", "config")
}

// includeLine is relative to ~/.ssh where it can be, so that a config may be
// shared between machines: ssh passes over an Include that names no file.
func (s *Setup) includeLine(own string) string {
	if s.isDefault() {
		return "Include " + ownName
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

// without takes our line out of a config, wherever it stands.
func without(text []byte, line string) (rest []byte, found bool) {
	mark := ""
	body, ok := strings.CutPrefix(string(text), byteOrderMark)
	if ok {
		mark = byteOrderMark
	}
	var b strings.Builder
	for l := range strings.Lines(body) {
		if strings.TrimSpace(l) == line {
			found = true
			continue
		}
		b.WriteString(l)
	}
	if !found {
		return text, false
	}
	return []byte(mark + b.String()), true
}

// included is the config with our line at its top, with line ends like its own.
// A byte order mark stays first: an ssh that knows it wants it there.
func (t *texts) included() []byte {
	body, mark := strings.CutPrefix(string(t.base), byteOrderMark)
	end := "\n"
	if i := strings.IndexByte(body, '\n'); i > 0 && body[i-1] == '\r' {
		end = "\r\n"
	}
	out := t.include + end + body
	if mark {
		out = byteOrderMark + out
	}
	return []byte(out)
}

// ForeignFileError is a file where ours should be, which setup has not written.
type ForeignFileError struct {
	Path string
	Why  error
}

func (e *ForeignFileError) Error() string { return e.Path + ": " + e.Why.Error() }
func (e *ForeignFileError) Unwrap() error { return e.Why }

var (
	errNotOurs  = errors.New("exists, and is not of ssh-stay setup")
	errOtherFor = errors.New("belongs to another config")
)
