//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// world is a user, two jump hosts and a target, all real, and a host alias a
// kind of route: direct, fdpass, one, two, three.
type world struct {
	sshtest.Rig
	bin        string
	client     *sshtest.Client
	target     *sshtest.Sshd
	j1, j2, j3 *sshtest.Sshd
	routes     []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	rig := sshtest.For(t)
	w := &world{Rig: rig, client: rig.Client()}
	// A name of its own, by which its processes are told from those of tests
	// beside it.
	w.bin = filepath.Join(w.client.Dir, "ssh-stay")
	if err := errors.Join(os.Link(rig.Build(), w.bin), w.client.Append("IgnoreUnknown Stay*")); err != nil {
		t.Fatal(err)
	}
	w.j1 = w.Host(w.client, "j1")
	w.j2 = w.Host(w.client, "j2")
	w.j3 = w.Host(w.client, "j3")
	line := w.client.ProxyLine(w.bin)
	w.target = w.Host(w.client, "direct", line)
	w.add("fdpass", line, "ProxyUseFdpass yes")
	w.add("one", line, "ProxyJump j1")
	w.add("two", line, "ProxyJump j1,j2")
	w.add("three", line, "ProxyJump j1,j2,j3")
	w.routes = []string{"direct", "fdpass", "one", "two", "three"}
	// What is left of ssh-stay after a test must be nothing.
	t.Cleanup(func() { w.WaitNone(w.bin, 5*time.Second) })
	return w
}

// add gives the target another name.
func (w *world) add(alias string, lines ...string) {
	w.Helper()
	if err := w.client.AddHost(alias, w.target, lines...); err != nil {
		w.Fatal(err)
	}
}

// ssh runs the real ssh and fails the test unless it succeeds.
func (w *world) ssh(stdin io.Reader, args ...string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := w.client.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		w.Fatalf("ssh %v: %v\n%s", args, err, stderr.String())
	}
	if stderr.Len() > 0 {
		w.Errorf("ssh %v: stderr %q, want silence", args, stderr.String())
	}
	return stdout.String()
}

