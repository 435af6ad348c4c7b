package hop

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/crypto/ssh"

	"ssh-stay/auth"
)

// A line that dies during the login is no refusal: nothing more is asked, and
// the error is of the line. An answer that cannot be had is no empty password.
func TestPasswordOnABrokenLine(t *testing.T) {
	nobody := errors.New("nobody to ask")
	for _, tt := range []struct {
		name   string
		answer error // of the user
		breaks bool  // the line, at the first password
		asked  int
		denied bool
		tries  int // that the server saw
	}{
		{"line breaks", nil, true, 1, false, 1},
		{"wrong three times", nil, false, 3, true, 3},
		{"nobody to ask", nobody, false, 1, true, 0},
	} {
		s := newServer(t)
		asked, tries := 0, 0
		s.config = &ssh.ServerConfig{PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
			tries++
			if tt.breaks {
				s.far.Close()
			}
			return nil, errors.New("wrong")
		}}
		s.config.AddHostKey(newSigner(t, 1))
		cfg := newConfig(t)
		cfg.Login.Password, cfg.Login.Prompts, cfg.Login.Tell = true, 3, func(string) {}
		cfg.Login.Ask = func(context.Context, string, bool, bool) ([]byte, error) {
			asked++
			return []byte("guess"), tt.answer
		}
		_, err := Dial(t.Context(), cfg, s.dial)
		denied := (*auth.DeniedError)(nil)
		if err == nil || errors.As(err, &denied) != tt.denied || asked != tt.asked || tries != tt.tries {
			t.Errorf("%s: got %v, asked %d times, %d tries, want denied: %v, %d and %d", tt.name, err, asked, tries, tt.denied, tt.asked, tt.tries)
		}
	}
}
