//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/config"
	"ssh-stay/doctor"
	"ssh-stay/internal/sshtest"
	"ssh-stay/proxy"
	"ssh-stay/relay"
)

// clinic is a user who asks the doctor.
type clinic struct {
	sshtest.Rig
	bin    string
	client *sshtest.Client
	in     *sshtest.Netns
	env    []string // more for the doctor
}

func newClinic(t *testing.T) *clinic {
	t.Helper()
	rig := sshtest.For(t)
	c := &clinic{Rig: rig, bin: rig.Build(), client: rig.Client()}
	c.fail(c.client.Append("IgnoreUnknown Stay*"))
	return c
}

func (c *clinic) fail(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// host is an sshd under an alias, behind ssh-stay.
func (c *clinic) host(alias string, cfg sshtest.SshdConfig, lines ...string) *sshtest.Sshd {
	c.Helper()
	s := c.Sshd(cfg)
	c.alias(alias, s, lines...)
	return s
}

func (c *clinic) alias(alias string, s *sshtest.Sshd, lines ...string) {
	c.Helper()
	c.fail(c.client.AddHost(alias, s, append([]string{c.client.ProxyLine(c.bin)}, lines...)...))
}

// write makes a file of the user's.
func (c *clinic) write(name, text string, mode os.FileMode) string {
	c.Helper()
	path := filepath.Join(c.client.Dir, name)
	c.fail(os.WriteFile(path, []byte(text), mode))
	c.fail(os.Chmod(path, mode)) // whatever the umask
	return path
}

// run runs the doctor without a terminal.
func (c *clinic) run(args ...string) (stdout, stderr string, status int) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	if !slices.Contains(args, "-F") {
		args = append([]string{"-F", c.client.Config}, args...)
	}
	cmd := c.in.Enter(c.client.Run(ctx, c.bin, append([]string{"doctor"}, args...)...))
	cmd.Env = append(cmd.Env, c.env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		c.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// ask is run with --json.
func (c *clinic) ask(args ...string) ([]doctor.Finding, int) {
	c.Helper()
	stdout, stderr, status := c.run(append([]string{"--json"}, args...)...)
	var found []doctor.Finding
	if err := json.Unmarshal([]byte(stdout), &found); err != nil {
		c.Fatalf("%v in %q, stderr %q", err, stdout, stderr)
	}
	if failed := doctor.Failed(found) > 0; status != map[bool]int{false: 0, true: 1}[failed] {
		c.Errorf("exit %d with failures: %v", status, failed)
	}
	for _, f := range found {
		if f.Level >= doctor.Warn && f.Fix == "" {
			c.Errorf("no fix for %+v", f)
		}
	}
	return found, status
}

// want fails the test unless there is such a finding.
func want(t *testing.T, found []doctor.Finding, check string, level doctor.Level, what, fix string) {
	t.Helper()
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool {
		return f.Check == check && f.Level == level && strings.Contains(f.What, what) && strings.Contains(f.Fix, fix)
	}) {
		t.Errorf("no %v of %s with %q and fix %q in:\n%s", level, check, what, fix, listed(found))
	}
}

func listed(found []doctor.Finding) string {
	var b strings.Builder
	p := doctor.Printer{W: &b, Width: 16}
	for _, f := range found {
		p.Print(f)
	}
	return b.String()
}

// TestDoctorHealthy: nothing to mend, nothing asked, nothing left.
func TestDoctorHealthy(t *testing.T) {
	c := newClinic(t)
	gate := c.host("gate", sshtest.SshdConfig{})
	target := c.host("work", sshtest.SshdConfig{}, "ProxyJump gate")
	c.alias("kept", target, "ProxyJump gate", "StayResume target")
	known, err := os.ReadFile(c.client.KnownHosts)
	c.fail(err)
	for _, alias := range []string{"work", "kept", "gate"} {
		t.Run(alias, func(t *testing.T) {
			found, status := c.ask(alias)
			if status != 0 || slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Level != doctor.OK }) {
				t.Errorf("exit %d, want 0 and all ok:\n%s", status, listed(found))
			}
			for _, what := range []string{alias + " is 127.0.0.1 (" + c.client.Config + ":", "ssh -G agrees with all ", " goes through ssh-stay"} {
				want(t, found, "config", doctor.OK, what, "")
			}
			for _, what := range []string{": SSH-2.0-OpenSSH_", "host key ssh-ed25519 SHA256:", "algorithms ", "logged in as ", "round trip "} {
				want(t, found, "target", doctor.OK, what, "")
			}
			if alias != "gate" {
				want(t, found, "hop gate", doctor.OK, "logged in as ", "")
				want(t, found, "target", doctor.OK, "gate forwards (direct-tcpip)", "")
			}
			if alias == "kept" {
				want(t, found, "relay", doctor.OK, "possible: Linux ", "")
			}
		})
	}
	if now, _ := os.ReadFile(c.client.KnownHosts); !bytes.Equal(now, known) {
		t.Errorf("known_hosts has changed:\n%s", now)
	}
	for _, s := range []*sshtest.Sshd{gate, target} {
		if left, err := os.ReadDir(s.Home); err != nil || len(left) > 0 {
			t.Errorf("left in the home at the far end: %v, %v", left, err)
		}
		c.Eventually(5*time.Second, "end of the sessions", func() bool { return len(sshtest.Descendants(s.Pid())) == 0 })
	}
	if left, _ := filepath.Glob("/tmp/.ssh-stay-*"); len(left) > 0 {
		t.Errorf("left in /tmp: %v", left)
	}
	if left, err := os.ReadDir(filepath.Join(c.client.Dir, ".local")); err == nil {
		t.Errorf("state was written: %v", left)
	}
}

