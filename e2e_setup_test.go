//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"ssh-stay/internal/sshtest"
)

// newcomer is an account with an ssh config, as ssh itself finds it.
type newcomer struct {
	sshtest.Rig
	*sshtest.Account
	bin    string // in a folder of theirs
	config string
	id     *syscall.Credential
}

func newNewcomer(t *testing.T) *newcomer {
	t.Helper()
	rig := sshtest.For(t)
	n := &newcomer{Rig: rig, Account: rig.Account()}
	n.config = filepath.Join(n.Home, ".ssh", "config")
	n.bin = filepath.Join(n.Home, "my bin", "ssh-stay")
	u, err := user.Lookup(n.Name)
	n.must(err)
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	n.id = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}

	key, err := sshtest.NewKey(filepath.Join(n.Home, ".ssh", "id_ed25519"), "", "")
	n.must(err)
	target, gate := rig.Sshd(sshtest.SshdConfig{}), rig.Sshd(sshtest.SshdConfig{})
	known, text := "", ""
	for _, s := range []*sshtest.Sshd{target, gate} {
		n.must(s.Authorize(key.Authorized()))
		known += sshtest.KnownHost(s.HostPort(), s.HostKey)
	}
	for _, h := range []struct {
		s     *sshtest.Sshd
		lines string
	}{
		{target, "Host work outside"}, {target, "Host netcat\n    ProxyCommand nc %h %p"},
		{target, "Host far\n    ProxyJump gate"}, {target, "Host passed\n    ProxyUseFdpass yes"}, {gate, "Host gate"},
	} {
		text += fmt.Sprintf("%s\n    HostName %s\n    Port %d\n    User %s\n", h.lines, h.s.Addr, h.s.Port, h.s.User)
	}
	n.must(os.WriteFile(n.config, []byte(text+"Host *\n    BatchMode yes"), 0o640))
	n.must(os.WriteFile(filepath.Join(n.Home, ".ssh", "known_hosts"), []byte(known), 0o600))
	n.must(os.Mkdir(filepath.Dir(n.bin), 0o755))
	program, err := os.ReadFile(rig.Build())
	n.must(err)
	n.must(os.WriteFile(n.bin, program, 0o755))
	n.must(filepath.WalkDir(n.Home, func(path string, _ os.DirEntry, err error) error {
		return os.Lchown(path, uid, gid)
	}))
	t.Cleanup(func() { n.WaitNone(n.bin, 5*time.Second) })
	return n
}

func (n *newcomer) must(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

// command is a program of theirs.
func (n *newcomer) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + n.Home, "SHELL=/bin/sh", "USER=" + n.Name}
	cmd.Dir = n.Home
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: n.id}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func (n *newcomer) setup(args ...string) string {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), 60*time.Second)
	defer cancel()
	out, err := n.command(ctx, n.bin, append([]string{"setup", "--yes", "--program", n.bin}, args...)...).CombinedOutput()
	if err != nil {
		n.Fatalf("setup %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// during runs plain `ssh host`, and says what runs below it once it is up.
func (n *newcomer) during(host string) (programs []string) {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), 30*time.Second)
	defer cancel()
	cmd := n.command(ctx, "ssh", host, "echo up; cat")
	in, err := cmd.StdinPipe()
	n.must(err)
	out, err := cmd.StdoutPipe()
	n.must(err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	n.must(cmd.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	for _, pid := range sshtest.Descendants(cmd.Process.Pid) {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
			programs = append(programs, strings.TrimSpace(string(name)))
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil || line != "up\n" || stderr.Len() > 0 {
		n.Errorf("ssh %s: got %q, %v, %s", host, line, err, stderr.String())
	}
	slices.Sort(programs)
	return programs
}

func (n *newcomer) sum() string {
	n.Helper()
	text, err := os.ReadFile(n.config)
	n.must(err)
	info, err := os.Stat(n.config)
	n.must(err)
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%x %v %d:%d", sha256.Sum256(text), info.Mode(), st.Uid, st.Gid)
}

// TestSetupConnects: after setup a plain ssh goes through ssh-stay, by the way
// that the config had before; hosts outside the patterns do not, and nothing is
// left of it after undo.
func TestSetupConnects(t *testing.T) {
	n := newNewcomer(t)
	n.Peer("nc")
	before := n.sum()
	for host, want := range map[string]string{"work": "[]", "netcat": "[nc]", "far": "[ssh]"} {
		if got := fmt.Sprint(n.during(host)); got != want {
			t.Errorf("before, ssh %s: got %s below it, want %s", host, got, want)
		}
	}
	n.setup("*", "!outside")
	if out := n.setup("--resume", "target", "work"); !strings.Contains(out, "next: ssh work\n") {
		t.Errorf("got %s, want what to do next", out)
	}
	for host, want := range map[string]string{
		"work": "[ssh-stay]", "netcat": "[nc ssh-stay]", "far": "[ssh-stay]", "gate": "[ssh-stay]",
		"passed": "[]", "outside": "[]",
	} {
		if got := fmt.Sprint(n.during(host)); got != want {
			t.Errorf("ssh %s: got %s below it, want %s", host, got, want)
		}
	}
	if out := n.setup("--resume", "target", "work"); out != "nothing to do\n" {
		t.Errorf("again: got %q, want nothing to do", out)
	}
	n.setup("--undo")
	if got := n.sum(); got != before {
		t.Errorf("after undo: got %s, want %s", got, before)
	}
	if got := fmt.Sprint(n.during("work")); got != "[]" {
		t.Errorf("after undo, ssh work: got %s below it, want nothing", got)
	}
}

// TestSetupAsks: on a terminal it asks, and yes alone means yes.
func TestSetupAsks(t *testing.T) {
	n := newNewcomer(t)
	before := n.sum()
	for _, tc := range []struct {
		answer string
		status int
		writes bool
	}{{"\n", 1, false}, {"n\n", 1, false}, {"yessir\n", 1, false}, {"\x04", 1, false}, {"y\n", 0, true}} {
		cmd := n.command(t.Context(), n.bin, "setup", "--program", n.bin)
		terminal, err := pty.Start(cmd)
		n.must(err)
		answered := make(chan string, 1)
		go func() { // ends when the terminal closes
			var seen strings.Builder
			one := make([]byte, 1)
			for {
				if _, err := terminal.Read(one); err != nil {
					break
				}
				seen.Write(one)
				if strings.HasSuffix(seen.String(), "Write this? [y/N] ") {
					io.WriteString(terminal, tc.answer)
				}
			}
			answered <- seen.String()
		}()
		cmd.Wait()
		terminal.Close()
		seen := <-answered
		if got := cmd.ProcessState.ExitCode(); got != tc.status || !strings.Contains(seen, "+Include ssh-stay.conf") {
			t.Errorf("%q: got status %d, want %d:\n%s", tc.answer, got, tc.status, seen)
		}
		if wrote := n.sum() != before; wrote != tc.writes {
			t.Errorf("%q: written: got %v, want %v", tc.answer, wrote, tc.writes)
		}
	}
}
