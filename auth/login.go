package auth

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

// Login says how to prove who we are to one host. Its methods are tried in the
// order of Preferred as far as the server takes them.
type Login struct {
	User string
	Host string // how prompts name the host: HostKeyAlias, else the name dialed

	AgentSocket     string // "" for no agent
	IdentityFiles   []string
	FilesConfigured bool // false: the files are defaults, missing ones are silent
	Certificates    []string
	IdentitiesOnly  bool
	Accepted        []string // PubkeyAcceptedAlgorithms
	MinRSABits      int      // RequiredRSASize

	Publickey, KbdInteractive, Password bool     // which methods may be used
	Elsewhere                           []string // methods that may be used, but not by us
	Preferred                           []string // PreferredAuthentications; nil for OpenSSH's order
	Prompts                             int      // NumberOfPasswordPrompts
	AddKeys                             AddKeys
	// Yield ends the login before a password is asked for if there is something
	// Beyond: whoever can try that shall ask.
	Yield bool

	// Ask asks the user; nil where nobody may be asked, as under BatchMode.
	Ask AskFunc
	// Signing, if not nil, is told that a key is about to sign, which an agent may
	// ask its user for, and what it returns that the key has.
	Signing func(ctx context.Context) (signed func())
	// Tell shows the user a line, already escaped, before or between questions.
	Tell func(line string)
	Log  *slog.Logger
}

// AskFunc asks the user a question and returns the answer, which the caller
// wipes. The text is escaped. confirm marks a yes or no.
type AskFunc func(ctx context.Context, text string, echo, confirm bool) ([]byte, error)

// AddKeys says which keys that were read from files the agent is given
// (AddKeysToAgent). The zero value gives none.
type AddKeys struct {
	Add, Ask, Confirm bool
	Lifetime          time.Duration // 0 for ever
}

// DeniedError says that the server took none of our logins.
type DeniedError struct {
	User    string
	Methods []string // that the server would have gone on with
	Notes   []string // keys that could not be used, and why
	// Beyond names what an OpenSSH client could still try and we cannot: a
	// method of the server's, or a kind of key.
	Beyond []string
}

func (e *DeniedError) Error() string {
	s := fmt.Sprintf("Permission denied (%s).", strings.Join(e.Methods, ","))
	if len(e.Notes) > 0 {
		s += " " + strings.Join(e.Notes, "; ")
	}
	return s
}

// Session is one login in progress. Close it when the handshake has ended.
type Session struct {
	*Login
	ctx context.Context // of the handshake, which the library does not hand on

	all      []*candidate // our keys, in order
	keys     []*candidate // those that were not offered yet
	ready    bool         // keys were collected
	partial  int          // partial successes seen
	disabled map[string]bool
	password int  // how often it was asked for
	rounds   int  // of keyboard-interactive logins
	asked    bool // the server has sent a question

	notes, beyond []string

	mu    sync.Mutex // guards agent: Close may come from another goroutine
	agent net.Conn
}

// Start begins a login, which ctx bounds.
func (l *Login) Start(ctx context.Context) *Session {
	return &Session{Login: l, ctx: ctx, disabled: map[string]bool{}}
}

// Close ends the connection to the agent, if one was made.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent == nil {
		return nil
	}
	return s.agent.Close()
}

// Forget drops what the login needed, decrypted keys among it, and closes it.
func (s *Session) Forget() {
	s.all, s.keys = nil, nil
	s.Close()
}

// NoSecrets rules out the methods that would give a secret away.
func (s *Session) NoSecrets() {
	s.disabled["password"], s.disabled["keyboard-interactive"] = true, true
}

// order is OpenSSH's. The first two are not for us.
func (s *Session) order() []string {
	if s.Preferred != nil {
		return s.Preferred
	}
	return []string{"gssapi-with-mic", "hostbased", "publickey", "keyboard-interactive", "password"}
}