// TestDoctorPrints: lines in columns, the fix below, no colour.
func TestDoctorPrints(t *testing.T) {
	c := newClinic(t)
	c.host("plain", sshtest.SshdConfig{}, "TCPKeepAlive no")
	stdout, stderr, status := c.run("plain")
	if status != 0 || stderr != "" || strings.Contains(stdout, "\x1b") {
		t.Errorf("exit %d, stderr %q, stdout %q; want 0, silence, no colour", status, stderr, stdout)
	}
	lines := strings.Split(stdout, "\n")
	i := slices.IndexFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "warn  settings  TCPKeepAlive is no ("+c.client.Config+":")
	})
	if i < 0 || lines[i+1] != "                  Host plain" || lines[i+2] != "                      TCPKeepAlive yes" {
		t.Errorf("got %q, want the warning and its fix below", stdout)
	}
}

// TestDoctorFinds: each kind of trouble has its finding.
func TestDoctorFinds(t *testing.T) {
	c := newClinic(t)
	good := c.host("good", sshtest.SshdConfig{})
	empty := c.write("empty", "", 0o600)
	other := c.Key("ed25519")
	private, err := os.ReadFile(c.client.Key.Path)
	c.fail(err)
	locked, err := sshtest.NewKey(filepath.Join(c.client.Dir, "locked"), "", "secret")
	c.fail(err)

	c.alias("nowhere", good, "HostName no-such-host.invalid")
	c.alias("closed", good, "Port 1")
	c.alias("strange", good, "UserKnownHostsFile "+empty, "StayResume target")
	c.alias("asking", good, "UserKnownHostsFile "+empty, "StrictHostKeyChecking ask", "BatchMode no")
	c.alias("taking", good, "UserKnownHostsFile "+empty, "StrictHostKeyChecking accept-new")
	changed := strings.SplitN(sshtest.KnownHost("x", other.Public()), " ", 2)[1]
	c.alias("changed", good, "UserKnownHostsFile "+c.write("changed", "* "+changed, 0o600))
	nokeys := c.host("denied", sshtest.SshdConfig{Lines: []string{"PubkeyAuthentication no"}})
	c.alias("password", nokeys, "BatchMode no")
	c.alias("behind", good, "ProxyJump denied")
	c.host("noforward", sshtest.SshdConfig{Lines: []string{"AllowTcpForwarding no"}})
	c.alias("cut", good, "ProxyJump noforward")
	c.host("forced", sshtest.SshdConfig{Lines: []string{"ForceCommand /bin/false"}}, "StayResume target")
	c.host("nosession", sshtest.SshdConfig{Lines: []string{"MaxSessions 0"}}, "StayResume target")
	c.alias("alive", good, "StayResume target", "ServerAliveInterval 15", "ControlPersist 5m", "ControlPath none")
	c.alias("nojump", good, "StayResume jump")
	c.alias("passes", good, "StayResume target", "ProxyUseFdpass yes")
	c.alias("openkey", good, "IdentityFile "+c.write("open", string(private), 0o644))
	c.alias("lockedkey", good, "IdentityFile "+locked.Path)
	c.alias("nokey", good, "IdentityFile "+c.client.Dir+"/missing")
	c.alias("deadagent", good, "IdentityAgent "+c.client.Dir+"/gone")
	c.alias("noagent", good, "IdentityAgent SSH_AUTH_SOCK")
	c.alias("silent", good, "StayInterval 0")
	c.fail(c.client.AddHost("plain", good))
	c.fail(c.client.AddHost("late", good, "ProxyJump good", c.client.ProxyLine(c.bin)))
	c.fail(c.client.AddHost("bycommand", good, "ProxyCommand nc %h %p"))
	c.alias("openssh", good, "StayClient openssh")
	c.alias("left", good, "ProxyJump openssh")

	for _, tc := range []struct {
		alias, check string
		level        doctor.Level
		what, fix    string
	}{
		{"nowhere", "names", doctor.Fail, "Could not resolve hostname no-such-host.invalid", "getent hosts"},
		{"nowhere", "target", doctor.Note, "it needs names", ""},
		{"closed", "names", doctor.Fail, "port 1: Connection refused", "nc -vz 127.0.0.1 1 "},
		{"strange", "target", doctor.Fail, "no ED25519 host key is known", "strange    # shows the key"},
		{"strange", "relay", doctor.Note, "it needs target", ""},
		{"asking", "target", doctor.Warn, "no ED25519 host key is known", "asking    # shows the key"},
		{"taking", "target", doctor.Warn, "no ED25519 host key is known", ""},
		{"changed", "target", doctor.Fail, "REMOTE HOST IDENTIFICATION HAS CHANGED", "ssh-keygen -f"},
		{"denied", "target", doctor.Fail, "Permission denied (password", "ssh-add"},
		{"password", "target", doctor.Warn, "Permission denied (password", "ssh-stay doctor --ask -F " + c.client.Config + " password"},
		{"behind", "hop denied", doctor.Fail, "Permission denied (password", "ssh-add"},
		{"behind", "target", doctor.Note, "it needs hop denied", ""},
		{"cut", "target", doctor.Fail, "hop noforward forbids forwarding to 127.0.0.1:", "AllowTcpForwarding yes"},
		{"forced", "relay", doctor.Fail, "StayResume is not possible at forced", "no ForceCommand"},
		{"nosession", "relay", doctor.Fail, "runs no commands", "uname"},
		{"alive", "settings", doctor.Warn, "ServerAliveInterval is 15s (", "ServerAliveInterval 0\n    StayInterval 15"},
		{"alive", "settings", doctor.Note, "ControlPersist is ", ""},
		{"nojump", "settings", doctor.Warn, "does nothing: there is no jump host", "StayResume target"},
		{"passes", "settings", doctor.Fail, "ProxyUseFdpass (", "ProxyUseFdpass no"},
		{"openkey", "keys", doctor.Warn, "too open", "chmod 600 " + c.client.Dir + "/open"},
		{"lockedkey", "keys", doctor.Note, "is encrypted", "ssh-add " + locked.Path},
		{"lockedkey", "keys", doctor.Note, "on a terminal alone: neither DISPLAY nor WAYLAND_DISPLAY is set", ""},
		{"nokey", "keys", doctor.Note, "missing does not exist", ""},
		{"deadagent", "keys", doctor.Warn, "the agent does not answer", "IdentityAgent SSH_AUTH_SOCK"},
		{"noagent", "keys", doctor.Warn, "SSH_AUTH_SOCK is not set", "ssh-add"},
		{"silent", "settings", doctor.Warn, "nothing probes", "StayInterval 30"},
		{"plain", "config", doctor.Warn, "ssh plain does not go through ssh-stay", "ssh-stay setup -F " + c.client.Config + " plain"},
		{"late", "config", doctor.Warn, "ssh late does not go through ssh-stay", "above the ProxyJump (" + c.client.Config},
		{"bycommand", "settings", doctor.Warn, "is reached by nc (", "ServerAliveInterval 30"},
		{"bycommand", "target", doctor.OK, "logged in as ", ""},
		{"left", "hop openssh", doctor.Note, "left to ssh -W (StayClient openssh)", ""},
		{"left", "target", doctor.Note, "it needs hop openssh", ""},
	} {
		t.Run(tc.alias, func(t *testing.T) {
			found, _ := c.ask(tc.alias)
			want(t, found, tc.check, tc.level, tc.what, tc.fix)
		})
	}
	if text, _ := os.ReadFile(empty); len(text) > 0 {
		t.Errorf("a host key was recorded: %s", text)
	}
}

