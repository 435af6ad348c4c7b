package main

import (
	"context"
	"slices"
	"strings"
	"sync"

	"ssh-stay/auth"
	"ssh-stay/prompt"
)

// memory holds the passwords and passphrases that the user gave.
type memory struct {
	mu      sync.Mutex // guards secrets
	secrets map[question]*secret
}

// question is what an answer is of. Its text names a user and a host, or a key file.
// A passphrase is of the file, whoever asks; all else is of the one host, since two may
// put the same question: behind one address, at two ports.
type question struct {
	at   hopID // none for a passphrase
	text string
}

// hopID is a host that is logged in to.
type hopID struct {
	alias, host string
	port        int
}

// hopKey is where a context has the hopID of a login.
type hopKey struct{}

// askAt is ask, of a login there.
func askAt(at hopID, ask auth.AskFunc) auth.AskFunc {
	return func(ctx context.Context, text string, echo, confirm bool) ([]byte, error) {
		return ask(context.WithValue(ctx, hopKey{}, at), text, echo, confirm)
	}
}

// questionIn is what somebody asks.
func questionIn(ctx context.Context, text string) question {
	if isPassphrase(text) {
		return question{text: text}
	}
	at, _ := ctx.Value(hopKey{}).(hopID)
	return question{at, text}
}

type secret struct {
	answer []byte // nil: forgotten
	given  int    // how often the user had to give it; see recall
	used   int    // in the login that is going on
}

// begin says that another login begins: each answer may be tried again.
func (m *memory) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.secrets {
		s.used = 0
	}
}

// drop forgets what was answered to one host, which has denied it.
func (m *memory) drop(at hopID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for q, s := range m.secrets {
		if q.at == at && !isPassphrase(q.text) {
			prompt.Wipe(s.answer)
			s.answer = nil
		}
	}
}

// keep remembers an answer in place of the one before.
func (m *memory) keep(q question, answer []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.secrets[q]
	if s == nil {
		s = &secret{}
		if m.secrets == nil {
			m.secrets = map[question]*secret{}
		}
		m.secrets[q] = s
	}
	prompt.Wipe(s.answer)
	s.answer = append([]byte{}, answer...)
	s.given++
	s.used++
}

// recall returns a copy of the answer, nil for none. Asked more often than it may
// be, the answer was wrong, and is forgotten. A password may be used once in a
// login: another try counts as a failure at the host. A passphrase, which no host
// sees, may be used as often as the user once gave it: two hops may take the same
// key.
func (m *memory) recall(q question) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.secrets[q]
	if s == nil || s.answer == nil {
		return nil
	}
	limit := 1
	if isPassphrase(q.text) {
		limit = s.given
	}
	if s.used >= limit {
		prompt.Wipe(s.answer)
		s.answer = nil
		return nil
	}
	s.used++
	return slices.Clone(s.answer)
}

// wipe forgets everything.
func (m *memory) wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.secrets {
		prompt.Wipe(s.answer)
	}
	clear(m.secrets)
}

// isPassphrase knows the question for a key file, as package auth and OpenSSH put
// it. What hosts ask begins otherwise.
func isPassphrase(text string) bool { return strings.HasPrefix(text, "Enter passphrase for key '") }

// isSecret says whether a question is one for a password or passphrase, which has
// the same answer the next time. A code that holds once, or a password that is
// being changed, has not.
func isSecret(text string) bool {
	_, asked, byHost := strings.Cut(strings.ToLower(text), ") ")
	if !strings.HasPrefix(text, "(") || !byHost { // put by us
		asked, byHost = strings.ToLower(text), false
	}
	for _, word := range []string{"one-time", "one time", "otp", "oath", "token", "code", "new ", "retype", "again"} {
		if byHost && strings.Contains(asked, word) {
			return false
		}
	}
	return strings.Contains(asked, "password") || strings.Contains(asked, "passphrase")
}
