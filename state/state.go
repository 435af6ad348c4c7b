// Package state keeps the files that `ssh-stay status` reads. ControlPersist
// sends a ProxyCommand's stderr to /dev/null, so the last error of each host is
// also written here, and what a session waits for. Nothing secret is: names, times and error texts alone.
package state

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

const failurePrefix = "failure-"

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

// Failures returns what is kept, the newest first. A directory that does not
// exist holds nothing; files that cannot be read are passed over.
func (d Dir) Failures() ([]Failure, error) {
	files, err := d.list(failurePrefix)
	var all []Failure
	for _, file := range files {
		var f Failure
		if readJSON(file, &f) == nil {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b Failure) int { return b.Time.Compare(a.Time) })
	return all, err
}
