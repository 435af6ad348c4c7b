//go:build linux

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ssh-stay/doctor"
	"ssh-stay/internal/sshtest"
	"ssh-stay/state"
)

// peer is a server that is no sshd, under an alias: serve has each connection.
func (c *clinic) peer(alias string, serve func(net.Conn), lines ...string) {
	c.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	c.fail(err)
	c.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn) // ends with the doctor
		}
	}()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	c.fail(c.client.Append(append([]string{
		"Host " + alias, "HostName 127.0.0.1", "Port " + port, c.client.ProxyLine(c.bin), "IdentityAgent none",
	}, lines...)...))
}

// TestDoctorLeavesToSSH: where ssh logs in, it is no failure that we cannot.
func TestDoctorLeavesToSSH(t *testing.T) {
	c := newClinic(t)
	key := filepath.Join(c.client.Dir, "chacha")
	keygen := exec.Command(c.Peer("ssh-keygen"), "-q", "-t", "ed25519", "-N", "secret", "-Z", "chacha20-poly1305@openssh.com", "-f", key)
	if out, err := keygen.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	c.fail(err)
	s := c.Sshd(sshtest.SshdConfig{Lines: []string{"RevokedKeys " + c.client.Key.Path + ".pub"}})
	c.fail(s.Authorize(string(public)))
	lines := []string{"IdentityFile " + key, "PasswordAuthentication no", "KbdInteractiveAuthentication no"}
	c.alias("h", s, lines...)
	c.alias("ours", s, append(lines, "StayClient builtin")...)
	c.alias("kept", s, append(lines, "StayResume target")...)
	c.host("behind", sshtest.SshdConfig{}, "ProxyJump h")
	c.host("behindours", sshtest.SshdConfig{}, "ProxyJump ours")
	for _, tc := range []struct {
		alias, check string
		level        doctor.Level
		what         string
		status       int
	}{
		{"h", "target", doctor.Note, "ssh logs in here, not ssh-stay: the key in " + key, 0},
		{"behind", "hop h", doctor.Note, "ssh logs in here, not ssh-stay: the key in " + key, 0},
		{"behindours", "hop ours", doctor.Fail, "hop ours: Permission denied", 1},
		{"kept", "target", doctor.Fail, "target kept: Permission denied", 1},
	} {
		found, status := c.ask(tc.alias)
		want(t, found, tc.check, tc.level, tc.what, "")
		if status != tc.status {
			t.Errorf("%s: got exit %d, want %d", tc.alias, status, tc.status)
		}
	}
}

// TestDoctorForced: a key may stand for a command, a deployment say. It is run for
// those alone who want resume from there.
func TestDoctorForced(t *testing.T) {
	c := newClinic(t)
	ran := filepath.Join(c.client.Dir, "ran")
	key := c.Key("ed25519")
	s := c.Sshd(sshtest.SshdConfig{Lines: []string{"RevokedKeys " + c.client.Key.Path + ".pub"}})
	c.fail(s.Authorize(`command="echo deployed >>` + ran + `" ` + key.Authorized()))
	c.alias("work", s, "IdentityFile "+key.Path)
	c.host("gate", sshtest.SshdConfig{})
	c.alias("behind", s, "IdentityFile "+key.Path, "ProxyJump gate")
	for _, tc := range []struct{ alias, resume, want string }{
		{"work", "no", ""}, {"work", "jump", ""}, {"work", "target", "deployed\n"},
		{"behind", "no", ""}, {"behind", "jump", ""}, {"behind", "target", "deployed\n"},
	} {
		os.Remove(ran)
		found, _ := c.ask("-o", "StayResume="+tc.resume, tc.alias)
		want(t, found, "target", doctor.OK, "logged in as", "")
		if text, _ := os.ReadFile(ran); string(text) != tc.want {
			t.Errorf("%s, StayResume %s: ran %q, want %q", tc.alias, tc.resume, text, tc.want)
		}
	}
}

// TestDoctorHostEnds: an sshd that ends silent connections is no firewall.
func TestDoctorHostEnds(t *testing.T) {
	c := newClinic(t)
	c.host("h", sshtest.SshdConfig{Lines: []string{"UnusedConnectionTimeout 3"}})
	found, status := c.ask("--idle", "--idle-max", "10s", "h")
	want(t, found, "idle", doctor.Warn, "h: the host itself ends a connection between 2 and 4 s of silence, no firewall does", "sshd -T")
	if status != 0 {
		t.Errorf("got exit %d, want 0", status)
	}
}

