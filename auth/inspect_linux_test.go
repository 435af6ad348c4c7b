package auth

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

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
