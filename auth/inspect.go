package auth

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// SecurityKeyError says that the private half of a key is in a FIDO token, which
// the file only names.
type SecurityKeyError struct{ File string }

func (e *SecurityKeyError) Error() string {
	return fmt.Sprintf("the key of %s is in a security key, which is not supported", e.File)
}

// CheckKey says why a private key file cannot be used without a question:
// *TooOpenError, *SecurityKeyError, *EncryptedKeyError, a *fs.PathError, or that
// of a file that holds no key. It asks nothing and keeps nothing.
func CheckKey(file string) error {
	info, err := os.Stat(file)
	if err == nil {
		err = checkMode(file, info)
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	defer clear(text)
	if _, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
		return nil // the public half alone: an agent has the other
	}
	if key := clearHalf(text); key != nil && strings.HasPrefix(key.Type(), "sk-") {
		return &SecurityKeyError{file}
	}
	_, err = ssh.ParseRawPrivateKey(text)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		return &EncryptedKeyError{file}
	}
	if err != nil {
		return fmt.Errorf("identity file %s: %w", file, err)
	}
	return nil
}

// clearHalf is the public half that a file of OpenSSH's own format (PROTOCOL.key)
// has in the clear, of whatever kind, nil for none.
func clearHalf(text []byte) ssh.PublicKey {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	var file struct {
		Cipher, KDF, KDFOptions string
		Keys                    uint32
		Public                  []byte
		Rest                    []byte `ssh:"rest"`
	}
	rest, ok := bytes.CutPrefix(block.Bytes, []byte("openssh-key-v1\x00"))
	if !ok || ssh.Unmarshal(rest, &file) != nil {
		return nil
	}
	key, err := ssh.ParsePublicKey(file.Public)
	if err != nil {
		return nil
	}
	return key
}

// AgentKeys are the keys that the agent behind a socket holds. ctx bounds it.
func AgentKeys(ctx context.Context, socket string) ([]ssh.PublicKey, error) {
	conn, err := dialAgent(socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	held, err := agent.NewClient(conn).List()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", socket, err)
	}
	var keys []ssh.PublicKey
	for _, k := range held {
		keys = append(keys, k)
	}
	return keys, nil
}

// HoldsKey says whether the key of a private key file is among keys. The file's
// public half may stand beside it, or in it.
func HoldsKey(file string, keys []ssh.PublicKey) bool {
	public, err := readPublic(file + ".pub")
	if err != nil {
		text, _ := os.ReadFile(file)
		defer clear(text)
		public = clearHalf(text)
	}
	if public == nil {
		public = publicOfPrivate(file)
	}
	for _, k := range keys {
		if public != nil && sameKey(k, public) {
			return true
		}
	}
	return false
}
