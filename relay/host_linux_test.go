package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ssh-stay/auth"
	"ssh-stay/hop"
	"ssh-stay/internal/sshtest"
)

// host is a real sshd, and a hop to it.
type host struct {
	*hop.Hop
	Home, Runtime string // of the sessions

	dial func() *hop.Hop // one more login

	mu       sync.Mutex // guards commands
	commands []string
}

// hostConfig says what kind of far end newHost makes.
type hostConfig struct {
	account *sshtest.Account // who logs in; nil: who runs the test
	lines   []string         // of sshd_config
	env     string           // for the sessions, NAME=VALUE each
}

func newHost(t *testing.T, cfg hostConfig) *host {
	t.Helper()
	r := sshtest.For(t)
	f := &host{Home: filepath.Join(t.TempDir(), "home"), Runtime: t.TempDir()}
	c := r.Client()
	if cfg.account != nil {
		f.Home, f.Runtime = cfg.account.Home, ""
		lines, err := cfg.account.SshdLines()
		must(t, err)
		must(t, cfg.account.Authorize(c.Key.Authorized()))
		cfg.lines = append(lines, cfg.lines...)
	} else {
		must(t, os.Mkdir(f.Home, 0o700))
	}
	env := strings.TrimSpace("SetEnv HOME=" + f.Home + " XDG_RUNTIME_DIR=" + f.Runtime + " " + cfg.env)
	s := r.Sshd(sshtest.SshdConfig{Lines: append([]string{env}, cfg.lines...)})
	must(t, c.AddHost("far", s))
	user := s.User
	if cfg.account != nil {
		user = cfg.account.Name
	}
	f.dial = func() *hop.Hop { return login(t, s, c, user) }
	f.Hop = f.dial()
	return f
}

func login(t *testing.T, s *sshtest.Sshd, c *sshtest.Client, user string) *hop.Hop {
	t.Helper()
	known, err := auth.ReadKnownHosts([]string{c.KnownHosts})
	must(t, err)
	quiet := slog.New(slog.DiscardHandler)
	h, err := hop.Dial(t.Context(), &hop.Config{
		Name: "far", Log: quiet, GiveUp: time.Minute,
		HostKeys: &auth.HostKeys{Host: s.Addr, Port: s.Port, Known: known},
		Login:    &auth.Login{User: user, IdentityFiles: []string{c.Key.Path}, Publickey: true, Accepted: []string{"ssh-ed25519"}, Log: quiet},
	}, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.HostPort())
	})
	must(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

// Exec is an ExecFunc that remembers the commands.
func (f *host) Exec(ctx context.Context, command string) (net.Conn, error) {
	f.mu.Lock()
	f.commands = append(f.commands, command)
	f.mu.Unlock()
	return f.Hop.Exec(ctx, command)
}

// uploads is how many uploads were begun.
func (f *host) uploads() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.commands {
		n += strings.Count(c, "gzip -dc")
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// echoRelay is as much of a relay as the near side needs: one that echoes.
const echoRelay = `#!/bin/sh
case "$*" in
"relay version") exit 0;;
"relay open") printf '\nssh-stay-relay 1 ready\nfirst bytes\n'; exec cat;;
"relay attach") printf '\nssh-stay-relay 1 gone\n';;
esac
exit 2
`

// scriptBinary makes a Binary of a script, for this platform.
func scriptBinary(t *testing.T, script string) Binary {
	t.Helper()
	path := filepath.Join(t.TempDir(), "binary")
	must(t, os.WriteFile(path, []byte(script), 0o600))
	b, err := fileBinary(runtime.GOOS, runtime.GOARCH, path)
	must(t, err)
	return b
}

func newClient(binaries ...Binary) *Client {
	return &Client{Binaries: binaries, Log: slog.New(slog.DiscardHandler)}
}

// wantEcho opens a channel to the echoRelay and uses it.
func wantEcho(t *testing.T, c *Client, exec ExecFunc) {
	t.Helper()
	conn, err := c.Open(soon(t), exec)
	if unavailable := (*UnavailableError)(nil); errors.As(err, &unavailable) {
		t.Fatalf("got %v, stderr %q", err, unavailable.Stderr)
	}
	must(t, err)
	defer conn.Close()
	in := append(bytes.Repeat([]byte{0, '\n', 0xff}, 50_000), "last"...)
	go func() { // ends with the input or the channel
		conn.Write(in)
		conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	out, err := io.ReadAll(conn)
	if want := "first bytes\n" + string(in); err != nil || string(out) != want {
		t.Errorf("got %d bytes, %.40q, and %v; want %d", len(out), out, err, len(want))
	}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// wantOnly checks that a folder has the names and no others, hidden ones too.
func wantOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	var got []string
	sshtest.For(t).Eventually(5*time.Second, "folder "+dir+" with "+strings.Join(names, " "), func() bool {
		got = nil
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			got = append(got, e.Name())
		}
		return strings.Join(got, " ") == strings.Join(names, " ")
	})
}
