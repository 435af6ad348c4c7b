package relay

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	first := identify("a", "id1\n", "boot1\n")
	for _, test := range []struct {
		name      string
		is        identity
		elsewhere bool
	}{
		{"itself", first, false},
		{"started again", identify("a", "id1\n", "boot2\n"), false},
		{"renamed", identify("b", "id1\n", "boot1\n"), false},
		{"another of its image", identify("b", "id1\n", "boot2\n"), true},
		{"another of its name", identify("a", "id2\n", "boot2\n"), true},
		{"another container", identify("b", "id2\n", "boot1\n"), true},
		{"unknown", parseIdentity(""), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := parseIdentity(test.is.String())
			if got != test.is {
				t.Errorf("got %v by way of text, want %v", got, test.is)
			}
			if got.isOther(first) != test.elsewhere || first.isOther(got) != test.elsewhere {
				t.Errorf("got elsewhere %v and %v, want %v", got.isOther(first), first.isOther(got), test.elsewhere)
			}
		})
	}
}

// Without a machine ID there is the name, and a boot ID that outlives a change
// of it.
func TestIdentityWithoutMachineID(t *testing.T) {
	for _, none := range []string{"", "\n", "uninitialized\n"} {
		first := identify("a", none, "boot1\n")
		renamed, other, rebooted := identify("b", none, "boot1\n"), identify("b", none, "boot2\n"), identify("a", none, "boot2\n")
		if renamed.machine == first.machine || renamed.isOther(first) || !other.isOther(first) || rebooted.isOther(first) {
			t.Errorf("%q: got first %v, renamed %v, other %v, rebooted %v", none, first, renamed, other, rebooted)
		}
		if a, b := identify("a", none, ""), identify("b", none, ""); !a.isOther(b) {
			t.Errorf("%q: without a boot ID, %v and %v seem one", none, a, b)
		}
	}
}

// renamed runs a bridge on this machine by another name, and with that machine ID.
func (f *far) renamed(name, id, verb string) *end {
	const script = `
mount -t tmpfs none /etc && printf "$2" >/etc/machine-id || exit
hostname "$1" && exec "$0" relay "$3"`
	return f.runCommand(exec.Command("unshare", "-m", "-u", "sh", "-c", script, self(f.T), name, id, verb))
}

// readyAnyhow is ready of a bridge that may give the machine any name.
func (e *end) readyAnyhow() int {
	e.Helper()
	var pid int
	if got := e.mark(); !strings.HasPrefix(got, "ready ") || !scan(e.line(), "daemon %d", &pid) {
		e.Fatalf("got marker %q, want ready and the server's first line", got)
	}
	return pid
}

// A daemon is found although the host is called otherwise since it started, by
// DHCP say.
func TestRenamedHost(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to rename a machine of its own")
	}
	for _, id := range []string{"", "0123456789abcdef0123456789abcdef"} {
		f := newFar(t)
		channel := f.renamed("before", id, "open")
		pid := channel.readyAnyhow()
		for _, verb := range []string{"attach", "open"} {
			if got := f.renamed("after", id, verb).readyAnyhow(); got != pid {
				t.Errorf("machine ID %q: %s reached daemon %d, want %d", id, verb, got, pid)
			}
		}
		if runs, _ := filepath.Glob(filepath.Join(f.home, ".cache/ssh-stay/run-*")); len(runs) != 1 {
			t.Errorf("machine ID %q: got %v, want one directory", id, runs)
		}
		channel.echoes("not disturbed")
	}
}

// Another machine that shares the home by NFS may have a daemon, whose lock is
// seen here.
func TestSharedHome(t *testing.T) {
	f := newFar(t)
	theirs := f.places()[0]
	theirs.dir = filepath.Join(theirs.base, "run-00000000")
	must(t, theirs.make())
	lock, err := takeLock(theirs.lock())
	must(t, err)
	defer lock.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: theirs.socket()})
	must(t, err)
	l.SetUnlinkOnClose(false)
	l.Close() // refuses, as one of another kernel does
	if living, err := theirs.living(); !living {
		t.Fatalf("their daemon does not seem to live, %v: nothing would be tested", err)
	}
	if got := f.run("attach").mark(); got != gone() {
		t.Errorf("attach: got %q, want %q", got, gone())
	}
	pid := f.run("open").ready()
	if got := f.run("attach").ready(); got != pid {
		t.Errorf("attach reached %d, want our own daemon %d", got, pid)
	}
	if missing(theirs.socket()) {
		t.Error("their socket was removed")
	}
}

func TestBridgeTellsSshd(t *testing.T) {
	for connection, want := range map[string]string{
		"192.0.2.1 50000 198.51.100.2 2222": " 198.51.100.2 2222",
		"2001:db8::1 50000 ::1 22":          " ::1 22",
		"":                                  "",
		"of another kind":                   "",
	} {
		got := newFar(t, "SSH_CONNECTION="+connection).run("open").mark()
		if want = "ready " + thisMachine().String() + want; got != want {
			t.Errorf("SSH_CONNECTION=%q: got %q, want %q", connection, got, want)
		}
	}
}
