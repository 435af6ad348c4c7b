//go:build linux

package sshtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Client is one test user: a home with .ssh/config, a key and known_hosts.
//
// ssh takes the home from the passwd database and not from HOME, so every file
// is named in Config and every ssh must be run with -F Config, as Command does.
type Client struct {
	Dir        string // the home; short enough for a unix socket. Removed by Close
	Config     string // Dir/.ssh/config
	KnownHosts string // Dir/.ssh/known_hosts
	Key        *Key   // Dir/.ssh/id_ed25519

	blocks []string
}

// NewClient makes the home of a user who knows no host yet. The caller closes it.
func NewClient() (*Client, error) {
	dir, err := os.MkdirTemp("", "sst")
	if err != nil {
		return nil, err
	}
	dot := filepath.Join(dir, ".ssh")
	c := &Client{Dir: dir, Config: filepath.Join(dot, "config"), KnownHosts: filepath.Join(dot, "known_hosts")}
	if err := c.fill(dot); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return c, nil
}

func (c *Client) fill(dot string) (err error) {
	for _, dir := range []string{dot, filepath.Join(c.Dir, "run")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if c.Key, err = NewKey(filepath.Join(dot, "id_ed25519"), "", ""); err != nil {
		return err
	}
	if err := os.WriteFile(c.KnownHosts, nil, 0o600); err != nil {
		return err
	}
	return c.Append()
}

// Append adds lines to the config, before the `Host *` block that names the
// user's files: the first value wins.
func (c *Client) Append(lines ...string) error {
	c.blocks = append(c.blocks, lines...)
	text := append(c.blocks[:len(c.blocks):len(c.blocks)],
		"Host *",
		"\tIdentityFile "+c.Key.Path,
		"\tIdentitiesOnly yes",
		"\tIdentityAgent none",
		"\tUserKnownHostsFile "+c.KnownHosts,
		"\tGlobalKnownHostsFile /dev/null",
		"\tStrictHostKeyChecking yes",
		"\tUpdateHostKeys no",
		"\tBatchMode yes",
	)
	return os.WriteFile(c.Config, []byte(strings.Join(text, "\n")+"\n"), 0o600)
}

// AddHost makes alias a name for s: a Host block whose own lines win, s's host
// keys in known_hosts, and the user's key in s's authorized_keys.
func (c *Client) AddHost(alias string, s *Sshd, lines ...string) error {
	for _, key := range s.HostKeys {
		if err := appendFile(c.KnownHosts, KnownHost(s.HostPort(), key)); err != nil {
			return err
		}
	}
	if err := s.Authorize(c.Key.Authorized()); err != nil {
		return err
	}
	return c.Append(hostBlock(alias, s, lines)...)
}

func hostBlock(alias string, s *Sshd, lines []string) []string {
	block := []string{"Host " + alias}
	for _, line := range lines {
		block = append(block, "\t"+line)
	}
	return append(block,
		"\tHostName "+s.Addr,
		fmt.Sprintf("\tPort %d", s.Port),
		"\tUser "+s.User,
	)
}

// ProxyLine is the config line by which a user puts ssh-stay, at bin, behind
// ssh. The options stand before --alias.
func (c *Client) ProxyLine(bin string, options ...string) string {
	words := append([]string{"ProxyCommand", bin, "proxy", "-F", c.Config}, options...)
	return strings.Join(append(words, "--alias %n --user %r %h %p"), " ")
}

// Command is the real ssh, run by this user. Five seconds after ctx ends or ssh
// exits it stops waiting for children that hold its output.
func (c *Client) Command(ctx context.Context, args ...string) *exec.Cmd {
	return c.Run(ctx, "ssh", append([]string{"-F", c.Config}, args...)...)
}

// Run is Command for another program, such as scp or ssh-stay: the user's
// environment, and nothing added to args.
func (c *Client) Run(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = c.Env()
	cmd.Dir = c.Dir
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Env is our environment with the user's HOME, and no agent, askpass program
// or XDG folder of the person who runs the test.
func (c *Client) Env() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "XDG_") || strings.HasPrefix(name, "SSH_") || name == "DISPLAY" || name == "HOME" {
			continue
		}
		env = append(env, kv)
	}
	return append(env, "HOME="+c.Dir, "XDG_RUNTIME_DIR="+filepath.Join(c.Dir, "run"))
}

// Close removes the home.
func (c *Client) Close() error { return os.RemoveAll(c.Dir) }