// TestDoctorConfig: what is wrong with the files themselves.
func TestDoctorConfig(t *testing.T) {
	c := newClinic(t)
	s := c.host("h", sshtest.SshdConfig{})
	text, err := os.ReadFile(c.client.Config)
	c.fail(err)

	writable := c.write("writable", string(text), 0o664)
	found, _ := c.ask("-F", writable, "h")
	want(t, found, "config", doctor.Warn, "has mode 0664", "chmod go-w "+writable)

	included := c.write("included", "", 0o666)
	found, _ = c.ask("-F", c.write("includes", "Include "+included+"\n"+string(text), 0o600), "h")
	want(t, found, "config", doctor.Fail, "Bad owner or permissions on "+included, "chmod go-w "+included)

	found, _ = c.ask("-F", c.write("bad", "Port x\n", 0o600), "h")
	want(t, found, "config", doctor.Fail, "bad line 1: port: bad port", "ssh -G -F ")

	found, _ = c.ask("-F", c.write("loop", "Host a\nProxyJump b\nHost b\nProxyJump a\n", 0o600), "a")
	want(t, found, "config", doctor.Fail, "jumphost loop via", "ProxyJump none")

	// An ssh that reads the files otherwise.
	bin := filepath.Join(c.client.Dir, "bin")
	c.fail(os.Mkdir(bin, 0o700))
	c.write("bin/ssh", "#!/bin/sh\n"+c.Peer("ssh")+` "$@" | sed "s/^port .*/port 9/"`+"\n", 0o700)
	c.env = []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
	found, _ = c.ask("h")
	want(t, found, "config", doctor.Warn, fmt.Sprintf(`ours "port %d", ssh's "port 9"`, s.Port), "--config-engine ssh")
}

