package setup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inChild runs a test again in a process of another kind, where place says so.
const place = "SSH_STAY_SETUP_PLACE"

func inChild(t *testing.T, attr *syscall.SysProcAttr, home string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), place+"="+home, "HOME="+home)
	cmd.Dir = "/"
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestReadOnlyMount: a store that is mounted read-only is left to its makers,
// with the lines to paste.
func TestReadOnlyMount(t *testing.T) {
	home := os.Getenv(place)
	if home == "" {
		b := newBench(t, sample{config: usual, prepare: moved("store/config")})
		inChild(t, &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}, b.home)
		return
	}
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	store := filepath.Join(home, "store")
	must(t, unix.Mount(store, store, "", unix.MS_BIND, ""))
	must(t, unix.Mount("", store, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	b := &bench{T: t, home: home, file: filepath.Join(home, ".ssh", "config"), Setup: &Setup{Home: home, Program: "/opt/ssh-stay"}}
	b.refusesToWrite(store, syscall.EROFS)
}

// refusesToWrite: not a byte or a time has changed, and the lines that the error
// has to paste mean at the config's top what setup would have made.
func (b *bench) refusesToWrite(where string, why error) {
	b.Helper()
	before := b.tree(true)
	_, err := b.Plan(b.Context(), Change{Patterns: []string{"work"}})
	read, ok := errors.AsType[*ReadOnlyError](err)
	if !ok || !errors.Is(err, why) || !strings.HasPrefix(read.Path, where) {
		b.Fatalf("got %v, want %v for %s", err, why, where)
	}
	b.sameTree("refused", before, b.tree(true))
	pasted := filepath.Join(b.TempDir(), "config")
	must(b.T, os.WriteFile(pasted, []byte(read.Lines+"User global\n"+usual), 0o600))
	b.file = pasted
	command, _ := b.command()
	if got := b.ask("work"); got["proxycommand"] != command+"\n" || got["user"] != "global\n" {
		b.Errorf("pasted: got %q, %q, want %q and the user's own line", got["proxycommand"], got["user"], command)
	}
	if got := b.ask("other"); got["proxycommand"] != "" || got["user"] != "global\n" {
		b.Errorf("pasted, other host: got %q, %q, want the user's own line", got["proxycommand"], got["user"])
	}
}

// TestImmutable: a file, and a folder, that nobody may change.
func TestImmutable(t *testing.T) {
	chattr, err := exec.LookPath("chattr")
	must(t, err)
	for _, path := range []string{"store/config", "store", ".ssh"} {
		t.Run(path, func(t *testing.T) {
			b := newBench(t, sample{config: usual, prepare: moved("store/config")})
			fixed := filepath.Join(b.home, path)
			if out, err := exec.Command(chattr, "+i", fixed).CombinedOutput(); err != nil {
				t.Fatalf("chattr: %v\n%s", err, out)
			}
			t.Cleanup(func() { exec.Command(chattr, "-i", fixed).Run() })
			b.refusesToWrite(fixed, syscall.EPERM)
		})
	}
}

// TestNotRoot: a user's folder without the right to write, and another's file.
func TestNotRoot(t *testing.T) {
	const nobody = 65534
	home := os.Getenv(place)
	if home == "" {
		home, err := os.MkdirTemp("/var/tmp", "ssh-stay-setup-test-")
		must(t, err)
		t.Cleanup(func() { os.RemoveAll(home) })
		must(t, os.Chmod(home, 0o755))
		must(t, os.Mkdir(filepath.Join(home, "tmp"), 0o755))
		must(t, os.Chown(filepath.Join(home, "tmp"), nobody, nobody))
		for _, dir := range []string{"closed", "foreign", "fine", "group0600", "group0604", "group0640", "group0644"} {
			write(dir+"/.ssh/config", usual, 0o600)(t, home)
			for _, path := range []string{dir, dir + "/.ssh", dir + "/.ssh/config"} {
				must(t, os.Chown(filepath.Join(home, path), nobody, nobody))
			}
		}
		must(t, os.Chmod(filepath.Join(home, "closed/.ssh"), 0o500))
		must(t, os.Chown(filepath.Join(home, "foreign/.ssh/config"), 0, 0))
		must(t, os.Chmod(filepath.Join(home, "foreign/.ssh/config"), 0o644))
		for _, mode := range []os.FileMode{0o600, 0o604, 0o640, 0o644} {
			config := filepath.Join(home, fmt.Sprintf("group%04o/.ssh/config", mode))
			must(t, os.Chown(config, nobody, 4343))
			must(t, os.Chmod(config, mode))
		}
		t.Setenv("TMPDIR", filepath.Join(home, "tmp"))
		inChild(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}, home)
		return
	}
	at := func(dir string) *bench {
		dir = filepath.Join(home, dir)
		t.Setenv("HOME", dir)
		return &bench{T: t, home: dir, file: filepath.Join(dir, ".ssh", "config"), Setup: &Setup{Home: dir, Program: "/opt/ssh-stay"}}
	}
	if _, err := at("foreign").Plan(t.Context(), Change{}); !as[*OwnerError](err) {
		t.Errorf("another's file: got %v, want an OwnerError", err)
	}
	b := at("fine")
	before := b.tree(false)
	b.do(Change{})
	if got := b.ask("work")["proxycommand"]; got == "" {
		t.Error("got no ProxyCommand, want one")
	}
	b.do(Change{Undo: true})
	b.sameTree("undone", before, b.tree(false))
	for dir, allowed := range map[string]bool{"group0600": true, "group0604": false, "group0640": false, "group0644": true} {
		at(dir).foreignGroup(allowed)
	}
	at("closed").refusesToWrite(filepath.Join(home, "closed/.ssh"), syscall.EACCES)
}

