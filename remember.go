package main

import (
	"slices"
	"strings"
	"sync"

	"ssh-stay/prompt"
)

// memory holds the passwords and passphrases that the user gave, by question.
// The question tells them apart: it names the user and the host, or the key file,
// and no host can put the question of another.
type memory struct {
	mu      sync.Mutex // guards secrets
	secrets map[string]*secret
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
func (m *memory) drop(user, host string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for text, s := range m.secrets {
		if at := user + "@" + host; strings.HasPrefix(text, at+"'s password: ") || strings.HasPrefix(text, "("+at+") ") {
			prompt.Wipe(s.answer)
			s.answer = nil
		}
	}
}

// keep remembers an answer in place of the one before.
func (m *memory) keep(text string, answer []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.secrets[text]
	if s == nil {
		s = &secret{}
		if m.secrets == nil {
			m.secrets = map[string]*secret{}
		}
		m.secrets[text] = s
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
func (m *memory) recall(text string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.secrets[text]
	if s == nil || s.answer == nil {
		return nil
	}
	limit := 1
	if isPassphrase(text) {
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