// TestDoctorWrapped: a link named ssh, first in PATH, stands for a ProxyCommand.
func TestDoctorWrapped(t *testing.T) {
	c := newClinic(t)
	c.fail(c.client.AddHost("plain", c.Sshd(sshtest.SshdConfig{})))
	root := c.client.Dir
	for _, name := range []string{"link", "copy", "other"} {
		c.fail(os.Mkdir(filepath.Join(root, name), 0o700))
	}
	text, err := os.ReadFile(c.bin)
	c.fail(err)
	c.write("copy/ssh", string(text), 0o700)
	c.fail(os.Symlink(c.bin, filepath.Join(root, "link", "ssh")))
	c.write("other/ssh", "#!/bin/sh\nexec "+c.Peer("ssh")+` "$@"`+"\n", 0o700)
	for _, tc := range []struct {
		path      []string
		level     doctor.Level
		what, fix string
	}{
		{[]string{"link"}, doctor.OK, "ssh in PATH is ssh-stay", ""},
		{[]string{"copy", "link"}, doctor.OK, "ssh in PATH is ssh-stay", ""},
		{[]string{"other", "link"}, doctor.Warn, "ssh plain does not go through ssh-stay", "ssh-stay setup"},
		{nil, doctor.Warn, "ssh plain does not go through ssh-stay", "ssh-stay setup"},
	} {
		path := os.Getenv("PATH")
		for _, dir := range slices.Backward(tc.path) {
			path = filepath.Join(root, dir) + ":" + path
		}
		c.env = []string{"PATH=" + path}
		found, _ := c.ask("plain")
		want(t, found, "config", tc.level, tc.what, tc.fix)
	}
}