// foreignGroup: a group that the user cannot give is lost only where it has no
// other rights than all have.
func (b *bench) foreignGroup(allowed bool) {
	b.Helper()
	mode := func() os.FileMode {
		info, err := os.Stat(b.file)
		must(b.T, err)
		return info.Mode()
	}
	was, before := mode(), b.tree(true)
	plan, err := b.Plan(b.Context(), Change{})
	if !allowed {
		if !as[*GroupError](err) {
			b.Errorf("mode %v: got %v, want a GroupError", was, err)
		}
		b.sameTree("refused", before, b.tree(true))
		return
	}
	must(b.T, err)
	if err := plan.Apply(); err != nil || mode() != was {
		b.Errorf("mode %v: got %v, mode %v, want it written as it was", was, err, mode())
	}
	b.do(Change{Undo: true})
}

// TestGroupOutside is root's of a container, with a group that it has no number for.
func TestGroupOutside(t *testing.T) {
	home := os.Getenv(place)
	if home == "" {
		home, err := filepath.EvalSymlinks(t.TempDir())
		must(t, err)
		for _, mode := range []os.FileMode{0o600, 0o640} {
			config := fmt.Sprintf("group%04o/.ssh/config", mode)
			write(config, usual, mode)(t, home)
			must(t, os.Chown(filepath.Join(home, config), 0, 4343))
		}
		root := []syscall.SysProcIDMap{{Size: 1}}
		inChild(t, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: root, GidMappings: root}, home)
		return
	}
	for dir, allowed := range map[string]bool{"group0600": true, "group0640": false} {
		dir = filepath.Join(home, dir)
		t.Setenv("HOME", dir)
		b := &bench{T: t, home: dir, file: filepath.Join(dir, ".ssh", "config"), Setup: &Setup{Home: dir, Program: "/opt/ssh-stay"}}
		before := b.tree(false)
		plan, err := b.Plan(t.Context(), Change{})
		must(t, err)
		err = plan.Apply()
		if group, refused := errors.AsType[*GroupError](err); refused == allowed || allowed && err != nil || refused && group.Path != b.file {
			t.Errorf("%s: got %v, want it to be written: %v", dir, err, allowed)
		}
		if !allowed {
			b.sameTree("refused", before, b.tree(false))
		}
	}
}

// TestRootFollowsNoUsersLink: a user cannot have root write to what is root's.
func TestRootFollowsNoUsersLink(t *testing.T) {
	b := newBench(t, sample{config: usual, prepare: moved("secret")})
	must(t, os.Lchown(b.file, 4242, 4242))
	if _, err := b.Plan(t.Context(), Change{}); !as[*OwnerError](err) {
		t.Errorf("got %v, want an OwnerError", err)
	}
}

// TestNixStore is known by its name, whoever may write there.
func TestNixStore(t *testing.T) {
	f := &file{path: "/home/me/.ssh/config", target: "/nix/store/0-hm/config", exists: true}
	err := readOnly((&Plan{edits: []*edit{{file: f}}}).check(), nil)
	if read, ok := errors.AsType[*ReadOnlyError](err); !ok || read.Path != f.target {
		t.Errorf("got %v, want a ReadOnlyError of %s", err, f.target)
	}
}
