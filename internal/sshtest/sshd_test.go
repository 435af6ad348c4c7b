//go:build linux

package sshtest

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// within is a context for one command: no test here waits longer.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestStockSSH(t *testing.T) {
	Leaks(t)
	r := For(t)
	c := r.Client()
	s := r.Host(c, "plain")
	out, err := c.Command(within(t, 10*time.Second), "plain", "echo $HOME").CombinedOutput()
	if want := s.Home + "\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

func TestUnknownHostIsRefused(t *testing.T) {
	r := For(t)
	c := r.Client()
	s := r.Host(c, "plain")
	r.must(os.Truncate(c.KnownHosts, 0))
	out, err := c.Command(within(t, 10*time.Second), "plain", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Host key verification failed.") {
		t.Errorf("got %q, %v; want a refusal", out, err)
	}
	if strings.Contains(s.Log(), "Accepted") {
		t.Error("logged in to an unknown host")
	}
}

func TestHostKeysAndMatchLines(t *testing.T) {
	r := For(t)
	c := r.Client()
	s := r.Sshd(SshdConfig{
		HostKeys: []string{"rsa", "ecdsa", "ed25519"},
		Lines:    []string{"MaxSessions 3", "Match User nobody", "PermitTTY no"},
	})
	for i, algorithm := range []string{"rsa-sha2-512", "ecdsa-sha2-nistp256", "ssh-ed25519"} {
		alias := "h" + algorithm
		r.must(c.AddHost(alias, s, "HostKeyAlgorithms "+algorithm))
		if out, err := c.Command(within(t, 10*time.Second), alias, "true").CombinedOutput(); err != nil {
			t.Errorf("%s (key %d): %v: %s", algorithm, i, err, out)
		}
	}
}

func TestUserCertificate(t *testing.T) {
	r := For(t)
	ca, c := r.Key(""), r.Client()
	s := r.Sshd(SshdConfig{Lines: []string{"TrustedUserCAKeys " + ca.Path + ".pub"}})
	r.must(c.AddHost("cert", s))
	r.must(os.Truncate(s.path("authorized_keys"), 0))
	_, err := ca.SignUser(c.Key, time.Hour, s.User)
	r.must(err)
	if out, err := c.Command(within(t, 10*time.Second), "cert", "true").CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, s.Log())
	}
}

func TestEncryptedKey(t *testing.T) {
	k, err := NewKey(t.TempDir()+"/id", "ecdsa", "open sesame")
	For(t).must(err)
	file, err := os.ReadFile(k.Path)
	For(t).must(err)
	if _, err := ssh.ParsePrivateKey(file); err == nil {
		t.Error("the key opens without its passphrase")
	}
	if _, err := ssh.ParsePrivateKeyWithPassphrase(file, []byte("open sesame")); err != nil {
		t.Error(err)
	}
}

func TestSshdCloseEndsSessions(t *testing.T) {
	r := For(t)
	c := r.Client()
	s, err := StartSshd(SshdConfig{})
	r.must(err)
	defer s.Close()
	r.must(c.AddHost("h", s))
	cmd := c.Command(within(t, 20*time.Second), "h", "setsid -w sleep 1234 & wait")
	r.must(cmd.Start())
	asleep := func() bool { return strings.Contains(commands(Descendants(s.Pid())), "sleep\x001234") }
	if !poll(10*time.Second, asleep) {
		t.Fatalf("no session: %s", s.Log())
	}
	pids := append(Descendants(s.Pid()), s.Pid())
	if fds, err := OpenFDs(s.Pid()); err != nil || !strings.Contains(strings.Join(fds, "\n"), "socket:") {
		t.Errorf("got files %q, %v; want a socket", fds, err)
	}
	r.must(s.Close())
	for _, pid := range pids {
		r.WaitGone(pid, 0)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("ssh ended well, want an error: its server was killed")
	}
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	r.must(s.Close())
}

func commands(pids []int) string {
	var all strings.Builder
	for _, pid := range pids {
		line, _ := os.ReadFile(procFile(pid, "cmdline"))
		all.Write(line)
	}
	return all.String()
}

// TestRestart: sessions end, a program of the home's goes on, and the port is
// the same.
func TestRestart(t *testing.T) {
	r := For(t)
	c := r.Client()
	s := r.Host(c, "server")
	sleep, err := os.ReadFile(r.Peer("sleep"))
	r.must(err)
	r.must(os.WriteFile(s.Home+"/stays", sleep, 0o700))
	cmd := c.Command(within(t, 20*time.Second), "server", "$HOME/stays 1000 & echo up; cat")
	keep, err := cmd.StdinPipe()
	r.must(err)
	defer keep.Close()
	out, err := cmd.StdoutPipe()
	r.must(err)
	r.must(cmd.Start())
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	var before []int // the shell says "up" when its child may still be the shell
	poll(5*time.Second, func() bool { before = s.Relays(); return len(before) > 0 })
	sessions := Descendants(s.Pid())
	if len(before) != 1 || len(sessions) < 2 {
		t.Fatalf("got %v in the home and %v, want one and a session", before, sessions)
	}
	r.must(s.Restart())
	if cmd.Wait() == nil {
		t.Error("the session ended well")
	}
	if after := s.Relays(); !slices.Equal(after, before) {
		t.Errorf("got %v in the home, want %v as before", after, before)
	}
	if left := Descendants(s.Pid()); len(left) > 0 {
		t.Errorf("got sessions %v, want none", left)
	}
	if out, err := c.Command(within(t, 10*time.Second), "server", "echo back").Output(); err != nil || string(out) != "back\n" {
		t.Errorf("got %q, %v, want back", out, err)
	}
}

func TestProcessesOf(t *testing.T) {
	r := For(t)
	exe, err := os.Executable()
	r.must(err)
	if got := ProcessesOf(exe); len(got) != 1 || got[0] != os.Getpid() {
		t.Errorf("got %v, want %d alone", got, os.Getpid())
	}
	if err := WaitGone(os.Getpid(), 0); err == nil {
		t.Error("this process counts as gone")
	}
}

func TestMissingPeerNamesPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Peer("nc")
	if err == nil || !strings.Contains(err.Error(), "netcat-openbsd") {
		t.Errorf("got %v, want a hint at netcat-openbsd", err)
	}
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	For(t).must(err)
	defer l.Close()
	s, err := newSshd(SshdConfig{})
	For(t).must(err)
	defer os.RemoveAll(s.Dir)
	s.Port = l.Addr().(*net.TCPAddr).Port
	if err := s.start(nil); err != errPortTaken {
		t.Errorf("got %v, want %v", err, errPortTaken)
	}
}

func TestBadConfigShowsLog(t *testing.T) {
	_, err := StartSshd(SshdConfig{Lines: []string{"NoSuchKeyword yes"}})
	if err == nil || !strings.Contains(err.Error(), "NoSuchKeyword") {
		t.Errorf("got %v, want sshd's own words", err)
	}
}
