//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/internal/sshtest"
)

// The matrix: every server, every login and every kind of host key, over one
// hop and over two. Stock ssh goes first, so that each cell is known to be
// valid, and what it was asked is what we must ask.
//
// Not here is what stock ssh cannot do either: dropbear 2022.83 has no
// certificates of users or hosts, as Debian builds it no keyboard-interactive,
// and never wants two keys.

// login is a way to log in at a server that demands certain methods.
type login struct {
	name    string
	servers []string // where stock ssh can do it
	methods string   // in the words of AuthenticationMethods of sshd_config
	lines   []string // of the hop's stanza
	asks    []string // what the user is asked; USER and HOP stand for the hop's
}

func loginsOf(k *sshtest.Keyring) []login {
	const password, again, code = "USER@HOP's password: ", "(USER@HOP) Password: ", "(USER@HOP) Code: "
	all, exact := []string{"sshd", "dropbear", "xcrypto"}, []string{"sshd", "xcrypto"}
	sshd, xcrypto := []string{"sshd"}, []string{"xcrypto"}
	agent := []string{"IdentityAgent " + k.Agent.Socket, "IdentitiesOnly no"}
	key := []string{k.Use("ed25519")}
	return []login{
		{"ed25519", all, "publickey", key, nil},
		{"ecdsa", all, "publickey", []string{k.Use("ecdsa")}, nil},
		{"rsa", all, "publickey", []string{k.Use("rsa")}, nil},
		{"encrypted", all, "publickey", []string{k.Use("encrypted")}, []string{k.AskPassphrase()}},
		{"agent", all, "publickey", agent, nil},
		{"certificate", exact, "publickey", []string{k.Use("certified")}, nil},
		{"password", all, "password", nil, []string{password}},
		{"PAM", sshd, "keyboard-interactive", nil, []string{again}},
		{"rounds", xcrypto, "keyboard-interactive", nil, []string{again, code}},
		{"key+password", all, "publickey,password", key, []string{password}},
		{"key+PAM", sshd, "publickey,keyboard-interactive", key, []string{again}},
		{"key+rounds", xcrypto, "publickey,keyboard-interactive", key, []string{again, code}},
		{"two keys", exact, "publickey,publickey", append(key, k.Use("second")), nil},
		{"key+agent", exact, "publickey,publickey", append(agent, key...), nil},
	}
}

// TestLoginMatrix: wherever stock ssh can log in, so can we, and we ask the
// user for the same, in the same words and order.
func TestLoginMatrix(t *testing.T) {
	rig := sshtest.For(t)
	k, target := rig.Keyring(), rig.Sshd(sshtest.SshdConfig{})
	t.Cleanup(func() { rig.WaitNone(rig.Build(), 5*time.Second) })
	for _, l := range loginsOf(k) {
		for _, kind := range l.servers {
			t.Run(kind+"/"+l.name, func(t *testing.T) {
				t.Parallel()
				jump := sshtest.JumpConfig{Kind: kind, Methods: l.methods, Keyring: k}
				newCell(t, jump, target, l.lines).compare(l.asks)
			})
		}
	}
}

// TestHostKeyMatrix: the same for what the hosts have to show.
func TestHostKeyMatrix(t *testing.T) {
	rig := sshtest.For(t)
	k, target := rig.Keyring(), rig.Sshd(sshtest.SshdConfig{})
	t.Cleanup(func() { rig.WaitNone(rig.Build(), 5*time.Second) })
	for _, kind := range []string{"sshd", "dropbear", "xcrypto"} {
		for _, hostKey := range []string{"ed25519", "ecdsa", "rsa", "certificate"} {
			if kind == "dropbear" && hostKey == "certificate" {
				continue
			}
			t.Run(kind+"/"+hostKey, func(t *testing.T) {
				t.Parallel()
				jump := sshtest.JumpConfig{Kind: kind, Methods: "publickey", HostKey: hostKey, Names: hopNames, Keyring: k}
				newCell(t, jump, target, []string{k.Use("ed25519")}).compare(nil)
			})
		}
	}
}