// TestDoctorAsk: nothing is asked, unless it may be.
func TestDoctorAsk(t *testing.T) {
	c := newClinic(t)
	locked, err := sshtest.NewKey(filepath.Join(c.client.Dir, "locked"), "", "secret")
	c.fail(err)
	s := c.Sshd(sshtest.SshdConfig{Lines: []string{"RevokedKeys " + c.client.Key.Path + ".pub"}})
	c.alias("h", s, "IdentityFile "+locked.Path, "BatchMode no", "PasswordAuthentication no", "KbdInteractiveAuthentication no")
	c.fail(s.Authorize(locked.Authorized()))
	askpass := c.Askpass(map[string]string{"Enter passphrase for key '" + locked.Path + "': ": "secret"})
	c.env = askpass.Env()

	found, status := c.ask("h")
	want(t, found, "target", doctor.Fail, "Permission denied (publickey", "ssh-add")
	if asked, err := askpass.Asked(); err != nil || len(asked) > 0 || status != 1 {
		t.Errorf("asked %q, %v, exit %d; want nothing and 1", asked, err, status)
	}
	found, status = c.ask("--ask", "h")
	want(t, found, "target", doctor.OK, "logged in as", "")
	if asked, err := askpass.Asked(); err != nil || len(asked) != 1 || status != 0 {
		t.Errorf("asked %q, %v, exit %d; want the passphrase and 0", asked, err, status)
	}
	found, _ = c.ask("--ask", "--idle", "--idle-max", "1s", "h")
	want(t, found, "idle", doctor.OK, "nothing died within 1 s", "")
	if asked, err := askpass.Asked(); err != nil || len(asked) != 1 {
		t.Errorf("for seven logins: asked %q, %v; want the passphrase once", asked, err)
	}
}

// TestDoctorStrict: a server that lets packets be cut out.
func TestDoctorStrict(t *testing.T) {
	for list, want := range map[string]int{"curve25519-sha256": 2, "curve25519-sha256,kex-strict-s-v00@openssh.com": 1} {
		near, far := net.Pipe()
		tap := doctor.NewTap(near)
		payload := ssh.Marshal(struct {
			Cookie [16]byte `sshtype:"20"`
			Kex    string
			Lists  [9 * 4]byte
			Last   [5]byte
		}{Kex: list})
		packet := slices.Concat(binary.BigEndian.AppendUint32(nil, uint32(len(payload)+5)), []byte{4}, payload, make([]byte, 4))
		go func() { // ends with the reader
			far.Write(append([]byte("SSH-2.0-Old\x1b\r\n"), packet...))
			far.Close()
		}()
		io.Copy(io.Discard, tap)
		s := &config.Settings{Alias: "old"}
		x := &exam{doctorOptions: &doctorOptions{}, way: []*station{{s: s}}}
		found := x.greeting(0, tap, time.Millisecond)
		if len(found) != want || !strings.Contains(found[0].What, `SSH-2.0-Old\u001b`) {
			t.Errorf("%s: got %+v, want %d findings", list, found, want)
		}
		if want == 2 && (found[1].Level != doctor.Warn || !strings.Contains(found[1].What, "CVE-2023-48795") || !strings.Contains(found[1].Fix, "Ciphers ")) {
			t.Errorf("got %+v", found[1])
		}
	}
}

