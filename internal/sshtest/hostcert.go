package sshtest

import (
	"crypto/rand"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SignHost makes k, as a certificate authority, vouch for a day that host is
// the key of the hosts named. It writes host.Path-cert.pub, for HostCertificate
// of sshd_config, and returns the certificate.
func (k *Key) SignHost(host *Key, names ...string) (*ssh.Certificate, error) {
	now := time.Now()
	cert := &ssh.Certificate{
		Key:             host.Public(),
		CertType:        ssh.HostCert,
		KeyId:           "sshtest",
		ValidPrincipals: names,
		ValidAfter:      uint64(now.Add(-time.Hour).Unix()),
		ValidBefore:     uint64(now.Add(24 * time.Hour).Unix()),
	}
	if err := cert.SignCert(rand.Reader, k.Signer); err != nil {
		return nil, err
	}
	return cert, os.WriteFile(host.Path+"-cert.pub", ssh.MarshalAuthorizedKey(cert), 0o600)
}

// KnownAuthority is a line of known_hosts, newline included, by which the
// authority's certificates are trusted for hosts at addr, which is a pattern or
// HOST:PORT.
func KnownAuthority(addr string, authority ssh.PublicKey) string {
	return "@cert-authority " + knownhosts.Normalize(addr) + " " + string(ssh.MarshalAuthorizedKey(authority))
}
