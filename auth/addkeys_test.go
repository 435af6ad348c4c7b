//go:build unix

package auth

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
)

// TestAddKeysToAgent: a key that was read from a file is given to the agent, if
// the user wants that, and not before its passphrase was right.
func TestAddKeysToAgent(t *testing.T) {
	for _, tt := range []struct {
		name   string
		add    AddKeys
		answer string // to "Add key ... to agent?"
		want   int
	}{
		{"no", AddKeys{}, "", 0},
		{"yes", AddKeys{Add: true}, "", 1},
		{"for an hour", AddKeys{Add: true, Lifetime: time.Hour}, "", 1},
		{"asked, yes", AddKeys{Add: true, Ask: true}, "yes", 1},
		{"asked, a button", AddKeys{Add: true, Ask: true}, "", 1},
		{"asked, no", AddKeys{Add: true, Ask: true}, "no", 0},
	} {
		key := newKeyFile(t, t.TempDir(), "locked", "secret")
		l := newLogin(key)
		l.AgentSocket, l.AddKeys = startAgent(t), tt.add
		guesses := []string{"wrong", "secret"}
		l.Ask = func(_ context.Context, _ string, _, confirm bool) ([]byte, error) {
			if confirm {
				return []byte(tt.answer), nil
			}
			guess := guesses[0]
			guesses = guesses[1:]
			return []byte(guess), nil
		}
		s := l.Start(t.Context())
		if _, err := allSigners(s)[0].Sign(rand.Reader, []byte("data")); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		s.Close()
		conn, err := dialAgent(l.AgentSocket)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := agent.NewClient(conn).List()
		if err != nil || len(keys) != tt.want {
			t.Errorf("%s: got %v, %v in the agent, want %d", tt.name, keys, err, tt.want)
		}
		conn.Close()
	}
}
