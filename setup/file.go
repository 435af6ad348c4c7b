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
		return checkOwner(filepath.Dir(filepath.Dir(f.path)))
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
	return checkOwner(dir)
}

// OwnerError is a file or folder of another user. Who may change a folder can
// put anything in our way there, so that root writes into no user's.
type OwnerError struct {
	Path string
	UID  int // whose it is
}

func (e *OwnerError) Error() string { return e.Path + ": belongs to another user" }

// trusted refuses what another user has a say in: the file, the folders that it
// is named and kept in, and for root the link to it.
func (f *file) trusted() error {
	if inStore(f.target) {
		return nil // root's, and refused in its own way
	}
	if !f.owner.mine() {
		return &OwnerError{f.path, f.owner.id()}
	}
	for _, dir := range []string{filepath.Dir(f.path), filepath.Dir(f.target)} {
		if err := checkOwner(dir); err != nil {
			return err
		}
	}
	link, err := os.Lstat(f.path)
	if err == nil && link.Mode()&fs.ModeSymlink != 0 && !ownerOf(link).mayLead() {
		return &OwnerError{f.path, ownerOf(link).id()}
	}
	return nil
}

func checkOwner(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !ownerOf(info).mine() {
		err = &OwnerError{dir, ownerOf(info).id()}
	}
	return err
}

// inStore knows what Nix has made by its name, whoever may write there.
func inStore(path string) bool { return strings.HasPrefix(path, "/nix/store/") }

// GroupError is a file of a group that a new one cannot have, since it is none of
// this user's, and to which it matters.
type GroupError struct{ Path string }

func (e *GroupError) Error() string {
	return e.Path + ": its group is none of yours, and would be lost"
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
		if inStore(target) {
			return &fs.PathError{Op: "write", Path: target, Err: errStore}
		}
		if e.file.links > 1 {
			return &fs.PathError{Op: "replace", Path: target, Err: errLinked}
		}
		if e.file.noFolder {
			continue // made in its turn
		}
		if !e.remove && !e.file.owner.keepsGroup(e.file.mode) {
			return &GroupError{target}
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

// proofPrefix begins the names of the folders that ssh is asked in.
const proofPrefix = "ssh-stay-setup-"

// makeProofFolder also removes what killed runs of this user have left. The
// digits are os.MkdirTemp's.
func makeProofFolder() (string, error) {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), proofPrefix+"[0-9]*"))
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && info.IsDir() && ownerOf(info).mine() && time.Since(info.ModTime()) > 24*time.Hour {
			os.RemoveAll(name)
		}
	}
	return os.MkdirTemp("", proofPrefix)
}
