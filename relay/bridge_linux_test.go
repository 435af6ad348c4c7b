package relay

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBridge(t *testing.T) {
	f := newFar(t)
	attach := f.run("attach")
	if got := attach.mark(); got != gone() {
		t.Errorf("attach without a daemon: got %q, want gone", got)
	}
	if !missing(filepath.Join(f.home, ".cache")) {
		t.Error("attach created something")
	}
	first := f.run("open")
	pid := first.ready()
	first.echoes("one")
	for _, verb := range []string{"open", "attach"} {
		channel := f.run(verb)
		if got := channel.ready(); got != pid {
			t.Errorf("%s reached daemon %d, want %d", verb, got, pid)
		}
		channel.echoes("two")
		if status := channel.exit(); status != 0 {
			t.Errorf("%s exited with %d, want 0", verb, status)
		}
	}
	first.echoes("three")
}

// What the client reads must end when the daemon closes it, and the daemon's
// memory of a channel is the daemon's: the bridge keeps no descriptor of it.
func TestBridgeKeepsNothing(t *testing.T) {
	f := newFar(t)
	// A login shell may have left something open.
	leaked, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer leaked.Close()
	defer other.Close()
	cmd := exec.Command(self(t), "relay", "open")
	cmd.ExtraFiles = []*os.File{leaked}
	channel := f.runCommand(cmd)
	pid := channel.ready()
	bridge := channel.cmd.Process.Pid
	eventually(t, "the bridge is a shell", func() bool {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", bridge))
		return err == nil && exe != self(t) // there is none while threads end for exec
	})
	pipes := []string{link(t, channel.raw), link(t, channel.in.(interface{ Fd() uintptr }))}
	files := openFiles(t, bridge)
	if !strings.HasPrefix(files[0], "socket:") {
		t.Errorf("the bridge waits for %q, want the connection with the daemon", files[0])
	}
	for fd, file := range files {
		if fd != 2 && strings.HasPrefix(file, "pipe:") {
			t.Errorf("the bridge has a pipe open as %d: %s", fd, file)
		}
	}
	held := 0
	for fd, file := range openFiles(t, pid) {
		if slices.Contains(pipes, file) {
			held++
		} else if strings.HasPrefix(file, "pipe:") {
			t.Errorf("the daemon has a pipe of something else open as %d: %s", fd, file)
		}
	}
	if held != 2 {
		t.Errorf("the daemon has %d ends of the channel's pipes, want 2", held)
	}
	t.Logf("PSS: bridge %s, daemon of the tests %s", pss(t, bridge), pss(t, pid))
}

func link(t *testing.T, f interface{ Fd() uintptr }) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("pipe:[%d]", st.Ino)
}

func pss(t *testing.T, pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(regexp.MustCompile(`(?m)^Pss:\s*(.*)$`).FindSubmatch(data)[1]))
}

// sshd may give one socket for both directions.
func TestBridgeOnSocket(t *testing.T) {
	f := newFar(t)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "theirs")
	file := os.NewFile(uintptr(fds[0]), "ours")
	ours, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	defer ours.Close()
	cmd := exec.Command(self(t), "relay", "open")
	cmd.Env, cmd.Stdin, cmd.Stdout = f.env, theirs, theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	ours.SetDeadline(time.Now().Add(20 * time.Second))
	var pid int
	if _, err := fmt.Fscanf(ours, "\nssh-stay-relay 1 ready "+thisMachine().String()+"\ndaemon %d\n", &pid); err != nil {
		t.Fatal(err)
	}
	ours.(*net.UnixConn).CloseWrite()
	if n, err := ours.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes, want the end", n)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// However many start at once, one daemon serves them all.
func TestParallelOpens(t *testing.T) {
	f := newFar(t)
	const bridges = 300
	pids := make([]int, bridges)
	ends := make([]*end, bridges)
	for i := range ends {
		ends[i] = f.run("open")
	}
	for i, channel := range ends {
		pids[i] = channel.ready()
	}
	if pids = slices.Compact(pids); len(pids) != 1 {
		t.Errorf("daemons %v served, want one", pids)
	}
	if daemons := f.daemons(); len(daemons) != 1 {
		t.Errorf("daemons %v are running, want one", daemons)
	}
	ends[bridges-1].echoes("the last")
}

// A thousand take the lock, or connect with who has it.
func TestParallelListens(t *testing.T) {
	f := newFar(t)
	at := f.places()[0]
	if err := at.make(); err != nil {
		t.Fatal(err)
	}
	var listeners, served atomic.Int32
	begin := make(chan struct{})
	var all, serving sync.WaitGroup
	p := &program{patience: 20 * time.Second}
	for range 1000 {
		all.Go(func() {
			<-begin
			if lock, err := takeLock(at.lock()); err == nil {
				listeners.Add(1)
				t.Cleanup(func() { lock.Close() })
				serving.Go(func() { greetAll(t, at, 999) })
				return
			}
			for end := time.Now().Add(p.patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if fd, err := p.find([]place{at}); err == nil {
					unix.Close(fd)
					served.Add(1)
					return
				}
			}
		})
	}
	close(begin)
	all.Wait()
	if listeners.Load() != 1 || served.Load() != 999 {
		t.Fatalf("%d listened and %d were served, want 1 and 999", listeners.Load(), served.Load())
	}
	serving.Wait()
}