// Next is the ssh.ClientAuthCallback: it picks the next method, or fails with a
// *DeniedError when none is left. A method goes on until it has nothing left to
// try, and is then done with (userauth, sshconnect2.c).
func (s *Session) Next(ctx *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	s.Log.Debug("login", "user", s.User, "server takes", ctx.AllowedMethods, "tried", ctx.TriedMethods)
	if n := len(ctx.PartialSuccessMethods); n > s.partial {
		s.partial, s.ready = n, false // all keys may be tried again
	}
	if s.ctx.Err() != nil {
		return nil, context.Cause(s.ctx)
	}
	for _, name := range s.order() {
		if s.disabled[name] || !slices.Contains(ctx.AllowedMethods, name) {
			continue
		}
		if s.Yield && len(s.beyond) > 0 && name != "publickey" {
			break
		}
		if method := s.method(name); method != nil {
			return method, nil
		}
		s.disabled[name] = true
	}
	return nil, &DeniedError{s.User, ctx.AllowedMethods, s.notes, s.beyond}
}

// method is the next try of a method, nil for none.
func (s *Session) method(name string) ssh.AuthMethod {
	switch name {
	case "publickey":
		if s.Publickey {
			return s.nextKey()
		}
	case "keyboard-interactive":
		if s.KbdInteractive && s.Ask != nil {
			return s.nextRound()
		}
	case "password":
		if s.Password && s.Ask != nil {
			return s.nextPassword()
		}
	default:
		if slices.Contains(s.Elsewhere, name) {
			s.beyond = append(s.beyond, name)
		}
	}
	return nil
}

// nextPassword asks anew, NumberOfPasswordPrompts times.
func (s *Session) nextPassword() ssh.AuthMethod {
	if s.password++; s.password > s.Prompts {
		return nil
	}
	again := s.password > 1
	return ssh.PasswordCallback(func() (string, error) {
		if again {
			s.Tell("Permission denied, please try again.")
		}
		return s.answer(fmt.Sprintf("%s@%s's password: ", s.User, s.Host), false)
	})
}

// nextRound begins a keyboard-interactive login. A server that asked nothing the
// last time gets no other.
func (s *Session) nextRound() ssh.AuthMethod {
	if s.rounds++; s.rounds > s.Prompts || s.rounds > 1 && !s.asked {
		return nil
	}
	return ssh.KeyboardInteractive(func(name, instruction string, questions []string, echos []bool) ([]string, error) {
		s.asked = true
		for _, text := range []string{name, instruction} {
			if text != "" {
				s.Tell(Visible(text))
			}
		}
		answers := make([]string, len(questions))
		for i, q := range questions {
			var err error
			if answers[i], err = s.answer(fmt.Sprintf("(%s@%s) %s", s.User, s.Host, Visible(q)), echos[i]); err != nil {
				return nil, err
			}
		}
		return answers, nil
	})
}

// answer asks the user. Where there is no answer there will be no other: ssh sends
// empty ones, which count as failures at the host. The library wants a string,
// which cannot be wiped.
func (s *Session) answer(text string, echo bool) (string, error) {
	b, err := s.Ask(s.ctx, text, echo, false)
	if s.ctx.Err() != nil {
		return "", context.Cause(s.ctx)
	}
	if err != nil { // nobody to ask, or somebody who would not answer
		s.note("%v", err)
		s.NoSecrets()
		return "", err
	}
	defer clear(b)
	return string(b), nil
}

func (s *Session) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.Log.Info("login", "note", text)
	if !slices.Contains(s.notes, text) {
		s.notes = append(s.notes, text)
	}
}

// Visible makes text of a peer safe for a terminal: what is not printable is
// shown as an octal escape, byte by byte, but for line ends and tabs.
func Visible(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == '\n' || r == '\t' || unicode.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			b.WriteString(text[i : i+n])
		} else {
			for _, c := range []byte(text[i : i+n]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		}
		i += n
	}
	return b.String()
}
