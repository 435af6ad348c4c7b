package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Waiting is a session that has lost its connection, and why it has none yet.
// Only the process that wrote it removes it; one that died so is passed over.
type Waiting struct {
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
	Error string    `json:"error"`
}

const waitingPrefix = "waiting-"

// oldWaiting is the age at which the record of a dead process is removed. A
// younger one may be of a living process on another machine that shares our home.
const oldWaiting = 30 * 24 * time.Hour

// WriteWaiting replaces what is kept of this process, which has one session.
func (d Dir) WriteWaiting(w Waiting) error { return d.write(d.waiting(os.Getpid()), w) }

// EndWaiting removes it again.
func (d Dir) EndWaiting() error {
	err := os.Remove(d.waiting(os.Getpid()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d Dir) waiting(pid int) string {
	return filepath.Join(string(d), fmt.Sprintf("%s%d.json", waitingPrefix, pid))
}

// Waiting returns the sessions of living processes, the longest waiting first.
func (d Dir) Waiting() ([]Waiting, error) {
	files, err := d.list(waitingPrefix)
	var all []Waiting
	for _, file := range files {
		var w Waiting
		if readJSON(file, &w) != nil {
			continue
		}
		digits := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), waitingPrefix), ".json")
		if pid, err := strconv.Atoi(digits); err != nil || !runs(pid) {
			if err == nil && time.Since(w.Since) > oldWaiting {
				os.Remove(file)
			}
			continue
		}
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b Waiting) int { return a.Since.Compare(b.Since) })
	return all, err
}

// write writes a file that appears whole or not at all.
func (d Dir) write(name string, content any) error {
	if err := d.make(); err != nil {
		return err
	}
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(string(d), ".new-") // mode 0600
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