// hopNames are how the user knows the first and the second hop: by a
// HostKeyAlias, and by its HostName.
var hopNames = []string{"jump.example", "127.0.0.1"}

// cell is a user with two jump hosts, which are one server under two names, and
// host aliases that go over them: "one" and "two" hops.
type cell struct {
	sshtest.Rig
	user    string // at the hops
	client  *sshtest.Client
	askpass *sshtest.Askpass
	jump    *sshtest.Jump
}

// newCell starts the server, and makes a user who has the lines in the stanzas
// of both hops.
func newCell(t *testing.T, cfg sshtest.JumpConfig, target *sshtest.Sshd, lines []string) *cell {
	t.Helper()
	rig := sshtest.For(t)
	jump := rig.Jump(cfg)
	c := newUser(rig, cfg.Keyring, jump.Addr, jump.Port, jump.Known, lines)
	c.jump = jump
	proxy := c.client.ProxyLine(rig.Build())
	c.add("target", target)
	c.add("one", target, proxy, "ProxyJump hop1")
	c.add("two", target, proxy, "ProxyJump hop1,hop2")
	return c
}

// newUser makes a user who knows the server as hop1 and hop2.
func newUser(rig sshtest.Rig, k *sshtest.Keyring, addr string, portNumber int, line func(addr string) string, lines []string) *cell {
	rig.Helper()
	c := &cell{Rig: rig, user: k.Account.Name, client: rig.Client(), askpass: rig.Askpass(k.Answers())}
	c.append("IgnoreUnknown Stay*")
	known := filepath.Join(c.client.Dir, "known_hops")
	port := strconv.Itoa(portNumber)
	text := line(hopNames[0]) + line(net.JoinHostPort(addr, port))
	if err := os.WriteFile(known, []byte(text), 0o600); err != nil {
		rig.Fatal(err)
	}
	hop := append([]string{
		"HostName " + addr, "Port " + port, "User " + c.user, "UserKnownHostsFile " + known, "BatchMode no",
	}, lines...)
	for _, block := range [][]string{{"Host hop1", "HostKeyAlias " + hopNames[0]}, {"Host hop2"}} {
		c.append(append(block, hop...)...)
	}
	return c
}

func (c *cell) append(lines ...string) {
	c.Helper()
	if err := c.client.Append(lines...); err != nil {
		c.Fatal(err)
	}
}

// add gives the target a name.
func (c *cell) add(alias string, target *sshtest.Sshd, lines ...string) {
	c.Helper()
	if err := c.client.AddHost(alias, target, lines...); err != nil {
		c.Fatal(err)
	}
}

// command is the real ssh with the user behind SSH_ASKPASS.
func (c *cell) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := c.client.Command(ctx, args...)
	cmd.Env = append(cmd.Env, c.askpass.Env()...)
	return cmd
}

// outcome is what can be seen of a run from outside.
type outcome struct {
	stdout, stderr string
	asked          []string
	logins         int // at the hop
}

// run runs ssh to its end, with a command for the target.
func (c *cell) run(args ...string) (outcome, error) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	before := c.jump.Logins()
	cmd := c.command(ctx, append(args, "echo $((6*7)); uname -a")...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	said := stderr.String()
	if time.Since(start) > waitNotice { // on a machine short of time we say so
		said = strings.ReplaceAll(said, "ssh-stay: "+args[0]+": still connecting\n", "")
	}
	return outcome{stdout.String(), said, c.asked(), c.jump.Logins() - before}, err
}

func (c *cell) asked() []string {
	c.Helper()
	asked, err := c.askpass.Asked()
	if err != nil {
		c.Fatal(err)
	}
	return asked
}

