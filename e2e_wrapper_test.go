//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// wrapped is a user whose config has no ProxyCommand of ours, a jump host j1, and
// a target: direct, or behind j1 as one.
type wrapped struct {
	sshtest.Rig
	bin        string
	client     *sshtest.Client
	j1, target *sshtest.Sshd
}

func newWrapped(t *testing.T) *wrapped {
	t.Helper()
	rig := sshtest.For(t)
	w := &wrapped{Rig: rig, bin: rig.Build(), client: rig.Client()}
	if err := w.client.Append("IgnoreUnknown Stay*"); err != nil {
		t.Fatal(err)
	}
	w.j1 = w.Host(w.client, "j1")
	w.target = w.Host(w.client, "direct")
	if err := w.client.AddHost("one", w.target, "ProxyJump j1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.WaitNone(w.bin, 5*time.Second) })
	return w
}

// run runs a program of this user's, with more in its environment.
func (w *wrapped) run(stdin io.Reader, env []string, program string, args ...string) (stdout, stderr string, status int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := w.client.Run(ctx, program, args...)
	cmd.Env = append(cmd.Env, env...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		w.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (w *wrapped) conf(args ...string) []string {
	return append([]string{"-F", w.client.Config}, args...)
}

// first is a folder with ssh-stay in it under the name ssh, and a PATH that
// begins with it.
func (w *wrapped) first(how string) (ssh, path string) {
	w.Helper()
	dir := filepath.Join(w.client.Dir, how+" bin") // with a blank
	ssh = filepath.Join(dir, "ssh")
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		switch how {
		case "symlink":
			err = os.Symlink(w.bin, ssh)
		case "hardlink":
			err = os.Link(w.bin, ssh)
		case "copy":
			var text []byte
			if text, err = os.ReadFile(w.bin); err == nil {
				err = os.WriteFile(ssh, text, 0o700)
			}
		}
	}
	if err != nil {
		w.Fatal(err)
	}
	return ssh, "PATH=" + dir + ":" + os.Getenv("PATH")
}

// TestWrapper: what ssh does, the wrapper does: status, bytes both ways, terminal.
func TestWrapper(t *testing.T) {
	const size = 8 << 20
	w := newWrapped(t)
	want := hashOf(noise(size))
	for _, args := range [][]string{{"direct"}, {"one"}, {"-J", "j1", "direct"}, {"-o", "ProxyCommand=nc %h %p", "direct"}, {"-o", "ProxyJump=none", "one"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			w := &wrapped{Rig: sshtest.For(t), bin: w.bin, client: w.client, j1: w.j1, target: w.target}
			before := logins(w.j1)[0]
			if _, stderr, status := w.run(nil, nil, w.bin, w.conf(append(args, "exit 37")...)...); status != 37 || stderr != "" {
				t.Errorf("got exit %d, %q; want 37 and silence", status, stderr)
			}
			hops := 0
			if strings.Contains(args[0], "one") || args[0] == "-J" {
				hops = 1
			}
			if got := logins(w.j1)[0] - before; got != hops {
				t.Errorf("got %d logins at the jump host, want %d", got, hops)
			}
			stdout, stderr, status := w.run(noise(size), nil, w.bin, w.conf(append(args, "cat")...)...)
			if got := hashOf(strings.NewReader(stdout)); got != want || status != 0 || stderr != "" {
				t.Errorf("got %d bytes, exit %d, %q; want those sent, 0 and silence", len(stdout), status, stderr)
			}
			if out, _, _ := w.run(nil, nil, w.bin, w.conf(append(slices.Clone(args[:len(args)-1]), "-tt", args[len(args)-1], "tty")...)...); !strings.HasPrefix(out, "/dev/pts/") {
				t.Errorf("-tt: got %q, want a terminal", out)
			}
			// It is ours that is in the path.
			_, said, _ := w.run(nil, nil, w.bin, w.conf(append([]string{"-v"}, append(args, "true")...)...)...)
			if !strings.Contains(said, w.bin+" proxy --alias") {
				t.Errorf("ssh-stay is no ProxyCommand:\n%s", said)
			}
		})
	}
	for _, shell := range []string{"bash", "zsh", "fish", "tcsh"} {
		env := []string{"SHELL=" + w.Peer(shell)}
		if out, stderr, _ := w.run(nil, env, w.bin, w.conf("-o", "User="+w.target.User, "-o", "HostKeyAlias=["+w.target.Addr+"]:"+fmt.Sprint(w.target.Port), "one", "echo over")...); out != "over\n" || stderr != "" {
			t.Errorf("%s: got %q, %q; want over", shell, out, stderr)
		}
	}
}

// TestWrapperIsSSH: signals reach ssh, which is the process that we were.
func TestWrapperIsSSH(t *testing.T) {
	w := newWrapped(t)
	cmd := w.client.Run(t.Context(), w.bin, w.conf("direct", "echo up; cat")...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
	real, _ := filepath.EvalSymlinks(w.Peer("ssh"))
	if err != nil || exe != real {
		t.Errorf("got process %s, %v; want %s", exe, err, real)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	limit := time.AfterFunc(20*time.Second, func() { out.Close() })
	defer limit.Stop()
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Errorf("ssh is still there: %v", err)
	}
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != exitNoReach {
		t.Errorf("got exit %d on SIGTERM, want ssh's 255", got)
	}
}

// TestWrapperNamedSSH: under the name ssh, first in PATH, it finds the real one,
// and so does what it starts: `ssh -W` to a hop, and the user's own ProxyCommand.
func TestWrapperNamedSSH(t *testing.T) {
	w := newWrapped(t)
	w.Peer("nc")
	if err := w.client.Append(`Match originalhost asks exec "ssh -V 2>/dev/null"`, "ProxyJump j1"); err != nil {
		t.Fatal(err)
	}
	for alias, lines := range map[string][]string{
		"left":   {"ProxyJump byssh"},
		"nested": {"ProxyCommand ssh -F " + w.client.Config + " -W %h:%p j1"},
		"asks":   nil,
	} {
		if err := w.client.AddHost(alias, w.target, lines...); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.client.AddHost("byssh", w.j1, "StayClient openssh", "ProxyJump again"); err != nil {
		t.Fatal(err)
	}
	if err := w.client.AddHost("again", w.target, "StayClient openssh", "ProxyCommand nc %h %p"); err != nil {
		t.Fatal(err)
	}
	if err := w.client.AddHost("bare", w.j1, "StayClient openssh"); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"symlink", "hardlink", "copy"} {
		ssh, path := w.first(how)
		for _, alias := range []string{"direct", "one", "left", "nested", "asks"} {
			out, stderr, status := w.run(nil, []string{path}, "sh", "-c", "ssh -F "+w.client.Config+" "+alias+" echo over")
			if out != "over\n" || stderr != "" || status != 0 {
				t.Errorf("%s: %s: got %q, exit %d, %q; want over", how, alias, out, status, stderr)
			}
		}
		// How ssh gets to the last hop, our own command says, and no stanza.
		before := logins(w.target)[0]
		out, stderr, _ := w.run(nil, []string{path}, ssh, w.conf("-J", "again,bare", "direct", "echo over")...)
		if out != "over\n" || stderr != "" {
			t.Errorf("%s: over two: got %q, %q; want over", how, out, stderr)
		}
		if got := logins(w.target)[0] - before; got != 2 {
			t.Errorf("%s: over two: got %d logins at the first hop, which is the target too; want 2", how, got)
		}
		w.WaitNone(ssh, 5*time.Second)
	}
}

// TestWrapperClients: programs that run an ssh they are told of.
func TestWrapperClients(t *testing.T) {
	w := newWrapped(t)
	ssh, path := w.first("symlink")
	from := filepath.Join(w.client.Dir, "from")
	text := strings.Repeat("stay\n", 1<<16)
	if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	repo := filepath.Join(w.client.Dir, "repo")
	init := "git init -q --bare " + repo + " && git clone -q " + repo + " new && cd new && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m stay && git push -q origin HEAD"
	if _, said, status := w.run(nil, nil, "sh", "-c", init); status != 0 {
		t.Fatal(said)
	}
	conf := w.client.Config
	for name, command := range map[string]string{
		"scp":        fmt.Sprintf("scp -q -S %s -F %s %s one:%s.scp", w.bin, conf, from, from),
		"scp name":   fmt.Sprintf("scp -q -S '%s' -F %s %s one:%s.scp", ssh, conf, from, from),
		"scp -J":     fmt.Sprintf("scp -q -S %s -J j1 -F %s %s direct:%s.scp", w.bin, conf, from, from),
		"sftp":       fmt.Sprintf("echo put %s %s.sftp | sftp -q -b - -S %s -F %s one", from, from, w.bin, conf),
		"rsync":      fmt.Sprintf("rsync -e '%s -F %s' %s one:%s.rsync", w.bin, conf, from, from),
		"rsync ssh":  fmt.Sprintf("rsync -e '%s ssh -F %s' %s one:%s.rsync", w.bin, conf, from, from),
		"rsync PATH": fmt.Sprintf("rsync -e 'ssh -F %s' %s one:%s.rsync", conf, from, from),
		"git": fmt.Sprintf(`printf '#!/bin/sh\nexec %s -F %s "$@"\n' >git-ssh; chmod 700 git-ssh; GIT_SSH=./git-ssh git clone -q one:%s cloned && git -C cloned log --format=%%s && mv cloned %s.git`,
			w.bin, conf, repo, from),
		"git command": fmt.Sprintf(`GIT_SSH_VARIANT=ssh GIT_SSH_COMMAND='%s -F %s' git clone -q one:%s cloned && mv cloned %s.git`, w.bin, conf, repo, from),
	} {
		t.Run(name, func(t *testing.T) {
			before := logins(w.j1)[0]
			out, stderr, status := w.run(nil, []string{path}, "sh", "-c", command)
			if status != 0 || stderr != "" {
				t.Fatalf("%s: exit %d, %q", command, status, out+stderr)
			}
			kind, _, _ := strings.Cut(name, " ")
			to := from + "." + kind
			if got, err := os.ReadFile(to); kind != "git" && (err != nil || string(got) != text) {
				t.Errorf("got %d bytes, %v; want %d", len(got), err, len(text))
			}
			if _, err := os.Stat(filepath.Join(to, ".git")); kind == "git" && err != nil {
				t.Error(err)
			}
			if got := logins(w.j1)[0] - before; got != 1 {
				t.Errorf("got %d logins at the jump host, want 1", got)
			}
			os.RemoveAll(to)
		})
	}
}

// TestWrapperControlMaster: sessions share a connection, and -O finds it.
func TestWrapperControlMaster(t *testing.T) {
	w := newWrapped(t)
	socket := "ControlPath=" + filepath.Join(w.client.Dir, "%C")
	args := func(more ...string) []string {
		return w.conf(append([]string{"-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", socket, "-J", "j1"}, more...)...)
	}
	for i := range 3 {
		if out, stderr, _ := w.run(nil, nil, w.bin, args("direct", "echo over")...); out != "over\n" || stderr != "" {
			t.Fatalf("session %d: got %q, %q; want over", i, out, stderr)
		}
	}
	if got := logins(w.j1, w.target); !slices.Equal(got, []int{1, 1}) {
		t.Errorf("got logins %v at jump host and target, want one each", got)
	}
	if _, stderr, status := w.run(nil, nil, w.bin, args("-O", "check", "direct")...); status != 0 || !strings.HasPrefix(stderr, "Master running") {
		t.Errorf("-O check: got exit %d, %q", status, stderr)
	}
	if _, stderr, status := w.run(nil, nil, w.bin, args("-O", "exit", "direct")...); status != 0 {
		t.Errorf("-O exit: got exit %d, %q", status, stderr)
	}
}

// TestWrapperTunnels: a notebook kernel's five channels and its web port, to six
// servers, all at once.
func TestWrapperTunnels(t *testing.T) {
	const size = 1 << 20
	w := newWrapped(t)
	args := []string{"-N", "-o", "ExitOnForwardFailure=yes"}
	var sockets []string
	for i := range 6 {
		sockets = append(sockets, filepath.Join(w.client.Dir, fmt.Sprint("tunnel", i)))
		args = append(args, "-L", sockets[i]+":"+lateServer(t))
	}
	cmd := w.client.Run(t.Context(), w.bin, w.conf(append(args, "one")...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}()
	w.Eventually(30*time.Second, "six tunnels", func() bool {
		return !slices.ContainsFunc(sockets, func(s string) bool { _, err := os.Stat(s); return err != nil })
	})
	var all, open sync.WaitGroup
	open.Add(len(sockets)) // none ends before all have begun
	for i, socket := range sockets {
		all.Go(func() {
			c, err := net.Dial("unix", socket)
			open.Done()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(30 * time.Second))
			half := c.(*net.UnixConn)
			io.Copy(half, noise(size/2))
			open.Wait()
			if _, err := io.Copy(half, noise(size/2)); err != nil {
				t.Errorf("tunnel %d: %v", i, err)
			}
			half.CloseWrite()
			want := hashOf(io.MultiReader(noise(size/2), noise(size/2)))
			if got := hashOf(c); got != want {
				t.Errorf("tunnel %d: got %s back, want %s", i, got, want)
			}
		})
	}
	all.Wait()
}

// TestWrapperResumes: a session that was asked to on the command line alone
// outlives its connection.
func TestWrapperResumes(t *testing.T) {
	r := newResumed(t, "target")
	ip, _, _ := net.SplitHostPort(r.faults.Addr())
	r.fail(r.client.AddHost("plain", r.host, "HostName "+ip))
	cmd := r.client.Run(context.Background(), r.bin, "-F", r.client.Config, "-o", "StayResume=target", "-o", testKeep, "plain", "cat")
	s := r.start("plain", cmd).hello()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
	if err != nil || !strings.Contains(string(line), "\x00ServerAliveInterval=0\x00") {
		t.Errorf("got %q, %v; want no probes of ssh's inside the stream", line, err)
	}
	before := r.faults.Stats()
	r.faults.Reset()
	if err := s.ask("again", 30*time.Second); err != nil {
		t.Errorf("after a reset: %v, stderr %q", err, s.said())
	}
	if after := r.faults.Stats(); after.Reset == before.Reset {
		t.Error("nothing was reset")
	}
	s.end()
}
