//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// soak is set where tests may take as long as what they are about.
var soak = os.Getenv("SSH_STAY_SOAK") != ""

// testKeep ends the relays of a test that is killed by its time limit, and so has
// no Cleanup.
const testKeep = "StayKeep=12m"

// resumed is a user whose sessions with a target survive the faults of the way
// to the relay's host: the target itself, or a jump host. It is all the test's
// own, so that several can run at once.
type resumed struct {
	sshtest.Rig
	bin    string
	client *sshtest.Client
	target *sshtest.Sshd
	host   *sshtest.Sshd   // of the relay
	faults *sshtest.Faults // between the user and host; nil for none
	log    string          // of the proxies
	env    []string        // more for proxies that no ssh runs
}

// loopbacks counts addresses of 127/8. Each fault proxy listens on one of its
// own, on the port of its server: then it is the path that has the faults, and
// not what the relay dials, which is the port of localhost.
var loopbacks atomic.Int32

// newResumed makes the alias "it", for StayResume target or jump.
func newResumed(t *testing.T, mode string, lines ...string) *resumed {
	t.Helper()
	return newResumedAt(t, mode, sshtest.SshdConfig{}, lines...)
}

// newResumedAt says what the relay's host is like.
func newResumedAt(t *testing.T, mode string, cfg sshtest.SshdConfig, lines ...string) *resumed {
	t.Helper()
	r := emptyResumed(t)
	r.host = r.Sshd(cfg)
	r.target = r.host
	if mode == "jump" {
		r.target = r.Sshd(sshtest.SshdConfig{})
	}
	// The first addresses are those of people.
	listen := fmt.Sprintf("127.0.1.%d:%d", 1+loopbacks.Add(1), r.host.Port)
	r.faults = r.Faults(&sshtest.Faults{Target: r.host.HostPort(), Listen: listen})
	r.know(r.host)
	r.install()
	ip := strings.Split(listen, ":")[0]
	lines = append(lines, r.client.ProxyLine(r.bin, "--log", r.log), "StayResume "+mode, testKeep)
	if mode == "jump" {
		r.fail(r.client.AddHost("jump", r.host, "HostName "+ip, "BatchMode no", "StrictHostKeyChecking ask"))
		r.fail(r.client.AddHost("it", r.target, append(lines, "ProxyJump jump")...))
	} else {
		r.fail(r.client.AddHost("it", r.host, append(lines, "HostName "+ip)...))
	}
	return r
}

// emptyResumed is a user alone.
func emptyResumed(t *testing.T) *resumed {
	t.Helper()
	rig := sshtest.For(t)
	r := &resumed{Rig: rig, bin: rig.Build(), client: rig.Client()}
	r.log = filepath.Join(r.client.Dir, "log")
	r.fail(r.client.Append("IgnoreUnknown Stay*"))
	t.Cleanup(func() {
		r.Eventually(8*time.Second, "end of our processes", func() bool { return len(r.ours()) == 0 })
		if t.Failed() {
			t.Logf("log of the proxy:\n%s", r.text())
		}
	})
	return r
}

// install puts the relay's program where an upload would: that takes seconds on
// a machine under load, and TestResumeRoutes shows it.
func (r *resumed) install() {
	r.Helper()
	program, err := os.Open(r.bin)
	r.fail(err)
	defer program.Close()
	dir := filepath.Join(r.host.Home, ".cache", "ssh-stay")
	r.fail(os.MkdirAll(dir, 0o700))
	r.fail(os.Link(r.bin, filepath.Join(dir, "relay-"+hashOf(program))))
}

