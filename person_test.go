//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"ssh-stay/auth"
	"ssh-stay/hop"
	"ssh-stay/internal/sshtest"
	"ssh-stay/prompt"
)

const (
	askPassword   = "anna@jump's password: "
	askPassphrase = "Enter passphrase for key '/home/anna/.ssh/id_rsa': "
	askRound      = "(anna@jump) Password: "
	askCode       = "(anna@jump) Verification code: "
	askOTP        = "(anna@jump) One-time password (OATH) for `anna': "
	askNew        = "(anna@jump) New password: "
)

// answering makes a user behind SSH_ASKPASS for this process.
func answering(t *testing.T, answers map[string]string) *sshtest.Askpass {
	t.Helper()
	user := sshtest.For(t).Askpass(answers)
	for _, kv := range user.Env() {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	return user
}

// wantAsked compares what the user was asked since the last call.
func wantAsked(t *testing.T, user *sshtest.Askpass, when string, want ...string) {
	t.Helper()
	got, err := user.Asked()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s: asked %q, %v, want %q", when, got, err, want)
	}
}

// TestRemember: a line is a login with its questions; those that the user sees
// are marked.
func TestRemember(t *testing.T) {
	const again = "relogin" // the next login, in place of a question
	for _, tt := range []struct {
		name       string
		remembers  bool
		questions  []string
		wantsAsked string // y or n for each question
	}{
		{"password", true, []string{askPassword, again, askPassword, again, askPassword}, "y n n"},
		{"off", false, []string{askPassword, again, askPassword}, "y y"},
		{"passphrase", true, []string{askPassphrase, again, askPassphrase}, "y n"},
		{"round", true, []string{askRound, again, askRound}, "y n"},
		{"code", true, []string{askRound, askCode, again, askRound, askCode}, "yy ny"},
		{"one-time password", true, []string{askOTP, again, askOTP}, "y y"},
		{"new password", true, []string{askNew, again, askNew}, "y y"},
		{"another question", true, []string{askPassword, again, askRound, again, askRound, askPassword}, "y y nn"},
		{"mistyped", true, []string{askPassword, askPassword, again, askPassword}, "yy n"},
		{"wrong meanwhile", true, []string{askPassword, again, askPassword, askPassword, again, askPassword}, "y ny n"},
		{"key of two hops", true, []string{askPassphrase, askPassphrase, again, askPassphrase, askPassphrase, again, askPassphrase, askPassphrase}, "yy nn nn"},
		{"passphrase wrong meanwhile", true, []string{askPassphrase, again, askPassphrase, askPassphrase, askPassphrase}, "y nyy"},
		{"not twice within the first login", true, []string{askPassword, askPassword, askPassword}, "yyy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			user := answering(t, map[string]string{": ": "secret"})
			p := &person{remembers: tt.remembers}
			defer p.forget()
			got := ""
			for _, q := range tt.questions {
				if q == again {
					p.relogin()
					got += " "
					continue
				}
				answer, err := p.ask(t.Context(), q, false, false)
				if err != nil || string(answer) != "secret" {
					t.Fatalf("%q: got %q, %v", q, answer, err)
				}
				prompt.Wipe(answer) // as callers do; the memory is not theirs
				asked, err := user.Asked()
				if err != nil || len(asked) > 1 {
					t.Fatalf("%q: asked %q, %v", q, asked, err)
				}
				got += "ny"[len(asked) : len(asked)+1]
			}
			if got != tt.wantsAsked {
				t.Errorf("got the user asked %q, want %q", got, tt.wantsAsked)
			}
		})
	}
}

