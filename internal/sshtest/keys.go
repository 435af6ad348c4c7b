package sshtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Key is a key pair in OpenSSH's format: Path, mode 0600, and Path.pub.
type Key struct {
	Path   string
	Signer ssh.Signer
}

// NewKey writes a new key pair to path and path.pub. The kind is ed25519, ecdsa
// or rsa, "" meaning ed25519. A passphrase other than "" encrypts the file.
func NewKey(path, kind, passphrase string) (*Key, error) {
	private, err := generate(kind)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	block, err := marshal(private, passphrase)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	k := &Key{Path: path, Signer: signer}
	return k, os.WriteFile(path+".pub", []byte(k.Authorized()), 0o600)
}

func generate(kind string) (crypto.PrivateKey, error) {
	switch kind {
	case "", "ed25519":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case "ecdsa":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return nil, fmt.Errorf("no key kind %q", kind)
}

func marshal(private crypto.PrivateKey, passphrase string) (*pem.Block, error) {
	if passphrase == "" {
		return ssh.MarshalPrivateKey(private, "sshtest")
	}
	return ssh.MarshalPrivateKeyWithPassphrase(private, "sshtest", []byte(passphrase))
}

// Public is the public half.
func (k *Key) Public() ssh.PublicKey { return k.Signer.PublicKey() }

// Authorized is the public half as a line of authorized_keys, newline included.
func (k *Key) Authorized() string { return string(ssh.MarshalAuthorizedKey(k.Public())) }

// SignUser makes k, as a certificate authority, vouch that user's key may log
// in as any of the principals from an hour ago until validFor from now. It
// writes user.Path-cert.pub, where ssh looks for it, and returns the certificate.
func (k *Key) SignUser(user *Key, validFor time.Duration, principals ...string) (*ssh.Certificate, error) {
	now := time.Now()
	cert := &ssh.Certificate{
		Key:             user.Public(),
		CertType:        ssh.UserCert,
		KeyId:           "sshtest",
		ValidPrincipals: principals,
		ValidAfter:      uint64(now.Add(-time.Hour).Unix()),
		ValidBefore:     uint64(now.Add(validFor).Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{
			"permit-pty": "", "permit-port-forwarding": "", "permit-agent-forwarding": "",
		}},
	}
	if err := cert.SignCert(rand.Reader, k.Signer); err != nil {
		return nil, err
	}
	return cert, os.WriteFile(user.Path+"-cert.pub", ssh.MarshalAuthorizedKey(cert), 0o600)
}

// KnownHost is a line of known_hosts, newline included, for a server at addr,
// which is HOST or HOST:PORT.
func KnownHost(addr string, key ssh.PublicKey) string {
	return knownhosts.Line([]string{addr}, key) + "\n"
}
