package auth

import (
	"context"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/internal/sshtest"
)

func TestCheckKey(t *testing.T) {
	dir := t.TempDir()
	key := func(name, passphrase string, mode os.FileMode) string {
		k, err := sshtest.NewKey(filepath.Join(dir, name), "", passphrase)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(k.Path, mode); err != nil {
			t.Fatal(err)
		}
		return k.Path
	}
	good := key("good", "", 0o600)
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{good, good + ".pub"} {
		if err := CheckKey(file); err != nil {
			t.Errorf("%s: got %v", file, err)
		}
	}
	if open := (*TooOpenError)(nil); !errors.As(CheckKey(key("open", "", 0o640)), &open) || open.Mode != 0o640 {
		t.Errorf("open: got %v", open)
	}
	if locked := (*EncryptedKeyError)(nil); !errors.As(CheckKey(key("locked", "secret", 0o600)), &locked) {
		t.Errorf("locked: got %v", locked)
	}
	if err := CheckKey(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
	if err := CheckKey(text); err == nil {
		t.Error("text: got no error")
	}
}

// TestSecurityKey: the file of a key that is in a token, with and without a
// passphrase, as ssh-keygen -t ed25519-sk writes it (PROTOCOL.u2f).
func TestSecurityKey(t *testing.T) {
	public := ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, make([]byte, 32), "ssh:"})
	key, err := ssh.ParsePublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	for _, cipher := range []string{"none", "aes256-ctr"} {
		text := pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: append([]byte("openssh-key-v1\x00"), ssh.Marshal(struct {
			Cipher, KDF, Options string
			Keys                 uint32
			Public, Private      []byte
		}{cipher, "none", "", 1, public, make([]byte, 64)})...)})
		file := filepath.Join(t.TempDir(), "id_ed25519_sk")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if token := (*SecurityKeyError)(nil); !errors.As(CheckKey(file), &token) || token.File != file {
			t.Errorf("%s: got %v, want a SecurityKeyError", cipher, CheckKey(file))
		}
		if HoldsKey(file, nil) || !HoldsKey(file, []ssh.PublicKey{key}) {
			t.Errorf("%s: the agent's half of the key is not known", cipher)
		}
	}
}

func TestAgentKeys(t *testing.T) {
	r := sshtest.For(t)
	key := r.Key("ed25519")
	agent := r.Agent(key)
	held, err := AgentKeys(t.Context(), agent.Socket)
	if err != nil || len(held) != 1 || !HoldsKey(key.Path, held) || HoldsKey(r.Key("").Path, held) {
		t.Errorf("got %v, %v; want the one key", held, err)
	}
	if _, err := AgentKeys(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no socket: got no error")
	}
	silent := filepath.Join(t.TempDir(), "silent")
	l, err := net.Listen("unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := AgentKeys(ctx, silent); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent: got %v, want the end of the context", err)
	}
}