// proxy runs `ssh-stay proxy` by itself.
func (w *world) proxy(stdin io.Reader, args ...string) (stdout, stderr string, status int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := w.client.Run(ctx, w.bin, append([]string{"proxy", "-F", w.client.Config}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		w.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (w *world) targetArgs() []string {
	return []string{w.target.Addr, fmt.Sprint(w.target.Port)}
}

func TestRoutes(t *testing.T) {
	w := newWorld(t)
	w.add("fromhop", w.client.ProxyLine(w.bin), "ProxyJump jj")
	if err := w.client.AddHost("jj", w.j1, "ProxyJump j2"); err != nil { // a hop's own ProxyJump
		t.Fatal(err)
	}
	w.add("command", w.client.ProxyLine(w.bin), "ProxyJump jc")
	if err := w.client.AddHost("jc", w.j1, "ProxyCommand nc %h %p"); err != nil {
		t.Fatal(err)
	}
	w.Peer("nc")
	w.add("uri", w.client.ProxyLine(w.bin), fmt.Sprintf("ProxyJump ssh://%s@127.0.0.1:%d", w.j1.User, w.j1.Port))
	w.add("none", w.client.ProxyLine(w.bin), "ProxyJump none")
	w.add("flag", w.client.ProxyLine(w.bin, "-J j1,j2"), "ProxyJump none")
	for _, tc := range []struct {
		alias string
		hops  []*sshtest.Sshd // whose logs must show the login
	}{
		{"direct", nil}, {"fdpass", nil}, {"none", nil},
		{"one", []*sshtest.Sshd{w.j1}},
		{"two", []*sshtest.Sshd{w.j1, w.j2}},
		{"three", []*sshtest.Sshd{w.j1, w.j2, w.j3}},
		{"fromhop", []*sshtest.Sshd{w.j1, w.j2}},
		{"command", []*sshtest.Sshd{w.j1}},
		{"uri", []*sshtest.Sshd{w.j1}},
		{"flag", []*sshtest.Sshd{w.j1, w.j2}},
	} {
		t.Run(tc.alias, func(t *testing.T) {
			before := logins(w.j1, w.j2, w.j3)
			if got := w.ssh(nil, tc.alias, "echo $((6*7))"); got != "42\n" {
				t.Errorf("got %q, want 42", got)
			}
			after := logins(w.j1, w.j2, w.j3)
			for i, hop := range []*sshtest.Sshd{w.j1, w.j2, w.j3} {
				want := 0
				if slices.Contains(tc.hops, hop) {
					want = 1
				}
				if got := after[i] - before[i]; got != want {
					t.Errorf("logins at j%d: got %d, want %d", i+1, got, want)
				}
			}
		})
	}
}

func logins(hops ...*sshtest.Sshd) []int {
	var n []int
	for _, h := range hops {
		n = append(n, strings.Count(h.Log(), "Accepted publickey"))
	}
	return n
}

// noise is a reproducible stream; its hash is that of what was sent.
func noise(size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{7}), size)
}

func hashOf(r io.Reader) string {
	h := sha256.New()
	io.Copy(h, r)
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestBytes(t *testing.T) {
	const size = 64 << 20
	w := newWorld(t)
	want := hashOf(noise(size))
	file := filepath.Join(w.client.Dir, "noise")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(f, noise(size))
	f.Close()
	for _, alias := range w.routes {
		t.Run(alias, func(t *testing.T) {
			if got := w.ssh(noise(size), alias, "sha256sum"); !strings.HasPrefix(got, want) {
				t.Errorf("up: got %.80q, want %s", got, want)
			}
			if got := hashOf(strings.NewReader(w.ssh(nil, alias, "cat "+file))); got != want {
				t.Errorf("down: got %s, want %s", got, want)
			}
		})
	}
}

func TestClients(t *testing.T) {
	w := newWorld(t)
	w.Peer("rsync")
	w.Peer("scp")
	from := filepath.Join(w.client.Dir, "from")
	text := strings.Repeat("stay\n", 1<<16)
	if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, alias := range []string{"direct", "fdpass", "two"} {
		for name, command := range map[string][]string{
			"scp":   {"scp", "-q", "-F", w.client.Config, from, alias + ":" + from + ".scp"},
			"sftp":  {"sh", "-c", fmt.Sprintf("echo put %s %s.sftp | sftp -q -b - -F %s %s", from, from, w.client.Config, alias)},
			"rsync": {"rsync", "-e", "ssh -F " + w.client.Config, from, alias + ":" + from + ".rsync"},
		} {
			t.Run(alias+"/"+name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				if out, err := w.client.Run(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", command, err, out)
				}
				to := from + "." + name
				got, err := os.ReadFile(to)
				if err != nil || string(got) != text {
					t.Errorf("got %d bytes, %v; want %d", len(got), err, len(text))
				}
				os.Remove(to)
			})
		}
	}
}

// TestExitStatus is ssh's own: the remote command's.
func TestExitStatus(t *testing.T) {
	w := newWorld(t)
	for _, alias := range w.routes {
		cmd := w.client.Command(t.Context(), alias, "exit 37")
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != 37 {
			t.Errorf("%s: got exit status %d, want 37", alias, got)
		}
	}
}

// TestHalfClose: the answer comes after our EOF, whole.
func TestHalfClose(t *testing.T) {
	const size = 1 << 20
	w := newWorld(t)
	echo := lateServer(t)
	host, port, _ := net.SplitHostPort(echo)
	for _, jump := range []string{"none", "j1", "j1,j2"} {
		stdout, stderr, status := w.proxy(noise(size), "-J", jump, host, port)
		if status != 0 || stderr != "" {
			t.Errorf("-J %s: exit %d, stderr %q; want 0 and silence", jump, status, stderr)
		}
		if got, want := hashOf(strings.NewReader(stdout)), hashOf(noise(size)); got != want {
			t.Errorf("-J %s: got %d bytes %s, want %d bytes %s", jump, len(stdout), got, size, want)
		}
	}
}

// lateServer answers all it was sent, once it has seen EOF.
func lateServer(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends when the test closes the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all, _ := io.ReadAll(c)
			c.Write(all)
			c.Close()
		}
	}()
	return l.Addr().String()
}

