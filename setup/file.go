package setup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// file is a file as it was when we looked.
type file struct {
	path     string // as the user names it
	target   string // behind symbolic links, which stay
	text     []byte
	exists   bool
	noFolder bool
	mode     fs.FileMode
	owner    owner
	links    uint64
}

// maxFile bounds what is read.
const maxFile = 64 << 20

var (
	errDangling  = errors.New("symbolic link to nothing")
	errIrregular = errors.New("not a regular file")
	errLinked    = errors.New("has several hard links, and could not be replaced under all names")
	errNotOwned  = errors.New("belongs to another user")
	errTooLarge  = errors.New("file is larger than 64 MiB")
	errStore     = errors.New("is in a store that others write")
)

// openFile reads a file, or finds that there is none.
func openFile(path string) (*file, error) {
	f := &file{path: path, target: path, mode: 0o600}
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, f.missing()
	}
	if err != nil {
		return nil, err
	}
	f.target = target
	info, err := os.Stat(target)
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: %w", path, errIrregular)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s: %w", path, errTooLarge)
	}
	if f.text, err = os.ReadFile(target); err != nil {
		return nil, err
	}
	f.exists, f.mode = true, info.Mode().Perm()
	f.owner, f.links = ownerOf(info), links(info)
	return f, f.trusted()
}

// missing finds where a file is to be made: in the folder that it is named in.
func (f *file) missing() error {
	if _, err := os.Lstat(f.path); err == nil {
		return fmt.Errorf("%s: %w", f.path, errDangling)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(f.path))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(filepath.Dir(f.path)); err == nil {
			return fmt.Errorf("%s: %w", filepath.Dir(f.path), errDangling)
		}
		f.noFolder = true
		return nil
	}
	if err != nil {
		return err
	}
	f.target = filepath.Join(dir, filepath.Base(f.path))
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	f.owner = ownerOf(info)
	return nil
}

// trusted refuses what we could not write as it is: another's file, unless we
// are root, who gives it back, and for root a link that a user has laid to what
// is not theirs.
func (f *file) trusted() error {
	if !f.owner.writable() {
		return fmt.Errorf("%s: %w", f.path, errNotOwned)
	}
	if link, err := os.Lstat(f.path); err == nil && link.Mode()&fs.ModeSymlink != 0 {
		if !ownerOf(link).mayPointTo(f.owner) {
			return fmt.Errorf("%s: link of another user than its target's: %w", f.path, errNotOwned)
		}
	}
	return nil
}

// inherit gives a file that does not exist the owner of the one beside it.
func (f *file) inherit(config *file) {
	if !f.exists && config.exists {
		f.owner = config.owner
	}
}

// unchanged says whether the file is still as it was when we looked.
func (f *file) unchanged() error {
	now, err := openFile(f.path)
	if err != nil {
		return err
	}
	if now.exists != f.exists || now.target != f.target && !f.noFolder || now.mode != f.mode || !bytes.Equal(now.text, f.text) {
		return &RaceError{f.path}
	}
	return nil
}

// RaceError is a file that changed after its change was shown.
type RaceError struct{ Path string }

func (e *RaceError) Error() string { return e.Path + ": changed while setup was looking at it" }

// ReadOnlyError is a file that cannot be replaced where it is.
type ReadOnlyError struct {
	Path  string
	Lines string // what its top would have to be; "" when something is to be taken out
	Err   error
}

func (e *ReadOnlyError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *ReadOnlyError) Unwrap() error { return e.Err }

// readOnly makes a ReadOnlyError of an error that says so, of file or folder.
func readOnly(err error, r *rendering) error {
	path := (*fs.PathError)(nil)
	link := (*os.LinkError)(nil)
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) && !errors.Is(err, errStore) && !errors.Is(err, errLinked) {
		return err
	}
	e := &ReadOnlyError{Err: err}
	switch {
	case errors.As(err, &path):
		e.Path, e.Err = path.Path, path.Err
	case errors.As(err, &link):
		e.Path, e.Err = link.New, link.Err
	}
	if r != nil {
		e.Lines = r.paste()
	}
	return e
}

// check finds what would fail, before anybody is asked.
func (p *Plan) check() error {
	for _, e := range p.edits {
		target := e.file.target
		if strings.HasPrefix(target, "/nix/store/") {
			return &fs.PathError{Op: "write", Path: target, Err: errStore}
		}
		if e.file.links > 1 {
			return &fs.PathError{Op: "replace", Path: target, Err: errLinked}
		}
		if e.file.noFolder {
			continue // made in its turn
		}
		if err := checkWritable(filepath.Dir(target), true); err != nil {
			return err
		}
		if e.file.exists {
			if err := checkWritable(target, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// tempPrefix begins the names of new files on their way; a dot hides them from
// the patterns of Include.
const tempPrefix = ".ssh-stay-setup-"

// sweep removes what a killed run has left.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > time.Hour {
			os.Remove(name)
		}
	}
}