func greetAll(t *testing.T, at place, n int) {
	file, err := at.listen()
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		t.Error(err)
		return
	}
	defer l.Close()
	for range n {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		c.Write([]byte{greeting})
		c.Close()
	}
}

func TestStaleFiles(t *testing.T) {
	f := newFar(t)
	at := f.places()[0]
	if err := at.make(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{at.socket(), at.fresh()} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	if err := os.WriteFile(at.lock(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.run("open").ready()
	info, err := os.Lstat(at.socket())
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("got mode %#o of the socket, want 0600", got)
	}
}

// A daemon that was started elsewhere, when the first place did not do, is
// found once it does.
func TestSecondPlace(t *testing.T) {
	f := newFar(t)
	places := f.places()
	if err := places[0].make(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(places[0].dir, 0o755); err != nil {
		t.Fatal(err)
	}
	pid := f.run("open").ready()
	if missing(places[1].socket()) || !missing(places[0].socket()) {
		t.Error("the socket is in a directory that is open to others")
	}
	if err := os.Chmod(places[0].dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"attach", "open"} {
		if got := f.run(verb).ready(); got != pid {
			t.Errorf("%s reached daemon %d, want %d", verb, got, pid)
		}
	}
}

// A daemon that cannot be seen for a while has not gone: attach does not say so,
// and open starts another one.
func TestUnseen(t *testing.T) {
	named := func(at place) place { return place{at.base, filepath.Join(at.base, "run-00000000"), at.version} }
	for _, test := range []struct {
		name        string
		spoil, mend func(place) error
		want        func(place) string // in the error
	}{
		{"directory is open to others",
			func(at place) error { return os.Chmod(at.dir, 0o755) },
			func(at place) error { return os.Chmod(at.dir, 0o700) },
			func(at place) string { return at.dir + " is open to others" },
		},
		{"lock cannot be opened",
			func(at place) error {
				return errors.Join(os.Rename(at.lock(), at.lock()+"-"), os.Symlink(at.lock()+"-", at.lock()))
			},
			func(at place) error { return os.Rename(at.lock()+"-", at.lock()) },
			func(at place) string { return "open " + at.lock() + ": too many levels" },
		},
		{"directory of another name is open to others",
			func(at place) error {
				return errors.Join(os.Rename(at.dir, named(at).dir), os.Chmod(named(at).dir, 0o755))
			},
			func(at place) error {
				return errors.Join(os.Chmod(named(at).dir, 0o700), os.Rename(named(at).dir, at.dir))
			},
			func(at place) string { return named(at).dir + " is open to others" },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFar(t)
			at := f.places()[0]
			channel := f.run("open")
			pid := channel.ready()
			must(t, test.spoil(at))
			attach := f.run("attach")
			if got := attach.mark(); !strings.HasPrefix(got, "error cannot tell whether a relay runs: ") || !strings.Contains(got, test.want(at)) {
				t.Errorf("attach: got %q, want an error with %q", got, test.want(at))
			}
			if status := attach.exit(); status != 1 {
				t.Errorf("attach exited with %d, want 1", status)
			}
			must(t, test.mend(at))
			if got := f.run("attach").ready(); got != pid {
				t.Errorf("attach reached daemon %d, want %d", got, pid)
			}
			must(t, test.spoil(at))
			if got := f.run("open").ready(); got == pid {
				t.Errorf("open reached daemon %d in a place that is not safe", got)
			}
			channel.echoes("not disturbed")
		})
	}
}

func TestNoPlace(t *testing.T) {
	f := newFar(t)
	for _, dir := range []string{f.home, f.tmp} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	channel := f.run("open")
	got := channel.mark()
	if !strings.HasPrefix(got, "error ") || !strings.Contains(got, "writable by others") {
		t.Errorf("got %q, want an error that tells why", got)
	}
	if status := channel.exit(); status != 1 {
		t.Errorf("exited with %d, want 1", status)
	}
}

// A full disk takes no lock file; once started, nothing is written.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	f := newFar(t)
	at := f.places()[0]
	const full = `
mount -t tmpfs -o size=64k,nr_inodes=32,mode=700 none "$HOME" && mkdir -p -m 700 "$1" || exit
cat /dev/zero >"$HOME/zero" 2>/dev/null
i=0; while [ $i -lt 99 ]; do i=$((i+1)); true >"$HOME/$i"; done 2>/dev/null
exec "$0" relay open`
	cmd := exec.Command("unshare", "-m", "sh", "-c", full, self(t), at.dir)
	channel := f.runCommand(cmd)
	pid := channel.ready()
	if missing(f.places()[1].socket()) {
		t.Error("the socket is not in the second place: the disk was not full")
	}
	channel.echoes("one")
	if got := f.run("attach").ready(); got != pid {
		t.Errorf("attach reached %d, want %d", got, pid)
	}
}
