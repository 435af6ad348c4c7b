//go:build unix

package state

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	d := Dir(filepath.Join(t.TempDir(), "state"))
	if err := d.WriteFailure(Failure{Host: "h"}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(string(d))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got directory %v, %v, want mode 0700", info.Mode(), err)
	}
	files, err := filepath.Glob(filepath.Join(string(d), "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v, want one file", files, err)
	}
	if info, err = os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got file %v, %v, want mode 0600", info.Mode(), err)
	}
}

func TestRefusedDirectories(t *testing.T) {
	for name, make := range map[string]func(dir string) error{
		"symbolic link": func(dir string) error {
			if err := os.Mkdir(dir+"-target", 0o700); err != nil {
				return err
			}
			return os.Symlink(dir+"-target", dir)
		},
		"open to the group": func(dir string) error {
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return os.Chmod(dir, 0o750)
		},
		"open to all": func(dir string) error {
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return os.Chmod(dir, 0o701)
		},
	} {
		dir := filepath.Join(t.TempDir(), "state")
		if err := make(dir); err != nil {
			t.Fatal(err)
		}
		err := Dir(dir).WriteFailure(Failure{Host: "h"})
		if err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v, want an error that names the directory", name, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("%s: got %v written, want nothing", name, entries)
		}
	}
}

func TestForeignDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		return // only root can give a directory away
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := Dir(dir).WriteFailure(Failure{Host: "h"}); err == nil {
		t.Error("got no error for another user's directory, want one")
	}
}
