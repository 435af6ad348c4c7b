package relay

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMakeCreatesPrivate(t *testing.T) {
	f := newFar(t)
	for _, at := range f.places() {
		if at.safe() == nil {
			t.Errorf("%s is safe before it exists", at.dir)
		}
		for range 2 {
			if err := at.make(); err != nil {
				t.Error(err)
			}
		}
		if err := at.safe(); err != nil {
			t.Error(err)
		}
		info, err := os.Stat(at.dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o700 {
			t.Errorf("got mode %#o of %s, want 0700", got, at.dir)
		}
	}
}

// What others may have prepared, or could replace, is refused.
func TestUnsafeDirectories(t *testing.T) {
	foreign := func(at place, dir string) error { return os.Chown(dir, 65534, 65534) }
	move := func(at place, dir string) error {
		if err := os.Rename(dir, dir+"-elsewhere"); err != nil {
			return err
		}
		return os.Symlink(dir+"-elsewhere", dir)
	}
	mode := func(m os.FileMode) func(place, string) error {
		return func(at place, dir string) error { return os.Chmod(dir, m) }
	}
	of := func(pick func(place) string) func(place) string { return pick }
	run := of(func(at place) string { return at.dir })
	base := of(func(at place) string { return at.base })
	parent := of(func(at place) string { return filepath.Dir(at.base) })
	for _, test := range []struct {
		name  string
		which func(place) string
		spoil func(place, string) error
		want  string // empty: not refused
	}{
		{"run directory is a link", run, move, "is no directory"},
		{"run directory is foreign", run, foreign, "belongs to uid 65534"},
		{"run directory is readable", run, mode(0o750), "is open to others"},
		{"base is a link", base, move, "is no directory"},
		{"base is foreign", base, foreign, "belongs to uid 65534"},
		{"base is writable", base, mode(0o770), "is open to others"},
		{"base is readable", base, mode(0o755), ""},
		{"parent is a link", parent, move, ""},
		{"parent is foreign", parent, foreign, "belongs to uid 65534"},
		{"parent is writable", parent, mode(0o777), "is writable by others"},
		{"parent is sticky", parent, mode(0o777 | os.ModeSticky), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			at := newFar(t).places()[0]
			if err := at.make(); err != nil {
				t.Fatal(err)
			}
			lock, err := takeLock(at.lock())
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			if err := test.spoil(at, test.which(at)); os.IsPermission(err) {
				t.Skip("needs root, to give a directory away")
			} else if err != nil {
				t.Fatal(err)
			}
			living, unseen := at.living()
			if test.name == "run directory is foreign" {
				if living || unseen != nil {
					t.Errorf("somebody else's: got %v, %v, want that none is there", living, unseen)
				}
				unseen = errors.New(test.want)
			}
			if living != (test.want == "") || (unseen == nil) != living {
				t.Errorf("whoever holds the lock there counts, or seems gone: got %v, %v", living, unseen)
			}
			for what, err := range map[string]error{"make": at.make(), "safe": at.safe(), "living": unseen} {
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: got %v, want %q", what, err, test.want)
				}
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	p := &program{tmp: "/tmp"}
	long := "/" + strings.Repeat("x", 80)
	for _, test := range []struct {
		home, cache string
		want        []string
	}{
		{"/home/u", "", []string{"/home/u/.cache/ssh-stay/run-", "/tmp/ssh-stay-"}},
		{"/home/u", "/var/c", []string{"/var/c/ssh-stay/run-", "/tmp/ssh-stay-"}},
		{"/home/u", "relative", []string{"/home/u/.cache/ssh-stay/run-", "/tmp/ssh-stay-"}},
		{"", "", []string{"/tmp/ssh-stay-"}},
		{long, "", []string{"/tmp/ssh-stay-"}},
	} {
		t.Setenv("HOME", test.home)
		t.Setenv("XDG_CACHE_HOME", test.cache)
		got := p.places("0123456789abcdef")
		if len(got) != len(test.want) {
			t.Errorf("%q, %q: got %v, want %v", test.home, test.cache, got, test.want)
			continue
		}
		for i, at := range got {
			if !strings.HasPrefix(at.dir, test.want[i]) {
				t.Errorf("%q, %q: got %s, want %s...", test.home, test.cache, at.dir, test.want[i])
			}
		}
	}
	// The longest that fits, and one more.
	for extra, want := range map[int]int{0: 2, 1: 1} {
		t.Setenv("XDG_CACHE_HOME", "")
		t.Setenv("HOME", "")
		p := &program{tmp: "/tmp"}
		rest := len("/ssh-stay/run-01234567/0123456789abcdef.sock")
		t.Setenv("XDG_CACHE_HOME", "/"+strings.Repeat("x", 103-rest-1+extra))
		if got := len(p.places("0123456789abcdef")); got != want {
			t.Errorf("a path of %d bytes: got %d places, want %d", 103+extra, got, want)
		}
	}
}

// A home with a long name has its socket in the last place.
func TestOpenInLongHome(t *testing.T) {
	f := newFar(t)
	f.home = filepath.Join(f.home, strings.Repeat("x", 90))
	f.env[0] = "HOME=" + f.home
	f.run("open").ready()
	if !missing(filepath.Join(f.home, ".cache")) {
		t.Error("something was created in the home")
	}
	if at := f.places()[0]; missing(at.socket()) {
		t.Errorf("no %s", at.socket())
	}
}

func TestRemoveOld(t *testing.T) {
	at := newFar(t).places()[0]
	at.version = "aaaaaaaaaaaaaaaa"
	if err := at.make(); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * young)
	versions := map[string]bool{ // and whether their files shall go
		at.version:         false,
		"bbbbbbbbbbbbbbbb": true,
		"cccccccccccccccc": false, // lives
		"dddddddddddddddd": false, // young
	}
	for version := range versions {
		other := place{at.base, at.dir, version}
		for _, path := range []string{other.lock(), other.socket(), other.fresh()} {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if version != "dddddddddddddddd" {
				os.Chtimes(path, long, long)
			}
		}
	}
	alive, err := takeLock(filepath.Join(at.dir, "cccccccccccccccc.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	at.removeOld()
	for version, gone := range versions {
		other := place{at.base, at.dir, version}
		for _, path := range []string{other.lock(), other.socket(), other.fresh()} {
			if missing(path) != gone {
				t.Errorf("%s: removed is %v, want %v", path, !gone, gone)
			}
		}
	}
}

func TestLockOfRemovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := takeLock(path); err != errHeld {
		t.Errorf("got %v, want %v", err, errHeld)
	}
	if held, err := isHeld(path); !held {
		t.Errorf("held, but does not seem so: %v", err)
	}
	os.Remove(path)
	if isAt(lock, path) {
		t.Error("a removed file seems in place")
	}
	again, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if held, err := isHeld(path); held || err != nil {
		t.Errorf("not held, but seems so: %v", err)
	}
}

// Only what was looked at is not held.
func TestIsHeld(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	lock, err := takeLock(path("held"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for _, err := range []error{
		os.WriteFile(path("free"), nil, 0o600), os.Symlink("held", path("link")), os.Symlink("loop", path("loop")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		held bool
		err  error
	}{
		{"held", true, nil},
		{"free", false, nil},
		{"absent", false, nil},
		{"absent/absent", false, nil},
		{"free/absent", false, nil}, // ENOTDIR
		{"link", false, unix.ELOOP},
		{"loop/absent", false, unix.ELOOP},
		{strings.Repeat("x", 256), false, unix.ENAMETOOLONG},
	} {
		held, err := isHeld(path(test.name))
		if held != test.held || !errors.Is(err, test.err) {
			t.Errorf("%.20s: got %v, %v; want %v, %v", test.name, held, err, test.held, test.err)
		}
		if err != nil && !strings.Contains(err.Error(), path(test.name)) {
			t.Errorf("%.20s: got %q, want the path in it", test.name, err)
		}
	}
}

// TestForeignPlace: what somebody else has put where we might have been does not keep
// us from saying that no daemon of ours is there.
func TestForeignPlace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives a directory away")
	}
	at := newFar(t).places()[0]
	if err := errors.Join(at.make(), os.Symlink("loop", at.lock()), os.WriteFile(at.socket(), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if held, err := at.living(); held || !errors.Is(err, errUnseen) {
		t.Errorf("ours: got %v, %v, want %v", held, err, errUnseen)
	}
	if err := os.Chown(at.dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if held, err := at.living(); held || err != nil {
		t.Errorf("somebody else's: got %v, %v, want that none is there", held, err)
	}
	// A directory that can be searched and not read, and has nothing of ours.
	if err := errors.Join(os.RemoveAll(at.dir), os.Chown(at.base, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	if !at.isForeign() {
		t.Error("a directory of somebody else's with nothing of ours in it counts as ours")
	}
}

// TestNoLocks: where no lock can be had no daemon has a socket.
func TestNoLocks(t *testing.T) {
	at := newFar(t).places()[0]
	if err := errors.Join(at.make(), os.Symlink("loop", at.lock())); err != nil {
		t.Fatal(err)
	}
	if held, err := at.living(); held || err != nil {
		t.Errorf("no socket: got %v, %v, want that none is there", held, err)
	}
	if err := os.WriteFile(at.socket(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if held, err := at.living(); held || !errors.Is(err, errUnseen) {
		t.Errorf("a socket: got %v, %v, want %v", held, err, errUnseen)
	}
}

// Cleaners remove lock files under the lock; nobody holds one that is gone.
func TestLockAmongCleaners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var holders, most, taken atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 3000 {
				lock, err := takeLock(path)
				if err != nil {
					continue
				}
				taken.Add(1)
				if n := holders.Add(1); n > most.Load() {
					most.Store(n)
				}
				runtime.Gosched()
				holders.Add(-1)
				os.Remove(path)
				lock.Close()
			}
		})
	}
	all.Wait()
	if most.Load() != 1 || taken.Load() < 100 {
		t.Errorf("%d held the lock at once, of %d; want 1 of many", most.Load(), taken.Load())
	}
}

func TestSiblingsUnseen(t *testing.T) {
	dir := t.TempDir()
	loop, file := filepath.Join(dir, "loop"), filepath.Join(dir, "file")
	for _, err := range []error{os.Symlink("loop", loop), os.WriteFile(file, nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for base, unseen := range map[string]bool{dir: false, dir + "/absent": false, file: false, loop: true} {
		all, err := (place{base, filepath.Join(base, "run-00000000"), "v"}).siblings()
		if len(all) != 0 || errors.Is(err, errUnseen) != unseen || (err == nil) == unseen {
			t.Errorf("%s: got %v, %v; want unseen is %v", base, all, err, unseen)
		}
	}
}

// A daemon in another place counts even if it came after we had looked.
func TestStartLooksElsewhere(t *testing.T) {
	places := newFar(t).places()
	if err := places[1].make(); err != nil {
		t.Fatal(err)
	}
	lock, err := takeLock(places[1].lock())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := places[0].start(places); err != errHeld {
		t.Errorf("got %v, want %v", err, errHeld)
	}
	if held, err := isHeld(places[0].lock()); held || err != nil {
		t.Errorf("the first place's lock is still held: %v, %v", held, err)
	}
}

// Uploaded binaries go when they are old and no daemon of theirs lives.
func TestRemoveOldBinaries(t *testing.T) {
	f := newFar(t)
	at := f.places()[0]
	if err := at.make(); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	store := func(name string, data []byte) string {
		path := filepath.Join(at.base, name)
		if err := os.WriteFile(path, data, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	upload := func(data []byte) string {
		return store(fmt.Sprintf("relay-%x", sha256.Sum256(data)), data)
	}
	unused, young1, unseen, first := upload([]byte("c")), upload([]byte("d")), upload([]byte("e")), upload(program)
	if err := os.Symlink("nowhere", filepath.Join(at.dir, uploaded(unseen)+".lock")); err != nil {
		t.Fatal(err)
	}
	foreign := store("relay-notes", nil)
	long := time.Now().Add(-2 * young)
	for _, path := range []string{unused, unseen, foreign, first} {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	// One that was not uploaded removes none.
	installed := store("relay", program)
	f.runCommand(exec.Command(installed, "relay", "open")).ready()
	for _, pid := range f.daemons() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	if missing(unused) {
		t.Error("an installed relay removed a binary")
	}
	channel := f.runCommand(exec.Command(first, "relay", "open"))
	channel.ready()
	second := upload(append(program, '\n'))
	f.runCommand(exec.Command(second, "relay", "open")).ready()
	for path, gone := range map[string]bool{unused: true, young1: false, unseen: false, first: false, second: false, foreign: false} {
		if missing(path) != gone {
			t.Errorf("%s: removed is %v, want %v", path, !gone, gone)
		}
	}
	channel.echoes("not disturbed")
	if n := len(f.daemons()); n != 2 {
		t.Errorf("%d daemons, want one of each version", n)
	}
}