// TestDoctorMutes: what we run is not to ask either, by whatever askpass there is.
func TestDoctorMutes(t *testing.T) {
	c := newClinic(t)
	file := filepath.Join(c.client.Dir, "env")
	s := c.Sshd(sshtest.SshdConfig{})
	c.fail(c.client.AddHost("h", s, "ProxyCommand sh -c 'env >"+file+"; exec nc %h %p'"))
	c.env = []string{"SSH_ASKPASS=/bin/false", "DISPLAY=:0", "WAYLAND_DISPLAY=wayland-0", "SSH_ASKPASS_REQUIRE=prefer"}
	for _, ask := range []bool{false, true} {
		args := []string{"h"}
		if ask {
			args = []string{"--ask", "h"}
		}
		found, _ := c.ask(args...)
		want(t, found, "target", doctor.OK, "logged in as", "")
		text, err := os.ReadFile(file)
		c.fail(err)
		for _, v := range []string{"SSH_ASKPASS=", "DISPLAY=", "WAYLAND_DISPLAY="} {
			if got := strings.Contains("\n"+string(text), "\n"+v); got != ask {
				t.Errorf("--ask %v: %s is there: %v", ask, v, got)
			}
		}
		if got := strings.Contains(string(text), "SSH_ASKPASS_REQUIRE=never\n"); got == ask {
			t.Errorf("--ask %v: SSH_ASKPASS_REQUIRE is never: %v", ask, got)
		}
	}
}

// TestDoctorAskpassReason: why a question would be for a terminal alone.
func TestDoctorAskpassReason(t *testing.T) {
	for want, env := range map[string][4]string{
		"":                             {"/bin/true", ":0", "", ""},
		"SSH_ASKPASS_REQUIRE is never": {"/bin/true", ":0", "", "never"},
		"neither DISPLAY nor WAYLAND_DISPLAY is set": {"/bin/true", "", "", "prefer"},
		"there is no askpass program":                {"", "", "wayland-0", ""},
	} {
		for i, name := range []string{"SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS_REQUIRE"} {
			t.Setenv(name, env[i])
		}
		if got := whyNoAskpass(); got != want {
			t.Errorf("%q: got %q, want %q", env, got, want)
		}
	}
}

// TestDoctorAgentHangs: it is waited for once, and the rest looked at without.
func TestDoctorAgentHangs(t *testing.T) {
	c := newClinic(t)
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	c.fail(err)
	t.Cleanup(func() { l.Close() })
	var asked atomic.Int32
	go func() { // ends with the listener; nothing is answered
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
			asked.Add(1)
		}
	}()
	agent := "IdentityAgent " + socket
	gate := c.host("gate", sshtest.SshdConfig{}, agent)
	c.alias("h", gate, agent, "ProxyJump gate")
	found, _ := c.ask("h")
	want(t, found, "keys", doctor.Fail, "the agent at "+socket+" does not answer", "IdentityAgent SSH_AUTH_SOCK")
	want(t, found, "target", doctor.OK, "logged in as", "")
	if n := asked.Load(); n != 1 {
		t.Errorf("the agent was asked %d times, want once", n)
	}
}

// TestDoctorNotSSH: a host that speaks something else is quoted.
func TestDoctorNotSSH(t *testing.T) {
	c := newClinic(t)
	c.peer("ends", func(conn net.Conn) { io.WriteString(conn, "220 mail\x1b ESMTP\r\n"); conn.Close() })
	c.peer("waits", func(conn net.Conn) { io.WriteString(conn, "220 mail\x1b ESMTP\r\n") }, "ConnectTimeout 2")
	for _, alias := range []string{"ends", "waits"} {
		found, _ := c.ask(alias)
		want(t, found, "target", doctor.Fail, "target "+alias+`: not an SSH server: it says "220 mail\x1b ESMTP"`, "the port is set ("+c.client.Config)
	}
}

// TestDoctorSlowSSH: a version and nothing after it may be a lost packet, or not.
func TestDoctorSlowSSH(t *testing.T) {
	c := newClinic(t)
	c.peer("h", func(conn net.Conn) { io.WriteString(conn, "SSH-2.0-Busy\r\n") }, "ConnectTimeout 2")
	found, _ := c.ask("h")
	want(t, found, "target", doctor.Fail, "perhaps large packets are lost on the way (MTU)", "mtu 1280")
}