// compare runs stock ssh over one hop, and ours over one and two.
func (c *cell) compare(asks []string) {
	c.Helper()
	asked := func(hops ...string) (all []string) {
		for _, hop := range hops {
			for _, q := range asks {
				all = append(all, strings.NewReplacer("USER", c.user, "HOP", hop).Replace(q))
			}
		}
		return all
	}
	stock, err := c.run("-J", "hop1", "target")
	if err != nil || stock.logins != 1 || !slices.Equal(stock.asked, asked(hopNames[0])) {
		c.Fatalf("not a cell: stock ssh: %v, %+v; want one login, %q asked", err, stock, asked(hopNames[0]))
	}
	for i, alias := range []string{"one", "two"} {
		ours, err := c.run(alias)
		want := outcome{stock.stdout, stock.stderr, asked(hopNames[:i+1]...), i + 1}
		if err != nil || !reflect.DeepEqual(ours, want) {
			c.Errorf("%s: %v, got %+v, want %+v", alias, err, ours, want)
		}
	}
}

// newServerCell is a user who knows a server of x/crypto/ssh that says it is
// an OpenSSH, so that it is treated as one.
func newServerCell(t *testing.T, k *sshtest.Keyring, target *sshtest.Sshd, lines []string, steps ...sshtest.Step) (*cell, *sshtest.Server) {
	t.Helper()
	rig := sshtest.For(t)
	host := rig.Key("")
	config := sshtest.Steps(k.Account.Name, steps...)
	config.ServerVersion = "SSH-2.0-OpenSSH_9.2p1"
	config.AddHostKey(host.Signer)
	s := rig.Server(config)
	known := func(addr string) string { return sshtest.KnownHost(addr, host.Public()) }
	c := newUser(rig, k, s.Addr, s.Port, known, lines)
	c.add("one", target, c.client.ProxyLine(c.Build()), "ProxyJump hop1")
	t.Cleanup(func() { c.WaitNone(c.Build(), 5*time.Second) })
	return c, s
}

// TestR7HopSeesNothingElse: whatever the hop's stanza turns on for a session
// there, a hop on the way gets a forwarding, keepalives and one no-op session.
func TestR7HopSeesNothingElse(t *testing.T) {
	rig := sshtest.For(t)
	k := rig.Keyring()
	c, s := newServerCell(t, k, rig.Sshd(sshtest.SshdConfig{}), []string{
		k.Use("ed25519"), "IdentityAgent " + k.Agent.Socket, "ForwardAgent yes", "RemoteForward 127.0.0.1:0 127.0.0.1:1",
		"SetEnv STAY=yes", "RequestTTY force", "RemoteCommand echo there", "StayInterval 1",
	}, sshtest.Step{Keys: []ssh.PublicKey{k.Keys["ed25519"].Public()}})
	// What a session there asks for: the settings do something, and are seen.
	c.command(t.Context(), "hop1").Run()
	for _, want := range []string{
		"global tcpip-forward", "global no-more-sessions@openssh.com",
		"session auth-agent-req@openssh.com", "session pty-req", "session env", "session exec",
	} {
		c.Eventually(5*time.Second, want+" from ssh itself", func() bool { return slices.Contains(s.Seen(), want) })
	}
	before := len(s.Seen())
	held := startSession(t, "one", c.command(t.Context(), "one", "cat"))
	c.Eventually(10*time.Second, "keepalive", func() bool {
		return slices.Contains(s.Seen()[before:], "global keepalive@openssh.com")
	})
	if err := held.ask("still there", 5*time.Second); err != nil {
		t.Error(err)
	}
	count := map[string]int{}
	for _, what := range s.Seen()[before:] {
		count[what]++
	}
	delete(count, "global keepalive@openssh.com")
	want := map[string]int{"channel direct-tcpip": 1, "channel session": 1, "session exec": 1}
	if !reflect.DeepEqual(count, want) {
		t.Errorf("got %v, want %v and keepalives", count, want)
	}
}