func TestForgottenIsWiped(t *testing.T) {
	answering(t, map[string]string{": ": "secret"})
	kept := func(p *person, text string) []byte {
		t.Helper()
		if _, err := p.ask(t.Context(), text, false, false); err != nil {
			t.Fatal(err)
		}
		b := p.memory.secrets[question{text: text}].answer
		if string(b) != "secret" {
			t.Fatalf("got %q in memory, want the answer", b)
		}
		return b
	}
	wiped := func(when string, b []byte) {
		t.Helper()
		if strings.Trim(string(b), "\x00") != "" {
			t.Errorf("%s: got %q in memory, want it wiped", when, b)
		}
	}
	p := &person{remembers: true}
	first := kept(p, askPassword)
	second := kept(p, askPassword)
	wiped("replaced", first)
	p.relogin()
	p.ask(t.Context(), askPassword, false, false)
	p.ask(t.Context(), askPassword, false, false)
	wiped("wrong", second)
	third := kept(p, askPassphrase)
	p.forget()
	wiped("at the end", third)
	if n := len(p.memory.secrets); n != 0 {
		t.Errorf("got %d secrets after the end, want none", n)
	}
	none := &person{}
	if _, err := none.ask(t.Context(), askPassword, false, false); err != nil || len(none.memory.secrets) != 0 {
		t.Errorf("resume off: got %d secrets, %v, want none", len(none.memory.secrets), err)
	}
}

// TestNotInBackground: what is asked while reconnecting, and what is not even
// with somebody there to answer.
func TestNotInBackground(t *testing.T) {
	user := answering(t, map[string]string{" ": "yes"})
	p := &person{remembers: true}
	for _, tt := range []struct {
		text          string
		echo, confirm bool
		asked         bool // in the background
	}{
		{"Add key id (id) to agent? ", true, true, false},
		{"Please type 'yes', 'no' or the fingerprint: ", true, false, false},
		{"Is that password all right (yes/no)? ", true, false, false},
		{"(anna@jump) Your name: ", true, false, true},
		{"(anna@jump) Sure? ", true, true, false},
		{askCode, false, false, true},
	} {
		for _, background := range []bool{false, true} {
			p.background.Store(background)
			_, err := p.ask(t.Context(), tt.text, tt.echo, tt.confirm)
			asked, _ := user.Asked()
			want := tt.asked || !background
			if (len(asked) == 1) != want || (err == nil) != want || err != nil && !errors.Is(err, prompt.ErrNoAnswer) {
				t.Errorf("%q in the background %v: asked %q, %v, want asked: %v", tt.text, background, asked, err, want)
			}
		}
	}
}

// A new host key is not accepted while reconnecting, by nobody.
func TestNoNewHostInBackground(t *testing.T) {
	user := answering(t, map[string]string{"? ": "yes"})
	known, err := auth.ReadKnownHosts(nil)
	if err != nil {
		t.Fatal(err)
	}
	p, key := &person{remembers: true}, sshtest.For(t).Key("ed25519").Public()
	b := &routeBuilder{ask: p.ask}
	check := func() error {
		h := &auth.HostKeys{Host: "jump", Port: 22, Known: known, Strict: auth.StrictAsk, UserFile: filepath.Join(t.TempDir(), "known_hosts"),
			Ask: func(ctx context.Context, text string) (string, error) { // as in trust.go
				answer, err := b.ask(ctx, text, true, false)
				return string(answer), err
			}}
		return h.Check(t.Context(), key)
	}
	if err := check(); err != nil {
		t.Errorf("first login: got %v, want the key accepted", err)
	}
	if asked, _ := user.Asked(); len(asked) == 0 {
		t.Error("first login: nothing was asked")
	}
	p.relogin()
	if err := check(); !errors.Is(err, prompt.ErrNoAnswer) {
		t.Errorf("later: got %v, want no answer", err)
	}
	wantAsked(t, user, "later")
}

// TestOnTerminal: while reconnecting nothing is put on the terminal, and nothing
// is shown there.
func TestOnTerminal(t *testing.T) {
	if os.Getenv("PERSON_ASK") != "" {
		askAndTell()
	}
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestOnTerminal$")
	cmd.Stderr = tty
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "SSH_ASKPASS") || strings.HasPrefix(kv, "DISPLAY=") || strings.HasPrefix(kv, "WAYLAND_DISPLAY=")
	}), "PERSON_ASK=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 2, Pdeathsig: syscall.SIGKILL}
	got, err := cmd.Output()
	tty.Close()
	screen, _ := io.ReadAll(master) // ends with EIO, all others having closed it
	if want := prompt.ErrNoAnswer.Error(); err != nil || !strings.HasPrefix(string(got), want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if len(screen) > 0 {
		t.Errorf("the terminal shows %q, want nothing", screen)
	}
}

