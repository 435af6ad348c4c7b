//go:build linux || darwin || freebsd

package relay

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// maxSocketPath is what fits sun_path of macOS with its NUL; Linux has 107.
const maxSocketPath = 103

// place is where the files of one version's daemon may be. Only the user can
// reach dir; base, which holds it, may hold the binaries as well.
type place struct {
	base, dir string
	version   string
}

func (at place) lock() string   { return filepath.Join(at.dir, at.version+".lock") }
func (at place) socket() string { return filepath.Join(at.dir, at.version+".sock") }

// fresh is what the socket is called until it can be connected to.
func (at place) fresh() string { return filepath.Join(at.dir, at.version+freshSuffix) }

const freshSuffix = ".new"

// placeOf is the place with a socket that was made at that path.
func placeOf(fresh string) place {
	dir, name := filepath.Split(fresh)
	dir = filepath.Clean(dir)
	return place{filepath.Dir(dir), dir, strings.TrimSuffix(name, freshSuffix)}
}

// places are where to look for a daemon, best first. $XDG_RUNTIME_DIR is none:
// logind removes it at logout.
func (p *program) places(version string) []place {
	var all []place
	add := func(base, run string) {
		at := place{base, filepath.Join(base, run), version}
		if len(at.socket()) <= maxSocketPath {
			all = append(all, at)
		}
	}
	if cache := cacheDir(); cache != "" {
		add(filepath.Join(cache, "ssh-stay"), runPrefix+thisMachine().machine)
	}
	add(filepath.Join(p.tmp, "ssh-stay-"+strconv.Itoa(os.Geteuid())), "run")
	return all
}

// cacheDir is empty where the environment names none. os.UserCacheDir is not
// it: the upload looks in the same place on macOS, by the shell.
func cacheDir() string {
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".cache")
	}
	return ""
}

// runPrefix begins the name of a directory that is one machine's: several may
// share a home, but a socket is of one kernel.
const runPrefix = "run-"

// siblings are the places of other machines beside this one; or of this one,
// when it was called otherwise. With errUnseen some may be missing.
func (at place) siblings() ([]place, error) {
	entries, err := os.ReadDir(at.base)
	if isAbsent(err) || err != nil && at.isForeign() {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errUnseen, err)
	}
	var all []place
	for _, entry := range entries {
		other := place{at.base, filepath.Join(at.base, entry.Name()), at.version}
		if strings.HasPrefix(entry.Name(), runPrefix) && other.dir != at.dir && len(other.socket()) <= maxSocketPath {
			all = append(all, other)
		}
	}
	return all, err
}

// thisMachine is who we are. A host's name may change while it runs.
func thisMachine() identity {
	name, _ := os.Hostname()
	id, _ := os.ReadFile("/etc/machine-id")
	return identify(name, string(id), bootID())
}

// ownVersion is that of the running binary, even if its file has been replaced.
func ownVersion() (string, error) {
	exe := "/proc/self/exe"
	if _, err := os.Stat(exe); err != nil {
		if exe, err = os.Executable(); err != nil {
			return "", err
		}
	}
	f, err := os.Open(exe)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// make creates what is missing of the directories and says whether they are
// ours alone. Each is judged before anything is created in it.
func (at place) make() error {
	parent := filepath.Dir(at.base)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	if err := trusted(parent); err != nil {
		return err
	}
	for _, dir := range []string{at.base, at.dir} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := at.check(dir); err != nil {
			return err
		}
	}
	return nil
}

// safe says whether the directories exist and are ours alone.
func (at place) safe() error {
	return cmp.Or(at.check(at.base), at.check(at.dir), trusted(filepath.Dir(at.base)))
}

// isForeign says whether the nearest of our directories and those above that can be
// seen is somebody else's: no daemon of ours is behind it.
func (at place) isForeign() bool {
	for dir := at.dir; ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err == nil {
			return owner(info) != os.Geteuid()
		}
		if dir == filepath.Dir(dir) || !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
}

// check judges base or dir. The first may be readable: a shell with the usual
// umask may have made it.
func (at place) check(dir string) error {
	forbidden := fs.FileMode(0o022)
	if dir == at.dir {
		forbidden = 0o077
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	switch {
	case !info.IsDir(): // a symbolic link, too
		return fmt.Errorf("%s is no directory", dir)
	case owner(info) != os.Geteuid():
		return fmt.Errorf("%s belongs to uid %d", dir, owner(info))
	case info.Mode().Perm()&forbidden != 0:
		return fmt.Errorf("%s is open to others: mode %#o", dir, info.Mode().Perm())
	}
	return nil
}

// trusted says whether nobody else can replace what is in dir, up to the home
// directory or the root. ~/.cache may be a link; what it leads to counts.
func trusted(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	home, _ := filepath.EvalSymlinks(os.Getenv("HOME"))
	for {
		info, err := os.Lstat(dir)
		if err != nil {
			return err
		}
		if uid := owner(info); uid != 0 && uid != os.Geteuid() {
			return fmt.Errorf("%s belongs to uid %d", dir, uid)
		}
		if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return fmt.Errorf("%s is writable by others: mode %#o", dir, info.Mode().Perm())
		}
		if dir == home || dir == filepath.Dir(dir) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

func owner(info fs.FileInfo) int {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return int(st.Uid)
}