func (r *resumed) fail(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// know adds s to known_hosts as what is behind the fault proxy.
func (r *resumed) know(s *sshtest.Sshd) {
	r.Helper()
	f, err := os.OpenFile(r.client.KnownHosts, os.O_APPEND|os.O_WRONLY, 0o600)
	r.fail(err)
	defer f.Close()
	_, err = f.WriteString(sshtest.KnownHost(r.faults.Addr(), s.HostKey))
	r.fail(err)
}

// ours are the proxies of this user.
func (r *resumed) ours() (pids []int) {
	for _, pid := range sshtest.ProcessesOf(r.bin) {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if bytes.Contains(env, []byte("HOME="+r.client.Dir+"\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// proxyPid is the one proxy that runs.
func (r *resumed) proxyPid() int {
	r.Helper()
	pids := r.ours()
	if len(pids) != 1 {
		r.Fatalf("got proxies %v, want one", pids)
	}
	return pids[0]
}

// relayPid is the one relay that runs.
func (r *resumed) relayPid() int {
	r.Helper()
	for _, pid := range r.host.Relays() {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(line), "\x00daemon\x00") {
			return pid
		}
	}
	r.Fatal("no relay runs")
	return 0
}

// text is the log of the proxies.
func (r *resumed) text() string {
	text, _ := os.ReadFile(r.log)
	return string(text)
}

var attachedLine = regexp.MustCompile(`(?m)msg=attached generation=\d+ `)

// attached is how often a stream got a link again.
func (r *resumed) attached() int { return len(attachedLine.FindAllString(r.text(), -1)) }

// logged waits until the log has the text.
func (r *resumed) logged(d time.Duration, text string) {
	r.Helper()
	r.Eventually(d, "word of \""+text+"\" in the log", func() bool { return strings.Contains(r.text(), text) })
}

// inner counts the logins of ssh itself, which come from the relay, and outer
// those for the relay, which come through the fault proxy.
func (r *resumed) inner() int { return r.accepted(r.target, "127.0.0.1") }
func (r *resumed) outer() int {
	return r.accepted(r.host, strings.Split(r.faults.Addr(), ":")[0])
}

func (r *resumed) accepted(s *sshtest.Sshd, from string) (n int) {
	for line := range strings.Lines(s.Log()) {
		if strings.HasPrefix(line, "Accepted publickey") && strings.Contains(line, " from "+from+" port ") {
			n++
		}
	}
	return n
}

// run runs ssh to its end.
func (r *resumed) run(stdin io.Reader, args ...string) (stdout, stderr string, status int) {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	return r.finish(r.client.Command(ctx, args...), stdin)
}

// finish runs a command to its end.
func (r *resumed) finish(cmd *exec.Cmd, stdin io.Reader) (stdout, stderr string, status int) {
	r.Helper()
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	if exit := (*exec.ExitError)(nil); true {
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			r.Errorf("%v: %v", cmd.Args, err)
		}
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// staying is a session over a stream. What stands on its stderr is told by its
// end.
type staying struct {
	*session
	r      *resumed
	stderr string // a file
}

// open starts a session that answers a line with it. wrap changes the command,
// if not nil.
func (r *resumed) open(alias string, wrap func(*exec.Cmd) *exec.Cmd) *staying {
	r.Helper()
	cmd := r.client.Command(context.Background(), alias, "cat")
	if wrap != nil {
		cmd = wrap(cmd)
	}
	return r.start(alias, cmd)
}

func (r *resumed) start(name string, cmd *exec.Cmd) *staying {
	r.Helper()
	errs, err := os.CreateTemp(r.client.Dir, "stderr")
	r.fail(err)
	defer errs.Close()
	in, err := cmd.StdinPipe()
	r.fail(err)
	read, write, err := os.Pipe()
	r.fail(err)
	cmd.Stdout, cmd.Stderr = write, errs
	r.fail(cmd.Start())
	write.Close()
	s := &staying{&session{cmd, in, read, name}, r, errs.Name()}
	r.Cleanup(func() {
		cmd.Process.Kill()
		in.Close()
		cmd.Wait()
		read.Close()
	})
	return s
}

// hello waits until the session answers.
func (s *staying) hello() *staying {
	s.r.Helper()
	if err := s.ask("hello", 30*time.Second); err != nil {
		s.r.Fatalf("%s: no session: %v, stderr %q", s.name, err, s.said())
	}
	return s
}

// answers fails the test unless the session does within d, and returns what it
// took.
func (s *staying) answers(d time.Duration) time.Duration {
	s.r.Helper()
	start := time.Now()
	if err := s.ask("still there", d); err != nil {
		s.r.Fatalf("%s: %v after %v, want an answer; stderr %q", s.name, err, time.Since(start), s.said())
	}
	return time.Since(start)
}

func (s *staying) said() string {
	text, _ := os.ReadFile(s.stderr)
	return string(text)
}

// end ends the session as its user would, and nothing was said.
func (s *staying) end() {
	s.r.Helper()
	s.in.Close()
	if err := s.cmd.Wait(); err != nil || s.said() != "" {
		s.r.Errorf("%s: %v, stderr %q, want a silent end", s.name, err, s.said())
	}
}

// together runs tests that mostly wait, all at once.
func together(t *testing.T, tests map[string]func(t *testing.T)) {
	var all sync.WaitGroup
	for name, test := range tests {
		all.Go(func() { t.Run(name, test) }) // ends with the test
	}
	all.Wait()
}

// TestResumeRoutes: each way to have a relay, and each to have none.
func TestResumeRoutes(t *testing.T) {
	w := newWorld(t)
	line := w.client.ProxyLine(w.bin)
	w.add("own", line, "StayResume target")
	w.add("ownbehind", line, "StayResume target", "ProxyJump j1,j2")
	w.add("jumped", line, "StayResume jump", "ProxyJump j1,j3")
	w.add("nojump", line, "StayResume jump")
	for _, tc := range []struct {
		alias  string
		relay  *sshtest.Sshd // where there is one; nil for none
		logins []int         // at j1, j2, j3 and the target
	}{
		{"direct", nil, []int{0, 0, 0, 1}},
		{"nojump", nil, []int{0, 0, 0, 1}},
		{"jumped", w.j3, []int{1, 0, 1, 1}},
		{"own", w.target, []int{0, 0, 0, 2}},
		{"ownbehind", w.target, []int{1, 1, 0, 2}},
		{"own", w.target, []int{0, 0, 0, 2}},
	} {
		all := []*sshtest.Sshd{w.j1, w.j2, w.j3, w.target}
		before := logins(all...)
		homes := homesOf(t, all)
		if got := w.ssh(nil, tc.alias, "echo $((6*7))"); got != "42\n" {
			t.Errorf("%s: got %q, want 42", tc.alias, got)
		}
		for i, n := range logins(all...) {
			if got := n - before[i]; got != tc.logins[i] {
				t.Errorf("%s: got %d logins at host %d, want %d", tc.alias, got, i, tc.logins[i])
			}
		}
		for i, home := range homesOf(t, all) {
			if home != homes[i] && all[i] != tc.relay {
				t.Errorf("%s: host %d has files %s, want %s as before", tc.alias, i, home, homes[i])
			}
		}
		if tc.relay != nil && len(tc.relay.Relays()) == 0 {
			t.Errorf("%s: no relay runs", tc.alias)
		}
	}
	if n := len(w.j1.Relays()) + len(w.j2.Relays()); n != 0 {
		t.Errorf("got %d relays on hosts that are none's, want none", n)
	}
}

// homesOf tells what is in the homes, but for sockets: a relay that ends meanwhile takes
// its own along.
func homesOf(t *testing.T, hosts []*sshtest.Sshd) (all []string) {
	t.Helper()
	for _, h := range hosts {
		var names []string
		if err := filepath.Walk(h.Home, func(path string, _ os.FileInfo, err error) error {
			if filepath.Ext(path) == ".sock" {
				return nil
			}
			names = append(names, path)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Join(names, " "))
	}
	return all
}
