//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"ssh-stay/auth"
	"ssh-stay/config"
	"ssh-stay/hop"
	"ssh-stay/internal/sshtest"
	"ssh-stay/prompt"
	"ssh-stay/proxy"
	"ssh-stay/stream"
)

// What the user has answered is not asked twice when the first login begins anew
// without a relay, but for what its host has denied.
func TestAgain(t *testing.T) {
	user := answering(t, map[string]string{": ": "secret"})
	p := &person{remembers: true}
	defer p.forget()
	ask := func(text string) {
		t.Helper()
		at := hopID{alias: "it"}
		if strings.Contains(text, "gate.example") {
			at.alias = "gate"
		}
		if _, err := askAt(at, p.ask)(t.Context(), text, false, false); err != nil {
			t.Fatal(err)
		}
	}
	legs := []proxy.Leg{
		{Hop: &hop.Config{Name: "gate", Login: &auth.Login{User: "anna", Host: "gate.example"}}},
		{Hop: &hop.Config{Name: "it", Login: &auth.Login{User: "anna", Host: "jump"}}},
	}
	const gate = "anna@gate.example's password: "
	for _, text := range []string{gate, askPassword, askRound, askPassphrase} {
		ask(text)
	}
	wantAsked(t, user, "at first", gate, askPassword, askRound, askPassphrase)
	p.again(legs, errors.New("no place for the relay"))
	for _, text := range []string{gate, askPassword, askRound, askPassphrase} {
		ask(text)
	}
	wantAsked(t, user, "again")
	p.again(legs, &hop.HandshakeError{Hop: "it", Err: &auth.DeniedError{User: "anna"}})
	for _, text := range []string{gate, askPassword, askRound, askPassphrase} {
		ask(text)
	}
	wantAsked(t, user, "denied", askPassword, askRound)
}

// While leaving, what is remembered may be of use, and nothing is asked.
func TestLeaving(t *testing.T) {
	user := answering(t, map[string]string{": ": "secret"})
	p := &person{remembers: true}
	defer p.forget()
	if _, err := p.ask(t.Context(), askPassword, false, false); err != nil {
		t.Fatal(err)
	}
	wantAsked(t, user, "at first", askPassword)
	p.leave()
	p.relogin()
	if answer, err := p.ask(t.Context(), askPassword, false, false); err != nil || string(answer) != "secret" {
		t.Errorf("remembered: got %q, %v, want the answer", answer, err)
	}
	for _, text := range []string{askPassword, askCode} {
		if _, err := p.ask(t.Context(), text, false, false); !errors.Is(err, prompt.ErrNoAnswer) {
			t.Errorf("%q: got %v, want no answer", text, err)
		}
	}
	wantAsked(t, user, "leaving")
}

// slowAgent asks its user, who takes a while.
type slowAgent struct {
	agent.ExtendedAgent
	think time.Duration
}

func (a slowAgent) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	return a.SignWithFlags(key, data, 0)
}

func (a slowAgent) SignWithFlags(key ssh.PublicKey, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	<-time.After(a.think)
	return a.ExtendedAgent.SignWithFlags(key, data, flags)
}

// TestSlowAgent: the time of an agent's user is not that of the network.
func TestSlowAgent(t *testing.T) {
	rig := sshtest.For(t)
	c, s := rig.Client(), rig.Sshd(sshtest.SshdConfig{})
	if err := c.AddHost("jump", s); err != nil {
		t.Fatal(err)
	}
	keys := agent.NewKeyring()
	text, err := os.ReadFile(c.Key.Path)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ssh.ParseRawPrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	const budget = 3 * time.Second
	socket := filepath.Join(c.Dir, "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(slowAgent{keys.(agent.ExtendedAgent), budget + time.Second}, conn) // ends with the login
		}
	}()
	known, err := auth.ReadKnownHosts([]string{c.KnownHosts})
	if err != nil {
		t.Fatal(err)
	}
	p, log := &person{}, slog.New(slog.DiscardHandler)
	route := &proxy.Route{Base: (&proxy.Dialer{Log: log}).Dial, Budget: budget, Log: log, Legs: []proxy.Leg{{Host: s.Addr, Port: s.Port, Hop: &hop.Config{
		Name: "jump", Log: log, HostKeys: &auth.HostKeys{Host: s.Addr, Port: s.Port, Known: known}, Interval: time.Minute, GiveUp: time.Hour,
		Login: &auth.Login{User: s.User, AgentSocket: socket, Publickey: true, Accepted: []string{"ssh-ed25519"}, Signing: p.signing, Log: log},
	}}}}
	path, err := route.Reconnect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path.Close()
	if p.asking() {
		t.Error("the user still counts as busy")
	}
}

// TestAgentIgnored: an agent that nobody answers holds a login for two minutes
// and the budget, and is not bothered again at once.
func TestAgentIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &resumer{person: &person{}}
		stuck := true
		route := &proxy.Route{Budget: reconnectTime, Log: slog.New(slog.DiscardHandler),
			Legs: []proxy.Leg{{Hop: &hop.Config{LoadHostKeys: func() (*auth.HostKeys, error) { return &auth.HostKeys{}, nil }}}},
			Base: func(ctx context.Context, _ string, _ int) (net.Conn, error) {
				if stuck {
					defer d.person.signing(ctx)()
				}
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}}
		for _, want := range []struct {
			took    time.Duration
			verdict stream.Verdict
		}{{signTime + reconnectTime, stream.Hold}, {reconnectTime, stream.Again}} {
			d.person.relogin()
			start := time.Now()
			_, err := route.Reconnect(t.Context())
			if got := time.Since(start); got != want.took || d.judge(err) != want.verdict {
				t.Errorf("got %v after %v, verdict %v; want %v, %v", err, got, d.judge(err), want.took, want.verdict)
			}
			stuck = false
		}
	})
}

// TestVerdicts: a wrong host on the way is refused, and the session waits for the
// right one; only what will not come back ends it.
func TestVerdicts(t *testing.T) {
	key := sshtest.For(t).Key("ed25519").Public()
	for _, tt := range []struct {
		err  error
		want stream.Verdict
	}{
		{&auth.ChangedHostKeyError{Key: key}, stream.Hold},
		{&auth.UnknownHostError{Key: key}, stream.Hold},
		{&hop.PinnedKeyError{Hop: "jump"}, stream.Hold},
		{&auth.RevokedHostKeyError{Key: key}, stream.Fatal},
		{&auth.DeniedError{}, stream.Hold},
		{io.ErrUnexpectedEOF, stream.Gently},
	} {
		d := &resumer{person: &person{}}
		if got := d.judge(&hop.HandshakeError{Hop: "jump", Err: tt.err}); got != tt.want {
			t.Errorf("%v: got verdict %d, want %d", tt.err, got, tt.want)
		}
	}
}

// TestExcludesFdpass: what is handed over cannot be resumed.
func TestExcludesFdpass(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	p := &plan{settings: &config.Settings{Alias: "it", ProxyUseFdpass: true, FdpassSource: "config:3"}}
	if pass, err := p.passes(ours); !pass || err != nil {
		t.Errorf("without resume: got %v, %v, want the socket to be passed", pass, err)
	}
	p.resume = &resumption{}
	setting := (*settingError)(nil)
	if _, err := p.passes(ours); !errors.As(err, &setting) || setting.Error() != "config:3: StayResume and ProxyUseFdpass exclude each other" {
		t.Errorf("got %v, want both settings named", err)
	}
}
