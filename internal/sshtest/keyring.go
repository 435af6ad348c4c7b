//go:build linux

package sshtest

import (
	"errors"
	"path/filepath"
	"time"
)

// Keyring is everything that a user may log in with, at servers that know the
// user as one Account. A Jump takes any of it.
type Keyring struct {
	Account    *Account
	CA         *Key // of users and hosts
	Keys       map[string]*Key
	Agent      *Agent // holds the key "agent"
	Passphrase string // of the key "encrypted"
	Code       string // what a second round asks for
}

// plainKeys are the names and kinds of the keys that servers know. Those of
// "encrypted", whose file has a passphrase, and of "certified", which counts
// for the certificate beside it alone, come on top.
var plainKeys = map[string]string{
	"ed25519": "ed25519", "ecdsa": "ecdsa", "rsa": "rsa", "second": "ecdsa", "agent": "ed25519",
}

// NewKeyring makes an account, its keys in dir, and an agent. The caller
// closes it.
func NewKeyring(dir string) (*Keyring, error) {
	account, err := NewAccount()
	if err != nil {
		return nil, err
	}
	k := &Keyring{
		Account: account, Keys: make(map[string]*Key),
		Passphrase: "open sesame says the test", Code: "314159265",
	}
	if err := k.fill(dir); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func (k *Keyring) fill(dir string) (err error) {
	add := func(name, kind, passphrase string) {
		if err == nil {
			k.Keys[name], err = NewKey(filepath.Join(dir, name), kind, passphrase)
		}
		if err == nil {
			err = k.Account.Authorize(k.Keys[name].Authorized())
		}
	}
	for name, kind := range plainKeys {
		add(name, kind, "")
	}
	add("encrypted", "ed25519", k.Passphrase)
	if err != nil {
		return err
	}
	if k.CA, err = NewKey(filepath.Join(dir, "ca"), "", ""); err != nil {
		return err
	}
	certified, err := NewKey(filepath.Join(dir, "certified"), "", "")
	if err != nil {
		return err
	}
	if _, err := k.CA.SignUser(certified, time.Hour, k.Account.Name); err != nil {
		return err
	}
	k.Agent, err = StartAgent(k.Keys["agent"])
	k.Keys["certified"] = certified
	return err
}

// Answers are what the user answers, for Askpass.
func (k *Keyring) Answers() map[string]string {
	return map[string]string{
		"'s password: ": k.Account.Password, ") Password: ": k.Account.Password, ") Code: ": k.Code,
		k.AskPassphrase(): k.Passphrase,
	}
}

// AskPassphrase is ssh's question about the key "encrypted".
func (k *Keyring) AskPassphrase() string {
	return "Enter passphrase for key '" + k.Keys["encrypted"].Path + "': "
}

// Use is the line of ssh_config that makes ssh try a key.
func (k *Keyring) Use(name string) string { return "IdentityFile " + k.Keys[name].Path }

// Close ends the agent and removes the account.
func (k *Keyring) Close() error {
	if k.Agent != nil {
		if err := k.Agent.Close(); err != nil {
			return errors.Join(err, k.Account.Close())
		}
	}
	return k.Account.Close()
}

// Keyring makes a keyring that goes with the test.
func (r Rig) Keyring() *Keyring {
	r.Helper()
	k, err := NewKeyring(r.TempDir())
	r.must(err)
	r.end(k)
	return k
}