// Two hosts behind one address put the same question, and get each its own answer.
func TestSameQuestion(t *testing.T) {
	p := &person{remembers: true}
	defer p.forget()
	vm, container := hopID{"vm", "127.0.0.1", 2222}, hopID{"container", "127.0.0.1", 2223}
	ask := func(at hopID, want string) {
		t.Helper()
		answer, err := askAt(at, p.ask)(t.Context(), askPassword, false, false)
		if err != nil || string(answer) != want {
			t.Errorf("%s got %q, %v, want %q", at.alias, answer, err, want)
		}
	}
	for at, answer := range map[hopID]string{vm: "secret of vm", container: "secret of container"} {
		user := answering(t, map[string]string{": ": answer})
		ask(at, answer)
		wantAsked(t, user, at.alias, askPassword)
	}
	user := answering(t, map[string]string{": ": "what nobody gave"})
	p.relogin()
	ask(vm, "secret of vm")
	ask(container, "secret of container")
	wantAsked(t, user, "later")
}

// askAndTell asks while reconnecting and tells on stdout what came of it.
func askAndTell() {
	p := &person{remembers: true}
	p.relogin()
	p.tell("not to be seen")
	answer, err := p.ask(context.Background(), askPassword, false, false)
	if err != nil {
		answer = []byte(err.Error())
	}
	os.Stdout.Write(answer)
	os.Exit(0)
}

// TestRelogin logs in for real, twice, over two hops that take the same key and
// ask for a password and a code.
func TestRelogin(t *testing.T) {
	rig := sshtest.For(t)
	k := rig.Keyring()
	jump := func(kind, methods string) *sshtest.Jump {
		return rig.Jump(sshtest.JumpConfig{Kind: kind, Methods: methods, Keyring: k})
	}
	one, two := jump("sshd", "publickey"), jump("xcrypto", "publickey,keyboard-interactive")
	three := jump("xcrypto", "password")
	user := answering(t, k.Answers())
	p := &person{remembers: true}
	defer p.forget()
	login := func(j *sshtest.Jump) {
		t.Helper()
		if err := p.login(t, j, k); err != nil {
			t.Fatal(err)
		}
	}
	round := func(text string) string { return fmt.Sprintf("(%s@jump.example) %s", k.Account.Name, text) }
	password := k.Account.Name + "@jump.example's password: "
	all := []*sshtest.Jump{one, two, three}
	for _, j := range all {
		login(j)
	}
	wantAsked(t, user, "first login", k.AskPassphrase(), k.AskPassphrase(), round("Password: "), round("Code: "), password)
	for range 2 {
		p.relogin()
		for _, j := range all {
			login(j)
		}
		wantAsked(t, user, "later", round("Code: "))
	}

	k.Account.Password = "changed"
	three = jump("xcrypto", "password")
	user = answering(t, k.Answers())
	p.relogin()
	login(three)
	wantAsked(t, user, "password changed", password)
	p.relogin()
	login(three)
	wantAsked(t, user, "after that")
}

// login is one as a hop.
func (p *person) login(t *testing.T, j *sshtest.Jump, k *sshtest.Keyring) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	addr := net.JoinHostPort(j.Addr, strconv.Itoa(j.Port))
	if err := os.WriteFile(file, []byte(j.Known("jump.example")+"\n"), 0o600); err != nil {
		return err
	}
	known, err := auth.ReadKnownHosts([]string{file})
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	cfg := &hop.Config{
		Name: "jump.example", Log: log, Interval: time.Minute, GiveUp: time.Hour,
		HostKeys: &auth.HostKeys{Host: "jump.example", Alias: "jump.example", Known: known},
		Login: &auth.Login{
			User: k.Account.Name, Host: "jump.example", IdentityFiles: []string{k.Keys["encrypted"].Path}, FilesConfigured: true,
			Accepted: []string{"ssh-ed25519"}, Publickey: true, KbdInteractive: true, Password: true, Prompts: 3, Ask: p.ask, Tell: func(string) {}, Log: log,
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	h, err := hop.Dial(ctx, cfg, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	})
	if err != nil {
		return err
	}
	return h.Close()
}
