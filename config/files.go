package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxIncludeDepth is OpenSSH's READCONF_MAX_DEPTH.
const maxIncludeDepth = 16

// badOwner is how ssh begins this error, and what users look for.
const badOwner = "Bad owner or permissions on"

// source says whose file is read, and how strictly.
type source struct {
	user  bool // the user's: relative includes are in ~/.ssh, and ~ may be used
	check bool // refuse a file that others own or may write
}

// pass evaluates the files: that of -F alone, or the user's and the system's.
// Of the latter two, ssh passes over one that cannot be opened.
func (e *evaluator) pass() error {
	switch {
	case strings.EqualFold(e.File, "none"):
		return nil
	case e.File != "":
		if err := e.file(e.File, source{user: true}, true, 0); err != nil {
			return cannotOpen(e.File, err)
		}
		return nil
	}
	for _, f := range e.defaultFiles() {
		if err := e.file(f.name, f.source, true, 0); err != nil && cannotOpen(f.name, err) == err {
			return err
		}
	}
	return nil
}

// defaultFile is one of those that ssh reads without -F.
type defaultFile struct {
	name string
	source
}

func (e *evaluator) defaultFiles() []defaultFile {
	return []defaultFile{
		{filepath.Join(e.Home, ".ssh", "config"), source{user: true, check: true}},
		{systemConfig(), source{}},
	}
}

// cannotOpen words the error of a file that could not be opened, and leaves
// others as they are.
func cannotOpen(name string, err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) && path.Path == name {
		return fmt.Errorf("can't open user config file %s: %w", name, path.Err)
	}
	return err
}

// file evaluates one file. An inactive parent block makes all of it inactive,
// but what is wrong in it is an error all the same. A file that cannot be opened
// is a *fs.PathError of its name.
func (e *evaluator) file(name string, src source, parent bool, depth int) error {
	if depth > maxIncludeDepth {
		return fmt.Errorf("%s: too many nested Include lines (more than %d)", name, maxIncludeDepth)
	}
	lines, err := e.load(name, src)
	if err != nil {
		return err
	}
	active := parent
	readTo := 0 // up to where the library has read a block that applies
	for i, l := range lines {
		switch l.keyword {
		case "host":
			active, err = e.hostLine(l)
			active = active && parent
		case "match":
			active, err = e.matchLine(l)
			active = active && parent
		case "include":
			err = e.include(l, src, active, depth)
		default:
			if active && i >= readTo {
				readTo = i + blockLen(lines[i:])
				if err := read(lines[i:readTo]); err != nil {
					return err
				}
			}
			err = e.set(lines[i], active, src.user)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func blockLen(lines []line) int {
	n := slices.IndexFunc(lines, func(l line) bool { return l.keyword == "host" || l.keyword == "match" })
	if n < 0 {
		return len(lines)
	}
	return n
}

// load reads a file, once for both passes.
func (e *evaluator) load(name string, src source) ([]line, error) {
	if lines, ok := e.files[name]; ok {
		return lines, nil
	}
	text, err := e.read(name, src)
	if err != nil {
		return nil, err
	}
	lines := scan(name, text)
	e.files[name] = lines
	return lines, nil
}

// read reads the text of a file that may be trusted; ssh finds none in a folder.
func (e *evaluator) read(name string, src source) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if src.check && !trusted(info, func() bool { return e.ssh().debian }) {
		return nil, fmt.Errorf("%s %s", badOwner, name)
	}
	if info.IsDir() {
		return nil, nil
	}
	text, err := readAll(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}

// include reads what its patterns match, for a block that does not apply too.
func (e *evaluator) include(l line, src source, active bool, depth int) error {
	if l.rest == "" {
		return failAt(l, errMissing)
	}
	args, err := words(l.rest)
	if err != nil {
		return failAt(l, err)
	}
	for _, arg := range args {
		if arg == "" {
			return failAt(l, errors.New("empty argument"))
		}
		path, ok, err := e.includePath(arg, src)
		if err != nil {
			return failAt(l, err)
		}
		if !ok {
			continue
		}
		src.check = true
		for _, f := range glob(path) {
			err := e.file(f, src, active, depth+1)
			if errors.Is(err, fs.ErrNotExist) { // a dangling symbolic link
				continue
			}
			if opened := cannotOpen(f, err); opened != err {
				return failAt(l, opened)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// includePath anchors the path of an Include; ok is false where ssh passes over
// it. Tokens and ${ENV} are OpenSSH 9.9's.
func (e *evaluator) includePath(arg string, src source) (path string, ok bool, err error) {
	if strings.ContainsAny(arg, "%$") && e.ssh().version >= v9_9 {
		if arg, err = e.expandEnvTokens(arg); err != nil {
			return "", false, nil // as ssh, which tells of it alone
		}
	}
	switch {
	case strings.HasPrefix(arg, "~") && !src.user:
		return "", false, fmt.Errorf("bad include path %s", arg)
	case strings.HasPrefix(arg, "~"):
		path, err := tilde(arg, e.globHome)
		return path, err == nil, nil // glob(3) finds nothing
	case filepath.IsAbs(arg):
		return arg, true, nil
	case src.user:
		return e.globHome + "/.ssh/" + arg, true, nil
	}
	return filepath.Dir(systemConfig()) + "/" + arg, true, nil
}

// maxFile bounds what one file may hold.
const maxFile = 64 << 20

func readAll(f io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errors.New("file is larger than 64 MiB")
	}
	return text, err
}