// TestR15DeniedOnce: a login that was denied is not tried again, which servers
// punish, from OpenSSH 9.8 on by refusing the whole address.
func TestR15DeniedOnce(t *testing.T) {
	rig := sshtest.For(t)
	k, target := rig.Keyring(), rig.Sshd(sshtest.SshdConfig{})
	other := sshtest.Step{Keys: []ssh.PublicKey{k.Keys["second"].Public()}}
	for name, tc := range map[string]struct {
		lines []string
		step  sshtest.Step
		asked int
	}{
		"key":      {[]string{k.Use("ed25519")}, other, 0},
		"agent":    {[]string{"IdentityAgent " + k.Agent.Socket, "IdentitiesOnly no"}, other, 0},
		"password": {nil, sshtest.Step{Password: "another"}, 3},
		"rounds":   {nil, sshtest.Step{Rounds: []sshtest.Round{{Question: "Password: ", Answer: "another"}}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := newServerCell(t, k, target, tc.lines, tc.step)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := c.command(ctx, "one", "true")
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != exitNoReach || !strings.Contains(string(out), "hop1: Permission denied (") {
				t.Errorf("exit status %d, %q; want %d, denied", got, out, exitNoReach)
			}
			if got := len(c.asked()); got != tc.asked {
				t.Errorf("asked %d times, want %d", got, tc.asked)
			}
			c.WaitNone(c.Build(), 5*time.Second)
			if got := s.Connections(); got != 1 || s.Logins() != 0 {
				t.Errorf("got %d connections and %d logins, want 1 and 0", got, s.Logins())
			}
		})
	}
}

// TestR15GSSAPIOffered: that a server offers what we cannot do, and the user has
// not turned on, is no reason to have ssh try the same keys once more.
func TestR15GSSAPIOffered(t *testing.T) {
	rig := sshtest.For(t)
	k, target := rig.Keyring(), rig.Sshd(sshtest.SshdConfig{})
	s := rig.Sshd(sshtest.SshdConfig{Lines: []string{"GSSAPIAuthentication yes"}}) // knows none of the keys
	known := func(addr string) string { return sshtest.KnownHost(addr, s.HostKey) }
	c := newUser(rig, k, s.Addr, s.Port, known, []string{k.Use("ed25519"), "PasswordAuthentication no", "KbdInteractiveAuthentication no"})
	c.add("one", target, c.client.ProxyLine(c.Build()), "ProxyJump hop1")
	out, err := c.command(t.Context(), "one", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "gssapi-with-mic") {
		t.Fatalf("got %v, %q; want it denied, and gssapi-with-mic offered", err, out)
	}
	if got := strings.Count(s.Log(), "Connection from "); got != 1 {
		t.Errorf("got %d connections, want 1: %s", got, out)
	}
}

// secrets are what nobody but we may see, by name.
func secrets(t *testing.T, k *sshtest.Keyring) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"password": []byte(k.Account.Password), "passphrase": []byte(k.Passphrase), "code": []byte(k.Code)}
	for _, name := range []string{"ed25519", "encrypted"} {
		text, err := os.ReadFile(k.Keys[name].Path)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if len(line) > 40 && !strings.HasPrefix(line, "-") {
				all[fmt.Sprintf("line %d of key %s", i, name)] = []byte(line)
			}
		}
		private, err := ssh.ParseRawPrivateKey(text)
		if name == "encrypted" {
			private, err = ssh.ParseRawPrivateKeyWithPassphrase(text, []byte(k.Passphrase))
		}
		if err != nil {
			t.Fatal(err)
		}
		seed := private.(*ed25519.PrivateKey).Seed()
		all["seed of key "+name] = seed
		all["seed of key "+name+" in hex"] = []byte(hex.EncodeToString(seed))
		all["seed of key "+name+" in base64"] = []byte(base64.StdEncoding.EncodeToString(seed))
	}
	return all
}

