// Package state keeps the files that `ssh-stay status` reads: one of each
// session, while it lasts, and the last error of each host, since ControlPersist
// sends a ProxyCommand's stderr to /dev/null. Nothing secret is in them: names,
// times, figures and error texts alone.
package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/adrg/xdg"
)

// Failure is the last error of one host.
type Failure struct {
	Host  string    `json:"host"`
	Time  time.Time `json:"time"`
	Error string    `json:"error"`
}

// Dir is a directory of state files, mode 0700 and our own.
type Dir string

// Default is the directory below the user's state home.
func Default() Dir { return Dir(filepath.Join(xdg.StateHome, "ssh-stay")) }

const (
	failurePrefix = "failure-"
	tempPrefix    = ".new-"
)

// oldFailure is the age at which a failure is forgotten.
const oldFailure = 7 * 24 * time.Hour

// maxFile bounds what is read back.
const maxFile = 64 << 10

// WriteFailure replaces what is kept of f.Host. The file appears whole or not
// at all.
func (d Dir) WriteFailure(f Failure) error {
	sum := sha256.Sum256([]byte(f.Host))
	return d.write(filepath.Join(string(d), failurePrefix+hex.EncodeToString(sum[:8])+".json"), f)
}

// make creates the directory. One that is a symbolic link, or that others can
// enter, is refused, for reading too.
func (d Dir) make() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	return d.check()
}

func (d Dir) check() error {
	info, err := os.Lstat(string(d))
	if err != nil {
		return fmt.Errorf("look at state directory: %w", err)
	}
	if !info.IsDir() || !ours(info) {
		return fmt.Errorf("state directory %s: not a directory of ours with mode 0700", d)
	}
	return nil
}

// Failures returns what is kept, the newest first, and removes what is older than
// a week. A directory that does not exist holds nothing; files that cannot be read
// are passed over.
func (d Dir) Failures() ([]Failure, error) {
	files, err := d.list(failurePrefix)
	var all []Failure
	for _, file := range files {
		var f Failure
		switch err := readJSON(file, &f); {
		case err != nil:
		case time.Since(f.Time) > oldFailure:
			os.Remove(file)
		default:
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b Failure) int { return b.Time.Compare(a.Time) })
	return all, err
}

// write writes a file that appears whole or not at all. It is not synced: after
// a crash of the machine no session is left to tell of, and one that was cut off
// is passed over.
func (d Dir) write(name string, content any) error {
	if err := d.make(); err != nil {
		return err
	}
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(string(d), tempPrefix) // mode 0600
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	defer os.Remove(temp.Name()) // fails once it is renamed
	_, err = temp.Write(append(text, '\n'))
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// list returns the files whose names begin with prefix. A directory that does
// not exist has none.
func (d Dir) list(prefix string) (files []string, err error) {
	if err := d.check(); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), prefix) {
			files = append(files, filepath.Join(string(d), e.Name()))
		}
	}
	return files, nil
}

func readJSON(file string, into any) error {
	text, err := os.ReadFile(file)
	if err == nil && len(text) > maxFile {
		err = errors.New("too long")
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
