package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// edit is one file to be replaced, made or removed.
type edit struct {
	file      *file
	text      []byte
	remove    bool
	andFolder bool // with its folder, if that is then empty

	temp string // the new file on its way
}

// step is one change of the file system. A kill between two of them leaves a
// configuration that means what it meant, or what it was to mean.
type step struct {
	name string
	do   func() error
	undo func()
}

// steps makes all new files first, so that a full disk changes nothing, and then
// puts them into their places in the order of the edits: what is included before
// the line that includes it, and the line away before what it includes.
func (p *Plan) steps() []step {
	var make, swap []step
	for _, e := range p.edits {
		if !e.remove {
			make = append(make, step{"write new " + e.file.path, e.writeTemp, e.dropTemp})
		}
		swap = append(swap, step{"replace " + e.file.path, e.swap, e.restore})
	}
	return append(make, swap...)
}

// Apply writes the plan. Where a step fails, those before it are taken back.
func (p *Plan) Apply() error {
	for _, e := range p.edits {
		sweep(filepath.Dir(e.file.target))
	}
	steps := p.steps()
	for i, s := range steps {
		if err := s.do(); err != nil {
			for _, done := range slices.Backward(steps[:i]) {
				done.undo()
			}
			return readOnly(fmt.Errorf("%s: %w", s.name, err), nil)
		}
	}
	return nil
}

func (e *edit) writeTemp() (err error) {
	dir := filepath.Dir(e.file.target)
	if e.file.noFolder {
		if err := makeFolder(dir); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return err
	}
	e.temp = f.Name()
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			e.dropTemp()
		}
	}()
	if err := e.file.owner.give(f, e.file); err != nil {
		return err
	}
	if err := f.Chmod(e.file.mode); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if _, err := f.Write(e.text); err != nil {
		return err
	}
	return f.Sync()
}

// makeFolder makes ~/.ssh, unless the edit before has.
func makeFolder(dir string) error {
	if err := os.Mkdir(dir, 0o700); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (e *edit) dropTemp() {
	if e.temp != "" {
		os.Remove(e.temp)
		e.temp = ""
	}
	if e.file.noFolder {
		os.Remove(filepath.Dir(e.file.target)) // unless it holds something
	}
}

// swap puts the new file in its place, if the old one is still what was shown.
func (e *edit) swap() error {
	if err := e.file.unchanged(); err != nil {
		return err
	}
	target := e.file.target
	if e.remove {
		if err := os.Remove(target); err != nil {
			return err
		}
		if e.andFolder {
			os.Remove(filepath.Dir(target)) // unless it holds something
			return nil
		}
	} else {
		if err := os.Rename(e.temp, target); err != nil {
			return err
		}
		e.temp = ""
	}
	return syncFolder(filepath.Dir(target))
}

// restore takes a swap back. The old text is as good as the old file.
func (e *edit) restore() {
	if !e.file.exists {
		os.Remove(e.file.target)
		return
	}
	back := &edit{file: e.file, text: e.file.text}
	if back.writeTemp() == nil {
		os.Rename(back.temp, e.file.target)
	}
}