// TestDoctorFar: what a report of the far end comes to.
func TestDoctorFar(t *testing.T) {
	s := &config.Settings{Alias: "far", StayResume: "target"}
	st := &station{s: s}
	x := &exam{doctorOptions: &doctorOptions{}, way: []*station{st}}
	place := relay.Place{Path: "/p", OK: true, Free: 1 << 30}
	for _, tc := range []struct {
		report relay.Report
		level  doctor.Level
		what   string
	}{
		{relay.Report{Platform: "Linux x", Served: true, Places: []relay.Place{place}}, doctor.OK, "resume is possible: Linux x, room in /p"},
		{relay.Report{Platform: "Plan9"}, doctor.Fail, "no relay for its platform, Plan9"},
		{relay.Report{Served: true, Missing: []string{"gzip", "rm"}}, doctor.Fail, "it lacks gzip and rm"},
		{relay.Report{Served: true, Places: []relay.Place{{Path: "/a", Why: "is bad"}, {Path: "/b", Why: "is worse"}}}, doctor.Fail, "/a is bad, /b is worse"},
		{relay.Report{Served: true, Places: []relay.Place{{Path: "/p", OK: true, Free: 1 << 20}}}, doctor.Fail, "/p has but 1 MB free"},
	} {
		f := x.relayPossible(st, &tc.report)
		if f.Level != tc.level || !strings.Contains(f.What, tc.what) || f.Level == doctor.Fail && f.Fix == "" {
			t.Errorf("%+v: got %+v", tc.report, f)
		}
	}
}

// TestDoctorClientAlive: what sshd would end, as sshd_config says it.
func TestDoctorClientAlive(t *testing.T) {
	for _, tc := range []struct{ resume, interval, count, want string }{
		{"target", "60", "5", "ClientAliveInterval 1m0s, so sshd ends a session whose line is down for 5m0s: the inner one "},
		{"target", "5m", "", "ClientAliveInterval 5m0s, so sshd ends a session whose line is down for 15m0s"},
		{"target", "30s", "3", "down for 1m30s"},
		{"target", "1H", "1", "down for 1h0m0s"},
		{"target", "1d1w2", "1", "down for 192h0m2s"},
		{"target", "1m30", "1", "down for 1m30s"},
		{"target", "0", "3", ""},
		{"target", "", "3", ""},
		{"target", "60", "0", ""}, // sshd_config(5): no end
		{"target", "1x", "3", ""},
		{"target", "-1", "3", ""},
		{"target", "2147483648", "1", ""},
		{"target", "2147483647s1", "1", ""},
		{"target", "99999w", "1", ""},
		{"jump", "60", "5", ""}, // it ends a way to the relay, no session
	} {
		target := &station{s: &config.Settings{Alias: "far", StayResume: tc.resume}}
		x := &exam{doctorOptions: &doctorOptions{}, way: []*station{{s: &config.Settings{Alias: "gate", StayResume: "no"}}, target}}
		found := x.clientAlive(x.way[x.relayAt()], map[string]string{"clientaliveinterval": tc.interval, "clientalivecountmax": tc.count})
		switch {
		case tc.want == "" && found != nil:
			t.Errorf("%+v: got %+v, want nothing", tc, found)
		case tc.want != "" && (len(found) != 1 || found[0].Level != doctor.Warn || found[0].Fix == "" || !strings.Contains(found[0].What, tc.want)):
			t.Errorf("%+v: got %+v", tc, found)
		}
	}
}

