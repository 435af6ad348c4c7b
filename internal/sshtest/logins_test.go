//go:build linux

package sshtest

import (
	"context"
	"net"
	"os"
	"os/user"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// stock logs in with the real ssh, at a host that c knows as alias, and
// returns what its askpass was asked.
func stock(t *testing.T, c *Client, a *Askpass, args ...string) ([]string, error) {
	t.Helper()
	cmd := c.Command(within(t, 20*time.Second), args...)
	cmd.Env = append(cmd.Env, a.Env()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("ssh %v: %v: %s", args, err, out)
	}
	asked, readErr := a.Asked()
	For(t).must(readErr)
	return asked, err
}

// know makes alias a name for a server that is not an Sshd.
func know(t *testing.T, c *Client, alias, hostPort, user string, key ssh.PublicKey, lines ...string) {
	t.Helper()
	host, port, _ := strings.Cut(hostPort, ":")
	For(t).must(appendFile(c.KnownHosts, KnownHost(hostPort, key)))
	For(t).must(c.Append(append([]string{"Host " + alias, "HostName " + host, "Port " + port, "User " + user, "BatchMode no"}, lines...)...))
}

func TestAccountOnSshd(t *testing.T) {
	r := For(t)
	c, account := r.Client(), r.Account()
	lines, err := account.SshdLines()
	r.must(err)
	s := r.Sshd(SshdConfig{Lines: append(lines, "UsePAM yes", "KbdInteractiveAuthentication yes")})
	askpass := r.Askpass(map[string]string{"assword: ": account.Password})
	at := account.Name + "@127.0.0.1"
	for _, tc := range []struct{ method, question string }{
		{"password", at + "'s password: "},
		{"keyboard-interactive", "(" + at + ") Password: "},
		{"publickey", ""},
	} {
		r.must(account.Authorize(c.Key.Authorized()))
		know(t, c, tc.method, s.HostPort(), account.Name, s.HostKey, "PreferredAuthentications "+tc.method)
		asked, err := stock(t, c, askpass, tc.method, "true")
		if got := strings.Join(asked, "|"); err != nil || got != tc.question {
			t.Errorf("%s: got %q, %v; want %q", tc.method, got, err, tc.question)
		}
	}
}

func TestAccountIsRemoved(t *testing.T) {
	a, err := NewAccount()
	For(t).must(err)
	defer a.Close()
	// As if the process that made it had been killed: 1<<22 is above any.
	For(t).must(system(nil, "usermod", "--comment", ownerComment+"4194305", a.Name))
	other := For(t).Account()
	if _, err := user.Lookup(a.Name); err == nil {
		t.Errorf("%s is left of a process that has ended", a.Name)
	}
	if _, err := os.Stat(a.Home); !os.IsNotExist(err) {
		t.Errorf("its home is left: %v", err)
	}
	if _, err := user.Lookup(other.Name); err != nil {
		t.Errorf("the account of a living process is gone: %v", err)
	}
	For(t).must(other.Close())
	if _, err := user.Lookup(other.Name); err == nil {
		t.Errorf("%s is left after Close", other.Name)
	}
}

func TestDropbear(t *testing.T) {
	Leaks(t)
	r := For(t)
	c, account := r.Client(), r.Account()
	askpass := r.Askpass(map[string]string{"assword: ": account.Password})
	r.must(account.Authorize(c.Key.Authorized()))
	question := account.Name + "@127.0.0.1's password: "
	for _, tc := range []struct {
		hostKey string
		options []string
		methods string
		want    []string
	}{
		{"ed25519", nil, "publickey", nil},
		{"ecdsa", nil, "password", []string{question}},
		{"rsa", []string{"-t"}, "publickey,password", []string{question}},
	} {
		d := r.Dropbear(DropbearConfig{HostKey: tc.hostKey, Options: tc.options})
		know(t, c, tc.hostKey, d.HostPort(), account.Name, d.HostKey, "PreferredAuthentications "+tc.methods)
		if asked, err := stock(t, c, askpass, tc.hostKey, "true"); err != nil || !slices.Equal(asked, tc.want) {
			t.Errorf("%s: got %q, %v; want %q", tc.methods, asked, err, tc.want)
		}
		if got := strings.Count(d.Log(), "auth succeeded"); got == 0 {
			t.Errorf("%s: no login in the log", tc.methods)
		}
		r.must(d.Close())
	}
}

func TestDropbearTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	For(t).must(err)
	defer l.Close()
	d := &Dropbear{Addr: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Dir: t.TempDir()}
	For(t).must(d.makeKey(""))
	if err := d.start(nil); err != errPortTaken {
		t.Errorf("got %v, want %v", err, errPortTaken)
	}
}

