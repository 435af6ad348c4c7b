package proxy

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssh-stay/internal/sshtest"
)

// namesPlace is set in the process that has a resolv.conf of its own.
const namesPlace = "SSH_STAY_PROXY_NAMES"

// onlyLibc is a name that libc takes for 127.0.0.1 and Go's resolver asks the name
// servers for. It stands for all that only nsswitch.conf's other sources know.
const onlyLibc = "0x7f.1"

// TestNamesOfTheSystem: what getent(1) knows is found however the name servers
// fail, and what it does not know is as lost as before, and no later than soon.
func TestNamesOfTheSystem(t *testing.T) {
	if os.Getenv(namesPlace) == "" {
		inNamesPlace(t)
		return
	}
	names, err := sshtest.NewNames(nil) // on this process's own port 53
	if err != nil {
		t.Fatal(err)
	}
	_, port := echo(t)
	for _, tt := range []struct {
		name  string
		fail  sshtest.NameFailure
		final bool
	}{
		{"no such name", sshtest.NXDomain, true},
		{"no telling", sshtest.ServFail, false},
		{"silence", sshtest.NoAnswer, false}, // 1 s, by resolv.conf
	} {
		t.Run(tt.name, func(t *testing.T) {
			names.Fail(tt.fail)
			before := names.Failed()
			reaches(t, port)
			loses(t, tt.final, 1500*time.Millisecond+systemWait)
			if names.Failed() == before {
				t.Error("no question has failed: nothing is tested")
			}
		})
	}
	t.Run("getent hangs", func(t *testing.T) {
		names.Fail(sshtest.ServFail)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "getent"), []byte("#!/bin/sh\nexec sleep 30\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		if took := loses(t, false, systemWait+time.Second); took < systemWait {
			t.Errorf("got an end after %v, want that getent is waited for", took)
		}
	})
	t.Run("no server", func(t *testing.T) {
		names.Close()
		reaches(t, port)
		loses(t, false, systemWait)
	})
}

// inNamesPlace runs the test again in namespaces of its own.
func inNamesPlace(t *testing.T) {
	t.Helper()
	rig := sshtest.For(t)
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := rig.Peer("ip") + " link set lo up && " + rig.Peer("mount") + " --bind " + resolv + ` /etc/resolv.conf && exec "$@"`
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", script, "sh", self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), namesPlace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Errorf("%v\n%s", err, out)
	}
}

func reaches(t *testing.T, port int) {
	t.Helper()
	conn, err := dialer().Dial(t.Context(), onlyLibc, port)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	if got := conn.RemoteAddr().(*net.TCPAddr).IP.String(); got != "127.0.0.1" {
		t.Errorf("got %s, want 127.0.0.1", got)
	}
}

// loses looks for a name that nobody knows.
func loses(t *testing.T, final bool, within time.Duration) (took time.Duration) {
	t.Helper()
	start := time.Now()
	_, err := dialer().Dial(t.Context(), "nowhere.test", 22)
	took = time.Since(start)
	var lost *ResolveError
	if !errors.As(err, &lost) || temporary(err) == final {
		t.Errorf("got %v, want a name that is not resolved, for good: %v", err, final)
	}
	if took > within {
		t.Errorf("got %v after %v, want it within %v", err, took, within)
	}
	return took
}