// TestDoctorAddresses: ssh goes on to the next address of a name, after a while.
func TestDoctorAddresses(t *testing.T) {
	up, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close() // its backlog takes the connections
	s := &config.Settings{Alias: "h", HostName: "name", Port: up.Addr().(*net.TCPAddr).Port}
	x := &exam{doctorOptions: &doctorOptions{}, way: []*station{{s: s}}}
	base := (&proxy.Dialer{Log: slog.New(slog.DiscardHandler)}).Dial
	for _, tc := range []struct {
		addresses []string
		want      []doctor.Level
	}{
		{[]string{"127.0.0.2", "127.0.0.1"}, []doctor.Level{doctor.Warn, doctor.OK}},
		{[]string{"127.0.0.2", "127.0.0.3"}, []doctor.Level{doctor.Fail, doctor.Fail}},
	} {
		for i, f := range x.connects(t.Context(), base, s, tc.addresses) {
			if f.Level != tc.want[i] || f.Level == doctor.Warn && !strings.Contains(f.Fix, "AddressFamily") || !strings.Contains(f.What, tc.addresses[i]) {
				t.Errorf("%s: got %+v, want %v", tc.addresses[i], f, tc.want[i])
			}
		}
	}
}

// TestDoctorMTU: a path that drops large packets without a word.
func TestDoctorMTU(t *testing.T) {
	c := newClinic(t)
	link, err := sshtest.NewLink()
	c.fail(err)
	t.Cleanup(func() { link.Close() })
	c.fail(link.Up())
	c.in = link.Client
	c.host("h", sshtest.SshdConfig{In: link.Server})
	rules := "table inet path { chain in { type filter hook input priority 0; meta length > 1300 drop; }; }"
	nft := link.Server.Enter(exec.Command(c.Peer("nft"), "-f", "-"))
	nft.Stdin = strings.NewReader(rules)
	if out, err := nft.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	found, _ := c.ask("h")
	want(t, found, "target", doctor.OK, "round trip", "")
	want(t, found, "target", doctor.Fail, "large packets are lost on the way (MTU)", "mtu 1280")
}

// TestDoctorIdle: the firewall forgets after 3 s, and of the silences that are
// tried 2 s are shorter and 4 s longer.
func TestDoctorIdle(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	firewall, err := sshtest.NewFirewall(3 * time.Second)
	c.fail(err)
	t.Cleanup(func() { firewall.Close() })
	c.in = firewall.Client
	c.host("h", sshtest.SshdConfig{In: firewall.Server})
	c.host("talks", sshtest.SshdConfig{In: firewall.Server, Lines: []string{"ClientAliveInterval 1"}})

	found, status := c.ask("--idle", "--idle-max", "10s", "h")
	want(t, found, "idle", doctor.Warn, "h: flows die between 2 and 4 s of silence: StayInterval 1", "Host h\n    StayInterval 1")
	if dropped, err := firewall.Dropped(); err != nil || dropped == 0 || status != 0 {
		t.Errorf("the firewall has dropped %d packets, %v, exit %d; want some, 0", dropped, err, status)
	}
	found, _ = c.ask("--idle", "--idle-max", "10s", "-o", "StayInterval=1", "h")
	want(t, found, "idle", doctor.OK, "StayInterval is 1s, which is short enough", "")

	stdout, _, _ := c.run("--idle", "--idle-max", "2s", "h")
	for _, line := range []string{"silent for 0.1 s: alive\n", "silent for 2 s: alive\n", "idle      h: nothing died within 2 s of silence"} {
		if !strings.Contains(stdout, line) {
			t.Errorf("no %q in %s", line, stdout)
		}
	}
	found, _ = c.ask("--idle", "--idle-max", "10s", "talks")
	// sshd's second may be two, and the first silence that it cuts short the next.
	want(t, found, "idle", doctor.OK, "talks: nothing died: the host itself says something within ", "")
}