// TestDoctorSlowLogin: ConnectTimeout is over with the key exchange, as in the
// proxy; in ssh it is with the banner.
func TestDoctorSlowLogin(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	key := c.Key("ed25519") // authorized_keys does not have it: sshd asks the command, twice
	c.host("h", sshtest.SshdConfig{Lines: []string{"RevokedKeys " + c.client.Key.Path + ".pub", "AuthorizedKeysCommandUser root",
		`AuthorizedKeysCommand /bin/sh -c "sleep 1; echo ` + strings.TrimSpace(key.Authorized()) + `"`}},
		"IdentityFile "+key.Path, "ConnectTimeout 1")
	start := time.Now()
	found, _ := c.ask("h")
	want(t, found, "target", doctor.OK, "logged in as", "")
	if took := time.Since(start); took < 2*time.Second {
		t.Errorf("took %v, want a login of 2 s", took)
	}
}

// TestDoctorIdleLimit: the logins are no part of the silence, and what was measured
// before the end of the time is told.
func TestDoctorIdleLimit(t *testing.T) {
	o := &doctorOptions{idle: true, idleMax: 10 * time.Minute}
	o.file = "none"
	if err := o.setDestination("127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	x := newExam(o)
	limits := map[string]time.Duration{}
	for _, check := range x.checks(t.Context()) {
		limits[check.Name] = check.Limit
	}
	login := 15*time.Second + 2*time.Minute
	if got, want := limits["idle"], o.idleMax+6*login+30*time.Second; got != want {
		t.Errorf("idle may take %v, want %v", got, want)
	}
	if got := limits["target"]; got <= login {
		t.Errorf("the target may take %v, want more than %v", got, login)
	}
	f := x.unmeasured(doctor.Lifetime{Lived: 4 * time.Minute}, context.DeadlineExceeded)
	if f.Level != doctor.Fail || !strings.Contains(f.What, "nothing died within 240 s of silence") || !strings.Contains(f.What, "deadline exceeded") {
		t.Errorf("got %+v, want what was measured and why no more", f)
	}
}

// TestDoctorState: the last failure, which ControlPersist may have hidden.
func TestDoctorState(t *testing.T) {
	c := newClinic(t)
	s := c.host("h", sshtest.SshdConfig{})
	proxy := c.client.Run(t.Context(), c.bin, "proxy", "-F", c.client.Config, "--alias", "h", s.Addr, "1")
	if err := proxy.Run(); err == nil {
		t.Fatal("the proxy did not fail")
	}
	found, status := c.ask("h")
	want(t, found, "state", doctor.Note, "port 1: Connection refused", "")
	if status != 0 {
		t.Errorf("got exit %d, want 0", status)
	}
	dir := state.Dir(filepath.Join(c.client.Dir, ".local", "state", "ssh-stay"))
	c.fail(dir.WriteFailure(state.Failure{Host: "h", Time: time.Now().Add(-newsFor - time.Minute), Error: "old"}))
	found, _ = c.ask("h")
	want(t, found, "state", doctor.OK, "no connection that failed within a day", "")
}

// TestDoctorInterrupted: ^C is no finding.
func TestDoctorInterrupted(t *testing.T) {
	c := newClinic(t)
	reached := make(chan struct{}, 16)
	c.peer("h", func(net.Conn) { reached <- struct{}{} })
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := c.client.Run(ctx, c.bin, "doctor", "-F", c.client.Config, "h")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	c.fail(cmd.Start())
	for range 2 { // the check of names, and the login
		<-reached
	}
	c.fail(cmd.Process.Signal(syscall.SIGINT))
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != exitFailed || stderr.String() != "ssh-stay: interrupted\n" ||
		strings.Contains(stdout.String(), "fail ") || !strings.Contains(stdout.String(), "names") {
		t.Errorf("got exit %d, %q, %q; want 1, no failure, and that it was interrupted", got, stdout.String(), stderr.String())
	}
}

// TestDoctorStatusFull: output that is lost is one error.
func TestDoctorStatusFull(t *testing.T) {
	c := newClinic(t)
	c.host("h", sshtest.SshdConfig{}, "Port 1")
	proxy := c.client.Run(t.Context(), c.bin, "proxy", "-F", c.client.Config, "--alias", "h", "127.0.0.1", "1")
	if proxy.Run() == nil {
		t.Fatal("the proxy did not fail")
	}
	for _, args := range [][]string{{"doctor", "-F", c.client.Config, "h"}, {"doctor", "--json", "-F", c.client.Config, "h"}, {"status"}, {"status", "--json"}} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		c.fail(err)
		cmd := c.client.Run(t.Context(), c.bin, args...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &stderr
		cmd.Run()
		full.Close()
		if got := stderr.String(); cmd.ProcessState.ExitCode() != exitFailed || strings.Count(got, "\n") != 1 || !strings.Contains(got, "no space left on device") {
			t.Errorf("%v: got exit %d, %q; want 1 and one line", args, cmd.ProcessState.ExitCode(), got)
		}
	}
}