// TestSecretsAreKept: no password, passphrase, code or private key is in a log,
// on stderr, in a file of ours, or in any process's arguments or environment.
func TestSecretsAreKept(t *testing.T) {
	rig := sshtest.For(t)
	k, target := rig.Keyring(), rig.Sshd(sshtest.SshdConfig{})
	c := newCell(t, sshtest.JumpConfig{Kind: "xcrypto", Methods: "publickey,publickey,password,keyboard-interactive", Keyring: k},
		target, []string{k.Use("encrypted"), k.Use("ed25519")})
	log := filepath.Join(c.client.Dir, "log")
	c.add("verbose", target, c.client.ProxyLine(c.Build(), "-v"), "ProxyJump hop1,hop2")
	c.add("logged", target, c.client.ProxyLine(c.Build(), "-v", "--log "+log), "ProxyJump hop1,hop2")
	c.add("failing", target, "Port 1", c.client.ProxyLine(c.Build(), "-v"), "ProxyJump hop1,hop2")
	secret := secrets(t, k)
	search := func(where string, text []byte) (found int) {
		for name, s := range secret {
			if bytes.Contains(text, s) {
				found++
				if where != "" {
					t.Errorf("%s holds %s", where, name)
				}
			}
		}
		return found
	}
	if got := search("", c.answerFiles()); got != 3 {
		t.Fatalf("found %d secrets where there are 3: the search does not work", got)
	}
	for _, alias := range []string{"verbose", "logged"} {
		stderr, processes := c.hold(alias)
		search("stderr of "+alias, stderr)
		for name, text := range processes {
			search(alias+": "+name, text)
		}
		if got := c.asked(); len(got) != 8 {
			t.Errorf("%s: asked %q, want 4 questions a hop", alias, got)
		}
	}
	if out, err := c.command(t.Context(), "failing", "true").CombinedOutput(); err == nil {
		t.Error("there is a server on port 1")
	} else {
		search("stderr of failing", out)
	}
	environ, err := c.askpass.Environ()
	if err != nil || len(environ) == 0 {
		t.Errorf("no environment of askpass: %v", err)
	}
	search("environment of askpass", environ)
	c.searchFiles(search)
}

// answerFiles is what the user behind SSH_ASKPASS knows.
func (c *cell) answerFiles() []byte {
	c.Helper()
	var all []byte
	files, _ := filepath.Glob(filepath.Join(c.askpass.Dir, "answer*"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			c.Fatal(err)
		}
		all = append(all, text...)
	}
	return all
}

// hold logs in, and returns what all processes of the run show of themselves
// while it is up, and its stderr.
func (c *cell) hold(alias string) (stderr []byte, processes map[string][]byte) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := c.command(ctx, alias, "echo up; cat")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	up := make([]byte, 3)
	io.ReadFull(out, up)
	processes = map[string][]byte{}
	for _, pid := range append(sshtest.Descendants(cmd.Process.Pid), cmd.Process.Pid) {
		for _, name := range []string{"cmdline", "environ"} {
			path := fmt.Sprintf("/proc/%d/%s", pid, name)
			text, err := os.ReadFile(path)
			if err != nil || len(text) == 0 {
				c.Errorf("%s: %d bytes, %v", path, len(text), err)
			}
			processes[path] = text
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil || string(up) != "up\n" {
		c.Fatalf("%s: %v\n%s", alias, err, errs.String())
	}
	if len(processes) < 4 || !strings.Contains(string(processes[fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid)]), alias) {
		c.Errorf("%s: got %d files of processes, want those of ssh and ours", alias, len(processes))
	}
	return errs.Bytes(), processes
}

// searchFiles searches all files in the user's home but the user's own keys;
// among them must be the log and what was kept of a failure.
func (c *cell) searchFiles(search func(where string, text []byte) int) {
	c.Helper()
	var seen []string
	err := filepath.WalkDir(c.client.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".ssh":
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		search(path, text)
		seen = append(seen, path)
		if d.Name() == "log" && !bytes.Contains(text, []byte("hop established")) {
			c.Errorf("the log says nothing of hops: %s", text)
		}
		return err
	})
	all := strings.Join(seen, " ")
	if err != nil || !strings.Contains(all, "failure-") || !strings.Contains(all, "/log") {
		c.Errorf("searched %s, %v; want a log and a failure among them", all, err)
	}
}