// TestPeerGone: the peer's end ends us though our stdin stays open.
func TestPeerGone(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends when the test closes the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "bye")
			c.Close()
		}
	}()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	for _, jump := range []string{"none", "j1", "j1,j2"} {
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		stdout, stderr, status := w.proxy(in, "-J", jump, host, port)
		if stdout != "bye" || stderr != "" || status != 0 {
			t.Errorf("-J %s: got %q, %q, exit %d; want bye, silence, 0", jump, stdout, stderr, status)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("-J %s: took %v", jump, took)
		}
		out.Close()
		in.Close()
	}
}

// TestStdoutClosed: with nobody to read, we end at once, stdin open or not.
func TestStdoutClosed(t *testing.T) {
	w := newWorld(t)
	for _, jump := range []string{"none", "j1"} {
		in, keep, _ := os.Pipe()
		read, out, _ := os.Pipe()
		cmd := w.client.Run(t.Context(), w.bin, append([]string{"proxy", "-F", w.client.Config, "-J", jump}, w.targetArgs()...)...)
		cmd.Stdin, cmd.Stdout = in, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.Close()
		banner := make([]byte, 4)
		if _, err := io.ReadFull(read, banner); err != nil || string(banner) != "SSH-" {
			t.Fatalf("-J %s: got %q, %v; want a banner", jump, banner, err)
		}
		read.Close()
		w.WaitGone(cmd.Process.Pid, 2*time.Second)
		cmd.Wait()
		keep.Close()
		in.Close()
	}
}

// TestOwnSocketIsProbed: under fdpass ssh owns a socket with our timer on it.
func TestOwnSocketIsProbed(t *testing.T) {
	w := newWorld(t)
	w.Peer("ss")
	for _, tc := range []struct {
		alias string
		lines []string
		want  bool
	}{
		{"fdpass", nil, true},
		{"unprobed", []string{"TCPKeepAlive no"}, false},
	} {
		if tc.lines != nil {
			w.add(tc.alias, append(tc.lines, w.client.ProxyLine(w.bin), "ProxyUseFdpass yes")...)
		}
		cmd := w.client.Command(t.Context(), tc.alias, "echo up; cat")
		keep, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
			t.Fatalf("%s: %v", tc.alias, err)
		}
		w.WaitNone(w.bin, 2*time.Second) // we are out of the path
		ss, err := exec.Command("ss", "-tnpoH", "dport", "=", fmt.Sprint(w.target.Port)).CombinedOutput()
		if err != nil {
			t.Fatalf("ss: %v\n%s", err, ss)
		}
		mine := ""
		for line := range strings.Lines(string(ss)) {
			if strings.Contains(line, fmt.Sprintf("pid=%d,", cmd.Process.Pid)) {
				mine = line
			}
		}
		if mine == "" {
			t.Fatalf("%s: ssh %d owns no socket:\n%s", tc.alias, cmd.Process.Pid, ss)
		}
		// 30 s is StayInterval's default; ssh alone would have the kernel's 2 h.
		if got := strings.Contains(mine, "timer:(keepalive,29sec") || strings.Contains(mine, "timer:(keepalive,30sec"); got != tc.want {
			t.Errorf("%s: keepalive timer of ours: got %v, want %v:\n%s", tc.alias, got, tc.want, mine)
		}
		keep.Close()
		cmd.Wait()
	}
}
