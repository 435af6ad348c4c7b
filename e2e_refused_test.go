//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/internal/sshtest"
)

// TestRefused: every refusal by a hop or of a setting is exit 255, nothing on
// stdout, one line that names the host, and at most two hints.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	config := refusingHosts(t, w)
	_, silentPort, _ := strings.Cut(silentServer(t), ":")
	for _, tc := range []struct {
		args []string
		want string
		hint string
	}{
		{[]string{"-J", "noforward"}, "hop noforward forbids forwarding to " + w.target.HostPort(), "AllowTcpForwarding yes"},
		{[]string{"-J", "permitopen"}, "hop permitopen forbids forwarding to " + w.target.HostPort(), "PermitOpen " + w.target.HostPort()},
		{[]string{"-J", "strange"}, "Host key verification failed. hop strange: no ED25519 host key is known for [127.0.0.1]:", " strange    # shows the key"},
		{[]string{"-J", "changed"}, "Host key verification failed. hop changed: REMOTE HOST IDENTIFICATION HAS CHANGED", "ssh-keygen -f"},
		{[]string{"-J", "revoked"}, "Host key verification failed. hop revoked: ED25519 key", ""},
		{[]string{"-J", "norevoked"}, "hop norevoked: read RevokedHostKeys", ""},
		{[]string{"-J", "nokey"}, "hop nokey: Permission denied (publickey", "ssh-add"},
		{[]string{"-J", "wrongkey"}, "hop wrongkey: Permission denied (publickey", "ssh-add"},
		{[]string{"-J", "locked"}, "hop locked: Permission denied (publickey", "ssh-add"},
		{[]string{"-J", "openkey"}, "WARNING: UNPROTECTED PRIVATE KEY FILE", "ssh-add"},
		{[]string{"-J", "noalg"}, "hop noalg: none of Ciphers aes256-cbc is supported", "ssh-stay config noalg"},
		{[]string{"-J", "nocommon"}, "hop nocommon: ", ""},
		{[]string{"-J", "127.0.0.1:1"}, "connect to host 127.0.0.1 port 1: Connection refused", ""},
		{[]string{"-J", "127.0.0.1:" + silentPort, "-o", "ConnectTimeout=2"}, "hop 127.0.0.1: SSH handshake: Connection timed out (gave up after", "ssh -v 127.0.0.1"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			w := &world{Rig: sshtest.For(t), bin: w.bin, client: w.client, target: w.target}
			start := time.Now()
			stdout, stderr, status := w.proxy(nil, append(append([]string{"-F", config}, tc.args...), w.targetArgs()...)...)
			if stdout != "" || status != exitNoReach {
				t.Errorf("got %q on stdout and exit %d, want nothing and %d", stdout, status, exitNoReach)
			}
			lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
			if strings.Contains(tc.want, "WARNING") { // ssh's own words come before ours
				if !strings.Contains(stderr, tc.want) {
					t.Errorf("got %q, want %q", stderr, tc.want)
				}
			} else if !strings.HasPrefix(lines[0], "ssh-stay: ") || !strings.Contains(lines[0], tc.want) {
				t.Errorf("got %q, want %q", lines[0], tc.want)
			}
			if got := strings.Count(stderr, "hint: "); got > 2 || strings.Count(stderr, "ssh-stay: ") != 1 {
				t.Errorf("got %q, want one error and at most two hints", stderr)
			}
			if !strings.Contains(stderr, tc.hint) {
				t.Errorf("got %q, want a hint with %q", stderr, tc.hint)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// refusingHosts adds a jump host for every way to be refused, and returns a
// config in which they alone do not have the user's own key.
func refusingHosts(t *testing.T, w *world) string {
	t.Helper()
	dir := w.client.Dir
	host := func(alias string, cfg sshtest.SshdConfig, lines ...string) *sshtest.Sshd {
		s := w.Sshd(cfg)
		if err := w.client.AddHost(alias, s, lines...); err != nil {
			t.Fatal(err)
		}
		return s
	}
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	other, err := sshtest.NewKey(filepath.Join(dir, "other"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := sshtest.NewKey(filepath.Join(dir, "locked"), "", "secret")
	if err != nil {
		t.Fatal(err)
	}
	private, _ := os.ReadFile(w.client.Key.Path)
	open := write("open", string(private), 0o644)

	host("noforward", sshtest.SshdConfig{Lines: []string{"AllowTcpForwarding no"}})
	host("permitopen", sshtest.SshdConfig{Lines: []string{"PermitOpen 127.0.0.1:1"}})
	host("strange", sshtest.SshdConfig{}, "UserKnownHostsFile "+write("empty", "", 0o600))
	changed := sshtest.KnownHost("x", other.Public())
	host("changed", sshtest.SshdConfig{}, "UserKnownHostsFile "+write("changed", "* "+strings.SplitN(changed, " ", 2)[1]+"\n", 0o600))
	revoked := host("revoked", sshtest.SshdConfig{}, "RevokedHostKeys "+filepath.Join(dir, "revoked"))
	write("revoked", string(ssh.MarshalAuthorizedKey(revoked.HostKey)), 0o600)
	host("norevoked", sshtest.SshdConfig{}, "RevokedHostKeys "+filepath.Join(dir, "missing"))
	host("nokey", sshtest.SshdConfig{}, "IdentityFile "+filepath.Join(dir, "missing"))
	host("wrongkey", sshtest.SshdConfig{}, "IdentityFile "+other.Path)
	host("locked", sshtest.SshdConfig{}, "IdentityFile "+locked.Path)
	host("openkey", sshtest.SshdConfig{}, "IdentityFile "+open)
	host("noalg", sshtest.SshdConfig{}, "Ciphers aes256-cbc", "StayClient builtin")
	host("nocommon", sshtest.SshdConfig{Lines: []string{"Ciphers aes256-ctr"}}, "Ciphers aes128-gcm@openssh.com", "StayClient builtin")
	// The identities above come before the user's own, which would do.
	text, _ := os.ReadFile(w.client.Config)
	return write("config", "IgnoreUnknown Stay*\n"+strings.Replace(string(text), "Host *\n\tIdentityFile "+w.client.Key.Path, "Match originalhost noforward,permitopen,strange,changed,revoked,norevoked,noalg,nocommon\n\tIdentityFile "+w.client.Key.Path+"\nHost *", 1), 0o600)
}

// TestLogin: the ways of logging in at a hop that need nobody to answer.
func TestLogin(t *testing.T) {
	w := newWorld(t)
	ca := w.Key("ed25519")
	trusting := w.Sshd(sshtest.SshdConfig{Lines: []string{"TrustedUserCAKeys " + ca.Path + ".pub", "AuthorizedKeysFile none"}})
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		key := w.Key(kind)
		if err := w.j1.Authorize(key.Authorized()); err != nil {
			t.Fatal(err)
		}
		if err := w.client.AddHost("by-"+kind, w.j1, "IdentityFile "+key.Path); err != nil {
			t.Fatal(err)
		}
	}
	certified := w.Key("ed25519")
	cert, err := ca.SignUser(certified, time.Hour, trusting.User)
	if err != nil {
		t.Fatal(err)
	}
	for path, key := range map[string]ssh.PublicKey{ca.Path + ".pub": ca.Public(), certified.Path + "-cert.pub": cert} {
		if err := os.WriteFile(path, ssh.MarshalAuthorizedKey(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.client.AddHost("by-cert", trusting, "IdentityFile "+certified.Path); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		s := w.Sshd(sshtest.SshdConfig{HostKeys: []string{kind}})
		if err := w.client.AddHost("host-"+kind, s); err != nil {
			t.Fatal(err)
		}
	}
	several := w.Sshd(sshtest.SshdConfig{HostKeys: []string{"rsa", "ecdsa", "ed25519"}})
	several.HostKeys = several.HostKeys[:1] // we shall know but one of three
	if err := w.client.AddHost("host-several", several); err != nil {
		t.Fatal(err)
	}
	for _, jump := range []string{"by-ed25519", "by-ecdsa", "by-rsa", "by-cert", "host-ed25519", "host-ecdsa", "host-rsa", "host-several"} {
		t.Run(jump, func(t *testing.T) {
			stdout, stderr, _ := w.proxy(nil, append([]string{"-J", jump}, w.targetArgs()...)...)
			if !strings.HasPrefix(stdout, "SSH-2.0-") || stderr != "" {
				t.Errorf("got %.40q, %q; want a banner and silence", stdout, stderr)
			}
		})
	}
}

// TestAgent: a key that only the agent has.
func TestAgent(t *testing.T) {
	w := newWorld(t)
	for _, peer := range []string{"ssh-agent", "ssh-add"} {
		w.Peer(peer)
	}
	key := w.Key("ed25519")
	if err := w.j1.Authorize(key.Authorized()); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(w.client.Dir, "agent")
	agent := w.client.Run(t.Context(), "ssh-agent", "-D", "-a", socket)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { agent.Process.Kill(); agent.Wait() }()
	w.Eventually(5*time.Second, "agent", func() bool { _, err := os.Stat(socket); return err == nil })
	add := w.client.Run(t.Context(), "ssh-add", "-q", key.Path)
	add.Env = append(add.Env, "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v\n%s", err, out)
	}
	for i, tc := range []struct {
		lines []string
		want  bool
	}{
		{[]string{"IdentityAgent " + socket, "IdentitiesOnly no", "IdentityFile none"}, true},
		{[]string{"IdentityAgent " + socket, "IdentitiesOnly yes", "IdentityFile none"}, false},
		{[]string{"IdentityAgent none", "IdentityFile none"}, false},
	} {
		config := filepath.Join(w.client.Dir, fmt.Sprintf("agent-config-%d", i))
		text := fmt.Sprintf("Host j\n HostName 127.0.0.1\n Port %d\n UserKnownHostsFile %s\n %s\n", w.j1.Port, w.client.KnownHosts, strings.Join(tc.lines, "\n "))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		stdout, stderr, _ := w.proxy(nil, append([]string{"-F", config, "-J", "j"}, w.targetArgs()...)...)
		if got := strings.HasPrefix(stdout, "SSH-2.0-"); got != tc.want {
			t.Errorf("%v: got %v, want %v: %s", tc.lines, got, tc.want, stderr)
		}
	}
}

// TestNoOpSession: told of by -v, and harmless where the hop forbids it.
func TestNoOpSession(t *testing.T) {
	w := newWorld(t)
	s := w.Sshd(sshtest.SshdConfig{Lines: []string{"MaxSessions 0"}})
	if err := w.client.AddHost("nosession", s); err != nil {
		t.Fatal(err)
	}
	w.add("v", w.client.ProxyLine(w.bin, "-v"), "ProxyJump j1")
	w.add("vrefused", w.client.ProxyLine(w.bin, "-v"), "ProxyJump nosession")
	for alias, want := range map[string]string{"v": "accepted=true", "vrefused": "no-op session refused"} {
		cmd := w.client.Command(t.Context(), alias, "echo up; cat")
		in, _ := cmd.StdinPipe()
		var errs strings.Builder
		cmd.Stderr = &errs
		out, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 3)); err != nil {
			t.Errorf("%s: %v", alias, err)
		}
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", alias, err)
		}
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%s: got %q, want %q", alias, errs.String(), want)
		}
	}
}