func TestServerSteps(t *testing.T) {
	Leaks(t)
	r := For(t)
	c, second, ca, certified := r.Client(), r.Key(""), r.Key(""), r.Key("ecdsa")
	_, err := ca.SignUser(certified, time.Hour, "u")
	r.must(err)
	keys := []ssh.PublicKey{c.Key.Public(), second.Public()}
	rounds := []Round{{Question: "Password: ", Answer: "first"}, {Question: "Code: ", Answer: "second", Echo: true}}
	askpass := r.Askpass(map[string]string{"'s password: ": "secret", ") Password: ": "first", "Code: ": "second"})
	ask1, ask2, ask3 := "u@127.0.0.1's password: ", "(u@127.0.0.1) Password: ", "(u@127.0.0.1) Code: "
	target := r.Host(c, "target")
	for name, tc := range map[string]struct {
		lines []string
		steps []Step
		asked []string
		fails bool
	}{
		"key":          {nil, []Step{{Keys: keys}}, nil, false},
		"other key":    {nil, []Step{{Keys: keys[1:]}}, nil, true},
		"one key only": {nil, []Step{{Keys: keys}, {Keys: keys}}, nil, true},
		"two keys":     {[]string{"IdentityFile " + second.Path}, []Step{{Keys: keys}, {Keys: keys}}, nil, false},
		"certificate":  {[]string{"IdentityFile " + certified.Path}, []Step{{CA: ca.Public()}}, nil, false},
		"password":     {nil, []Step{{Password: "secret"}}, []string{ask1}, false},
		"rounds":       {nil, []Step{{Rounds: rounds}}, []string{ask2, ask3}, false},
		"key+rounds":   {nil, []Step{{Keys: keys}, {Rounds: rounds}}, []string{ask2, ask3}, false},
		"key+password": {nil, []Step{{Keys: keys}, {Password: "secret"}}, []string{ask1}, false},
	} {
		alias := strings.ReplaceAll(name, " ", "-")
		config := Steps("u", tc.steps...)
		config.AddHostKey(second.Signer)
		s := r.Server(config)
		know(t, c, alias, s.HostPort(), "u", second.Public(), tc.lines...)
		asked, err := stock(t, c, askpass, "-J", alias, "target", "true")
		if (err != nil) != tc.fails || !slices.Equal(asked, tc.asked) {
			t.Errorf("%s: asked %q, %v; want %q, to fail: %v", name, asked, err, tc.asked, tc.fails)
		}
		if seen := s.Seen(); !tc.fails && (len(seen) == 0 || seen[0] != "channel direct-tcpip") || s.Connections() != 1 {
			t.Errorf("%s: got %q on %d connections, want a direct-tcpip on one", name, seen, s.Connections())
		}
		if got := s.Logins(); (got == 0) != tc.fails {
			t.Errorf("%s: got %d logins", name, got)
		}
		r.must(s.Close())
	}
	if !strings.Contains(target.Log(), "Accepted") {
		t.Error("nobody came to the target")
	}
}

func TestHostCertificate(t *testing.T) {
	r := For(t)
	c, ca, host := r.Client(), r.Key(""), r.Key("ecdsa")
	_, err := ca.SignHost(host, "jump.example")
	r.must(err)
	s := r.Sshd(SshdConfig{Lines: []string{"HostKey " + host.Path, "HostCertificate " + host.Path + "-cert.pub"}})
	r.must(c.AddHost("named", s, "HostKeyAlias jump.example"))
	r.must(c.AddHost("misnamed", s, "HostKeyAlias other.example"))
	r.must(os.WriteFile(c.KnownHosts, []byte(KnownAuthority("*.example", ca.Public())), 0o600))
	for alias, want := range map[string]bool{"named": true, "misnamed": false} {
		if out, err := c.Command(within(t, 10*time.Second), alias, "true").CombinedOutput(); (err == nil) != want {
			t.Errorf("%s: got %q, %v; want it to work: %v", alias, out, err, want)
		}
	}
}

func TestAgent(t *testing.T) {
	r := For(t)
	c, key := r.Client(), r.Key("ed25519")
	agent := r.Agent(key)
	s := r.Sshd(SshdConfig{})
	r.must(s.Authorize(key.Authorized()))
	know(t, c, "h", s.HostPort(), s.User, s.HostKey, "IdentityAgent "+agent.Socket, "IdentitiesOnly no")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if out, err := c.Command(ctx, "h", "true").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
