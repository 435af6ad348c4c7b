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
	"strings"
	"syscall"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// session is a running ssh whose remote command answers a line with it.
type session struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *os.File
	name string
}

// ask sends a line and reports whether it came back within d.
func (s *session) ask(line string, d time.Duration) error {
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		return err
	}
	s.out.SetReadDeadline(time.Now().Add(d))
	got := make([]byte, len(line)+1)
	if _, err := io.ReadFull(s.out, got); err != nil {
		return err
	}
	if string(got) != line+"\n" {
		return fmt.Errorf("got %q, want %q", got, line)
	}
	return nil
}

func startSession(t *testing.T, name string, cmd *exec.Cmd) *session {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = write, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	s := &session{cmd, in, read, name}
	t.Cleanup(func() {
		cmd.Process.Kill()
		in.Close()
		cmd.Wait()
		read.Close()
	})
	if err := s.ask("hello", 20*time.Second); err != nil {
		t.Fatalf("%s: no session: %v\n%s", name, err, stderr.String())
	}
	return s
}

// TestFirewall is what this program is for: a stateful firewall forgets idle
// connections, stock ssh and nc hang, and ours live.
func TestFirewall(t *testing.T) {
	t.Parallel()
	const forget = 3 * time.Second
	rig := sshtest.For(t)
	bin, client := rig.Build(), rig.Client()
	rig.Peer("nc")
	fw := rig.Firewall(forget)
	target := rig.Sshd(sshtest.SshdConfig{In: fw.Server})
	jump := rig.Sshd(sshtest.SshdConfig{In: fw.Server})
	add := func(alias string, s *sshtest.Sshd, lines ...string) {
		if err := client.AddHost(alias, s, append(lines, "ServerAliveInterval 0", "TCPKeepAlive yes", "StayInterval 1")...); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Append("IgnoreUnknown Stay*"); err != nil {
		t.Fatal(err)
	}
	line := client.ProxyLine(bin)
	add("jump", jump)
	add("stock", target)
	add("stockjump", target, "ProxyJump jump")
	add("nc", target, "ProxyCommand nc %h %p")
	add("direct", target, line)
	add("fdpass", target, line, "ProxyUseFdpass yes")
	add("one", target, line, "ProxyJump jump")

	var dead, alive []*session
	for _, alias := range []string{"stock", "stockjump", "nc", "direct", "fdpass", "one"} {
		cmd := fw.Client.Enter(client.Command(t.Context(), alias, "cat"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		t.Cleanup(func() { // stock ssh leaves its `ssh -W` to the firewall
			if cmd.Process != nil {
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			}
		})
		s := startSession(t, alias, cmd)
		if alias == "direct" || alias == "fdpass" || alias == "one" {
			alive = append(alive, s)
		} else {
			dead = append(dead, s)
		}
	}
	// All are left alone for longer than the firewall remembers. The fault is
	// seen to have fired when it knows the probed connections alone.
	<-time.After(2 * forget)
	rig.Eventually(30*time.Second, "forgetting of the idle connections", func() bool {
		known, err := fw.Known()
		return err == nil && known == len(alive)
	})
	for _, s := range alive {
		if err := s.ask("still there", 5*time.Second); err != nil {
			t.Errorf("%s: %v, want an answer", s.name, err)
		}
	}
	before, err := fw.Dropped()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range dead {
		if err := s.ask("still there", 2*time.Second); err == nil {
			t.Errorf("%s answers: the firewall did nothing", s.name)
		}
	}
	if after, err := fw.Dropped(); err != nil || after <= before {
		t.Errorf("the firewall dropped %d packets, then %d, %v; want more", before, after, err)
	}
}

// TestNetworkDown: while there is no network we hold in silence, and connect
// when it comes.
func TestNetworkDown(t *testing.T) {
	rig := sshtest.For(t)
	bin, client := rig.Build(), rig.Client()
	link := rig.Link()
	target := rig.Sshd(sshtest.SshdConfig{In: link.Server})
	if err := client.AddHost("target", target, client.ProxyLine(bin)); err != nil {
		t.Fatal(err)
	}
	if err := client.AddHost("over", target, client.ProxyLine(bin), "ProxyJump target"); err != nil {
		t.Fatal(err)
	}
	for _, alias := range []string{"target", "over"} {
		if err := link.Down(); err != nil {
			t.Fatal(err)
		}
		log := filepath.Join(client.Dir, "log-"+alias)
		var out, errs bytes.Buffer
		args := []string{"-o", "ProxyCommand=" + strings.TrimPrefix(client.ProxyLine(bin, "--log", log), "ProxyCommand ")}
		cmd := link.Client.Enter(client.Command(t.Context(), append(args, alias, "echo back")...))
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		holding := func() bool {
			text, _ := os.ReadFile(log)
			return strings.Count(string(text), "no connection yet, holding") >= 3
		}
		rig.Eventually(10*time.Second, "third attempt", holding)
		if err := link.Up(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil || out.String() != "back\n" {
			t.Errorf("%s: got %q, %v, stderr %q; want back", alias, out.String(), err, errs.String())
		}
		if errs.Len() > 0 {
			t.Errorf("%s: stderr %q, want silence", alias, errs.String())
		}
	}
}

// TestBudget: the wait ends with ConnectTimeout, else StayPatience, and with
// the client.
func TestBudget(t *testing.T) {
	rig := sshtest.For(t)
	bin, client := rig.Build(), rig.Client()
	link := rig.Link() // down for ever
	for _, tc := range []struct {
		options []string
		want    time.Duration
	}{
		{[]string{"-o", "StayPatience=1"}, time.Second},
		{[]string{"-o", "ConnectTimeout=2", "-o", "StayPatience=1"}, 2 * time.Second},
	} {
		start := time.Now()
		var out, errs bytes.Buffer
		cmd := link.Client.Enter(client.Run(t.Context(), bin, append(append([]string{"proxy", "-F", "none"}, tc.options...), link.Server.Addr, "22")...))
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.Run()
		took := time.Since(start)
		if cmd.ProcessState.ExitCode() != exitNoReach || out.Len() > 0 || !strings.Contains(errs.String(), "Network is unreachable (gave up after") {
			t.Errorf("%v: got %v, %q, %q", tc.options, cmd.ProcessState, out.String(), errs.String())
		}
		if took < tc.want || took > tc.want+2*time.Second {
			t.Errorf("%v: took %v, want %v", tc.options, took, tc.want)
		}
	}
	// ssh gone while we hold: so are we.
	cmd := link.Client.Enter(client.Run(t.Context(), bin, "proxy", "-F", "none", link.Server.Addr, "22"))
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, "SSH-2.0-first words\r\n")
	in.Close()
	out.Close()
	rig.WaitNone(bin, 2*time.Second)
	cmd.Wait()
}

// TestSlowLogin: a host that takes its time with a login, as one that asks the user
// on the phone does, is no network that is down.
func TestSlowLogin(t *testing.T) {
	t.Parallel()
	rig := sshtest.For(t)
	bin, client := rig.Build(), rig.Client()
	slow := rig.Sshd(sshtest.SshdConfig{Lines: []string{"AuthorizedKeysCommandUser root",
		`AuthorizedKeysCommand /bin/sh -c "sleep 1; echo ` + strings.TrimSpace(client.Key.Authorized()) + `"`}})
	target := rig.Sshd(sshtest.SshdConfig{})
	err := errors.Join(
		client.Append("IgnoreUnknown Stay*"),
		client.AddHost("slow", slow),
		client.AddHost("plain", target, client.ProxyLine(bin), "ProxyJump slow", "StayPatience 1"),
		client.AddHost("resumed", target, client.ProxyLine(bin), "ProxyJump slow", "StayPatience 1", "StayResume jump"),
		client.AddHost("timed", target, client.ProxyLine(bin), "ProxyJump slow", "ConnectTimeout 1"),
		os.Truncate(filepath.Join(slow.Dir, "authorized_keys"), 0), // it is the command that knows the key
	)
	if err != nil {
		t.Fatal(err)
	}
	for alias, want := range map[string]string{"plain": "", "resumed": "", "timed": "Connection timed out"} {
		start := time.Now()
		out, _ := client.Command(t.Context(), alias, "echo hello").CombinedOutput()
		took := time.Since(start)
		switch {
		case want != "" && !strings.Contains(string(out), want):
			t.Errorf("%s: got %q, want %q in it", alias, out, want)
		case want == "" && (!strings.HasSuffix(string(out), "hello\n") || took < 2*time.Second):
			t.Errorf("%s: got %q after %v, want a login that takes 2 s at least", alias, out, took)
		}
	}
}

// TestNoPatience: without any there is one attempt, as ssh makes.
func TestNoPatience(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.ssh(nil, "-o", "ProxyCommand="+w.bin+" proxy -F "+w.client.Config+" -o StayPatience=0 --alias %n %h %p", "one", "echo hello"); got != "hello\n" {
		t.Errorf("got %q", got)
	}
	link := w.Link() // down for ever
	cmd := link.Client.Enter(w.client.Run(t.Context(), w.bin, "proxy", "-F", "none", "-o", "StayPatience=0", link.Server.Addr, "22"))
	start := time.Now()
	out, _ := cmd.CombinedOutput()
	if took := time.Since(start); cmd.ProcessState.ExitCode() != exitNoReach || !strings.Contains(string(out), ": Network is unreachable\n") || took > 3*time.Second {
		t.Errorf("got %v, %q after %v, want one attempt", cmd.ProcessState, out, took)
	}
}

// TestNotice: a long wait is told once, on stderr, with its cause.
func TestNotice(t *testing.T) {
	t.Parallel()
	rig := sshtest.For(t)
	bin, client := rig.Build(), rig.Client()
	link := rig.Link()
	var out, errs bytes.Buffer
	cmd := link.Client.Enter(client.Run(t.Context(), bin, "proxy", "-F", "none", "-o", "StayPatience=7", link.Server.Addr, "22"))
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Run()
	if got := strings.Count(errs.String(), "still connecting: connect to host"); got != 1 || out.Len() > 0 {
		t.Errorf("got %q on stderr and %q on stdout, want one notice", errs.String(), out.String())
	}
}

// TestHopLost: a broken or silent hop ends us with one line that names it.
func TestHopLost(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault func(*sshtest.Faults)
		fired func(sshtest.FaultStats) bool
		want  string
	}{
		{"reset", (*sshtest.Faults).Reset, func(s sshtest.FaultStats) bool { return s.Reset > 0 }, "hop jump lost: connection reset by peer"},
		{"closed", (*sshtest.Faults).CloseAll, func(s sshtest.FaultStats) bool { return s.Closed > 0 }, "hop jump lost: closed by the host"},
		{"silent", func(f *sshtest.Faults) { f.Freeze(sshtest.Both) }, func(s sshtest.FaultStats) bool { return s.Withheld > 0 }, "hop jump lost: no answer for 3s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			faults := w.Faults(&sshtest.Faults{Target: w.j1.HostPort()})
			if err := w.client.AddHost("jump", w.j1); err != nil {
				t.Fatal(err)
			}
			known := sshtest.KnownHost(faults.Addr(), w.j1.HostKey)
			hosts, _ := os.ReadFile(w.client.KnownHosts)
			if err := os.WriteFile(w.client.KnownHosts, append(hosts, known+"\n"...), 0o600); err != nil {
				t.Fatal(err)
			}
			config := filepath.Join(w.client.Dir, "faulty")
			text := fmt.Sprintf("IgnoreUnknown Stay*\nHost jump\n HostName 127.0.0.1\n Port %d\n User %s\n StayInterval 1\n StayGiveUp 3\n IdentityFile %s\n IdentityAgent none\n UserKnownHostsFile %s\n",
				faults.Port(), w.j1.User, w.client.Key.Path, w.client.KnownHosts)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := w.client.Run(ctx, w.bin, append([]string{"proxy", "-F", config, "-J", "jump"}, w.targetArgs()...)...)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			keep, _ := cmd.StdinPipe()
			defer keep.Close()
			out, _ := cmd.StdoutPipe()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			tc.fault(faults)
			start := time.Now()
			io.Copy(io.Discard, out)
			cmd.Wait()
			if !tc.fired(faults.Stats()) {
				t.Fatalf("the fault did not fire: %+v", faults.Stats())
			}
			if took := time.Since(start); took > 6*time.Second {
				t.Errorf("took %v", took)
			}
			if got := errs.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want one line with %q", got, tc.want)
			}
			if got := cmd.ProcessState.ExitCode(); got != exitFailed {
				t.Errorf("got exit status %d, want %d", got, exitFailed)
			}
		})
	}
}
