package auth

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// minRSABits is the default of RequiredRSASize.
const minRSABits = 1024

// HostKeys decides whether a host's key is the one its user trusts. One value
// serves one connection: the key accepted first is the only one it accepts
// again, at every rekey (CVE-2026-60002).
type HostKeys struct {
	Host    string // the name to look up
	Alias   string // HostKeyAlias: looked up instead, without the port
	Port    int
	Known   *KnownHosts
	Revoked RevokedKeys // from RevokedHostKeys

	MinRSABits   int      // RequiredRSASize; less than 1024 counts as 1024
	CAAlgorithms []string // CASignatureAlgorithms; nil allows all but SHA-1

	mu       sync.Mutex // guards accepted
	accepted []byte     // the key pinned for this connection
}

// UnknownHostError says that no known_hosts file has a key for the host.
type UnknownHostError struct {
	Name  string // as it would stand in known_hosts
	Key   ssh.PublicKey
	Files []string
}

func (e *UnknownHostError) Error() string {
	return fmt.Sprintf("no %s host key is known for %s (offered: %s)", keyKind(e.Key), e.Name, ssh.FingerprintSHA256(e.Key))
}

// ChangedHostKeyError says that another key than the offered one is known.
type ChangedHostKeyError struct {
	Name string
	Key  ssh.PublicKey
	File string // where the known key stands
	Line int
}

func (e *ChangedHostKeyError) Error() string {
	return fmt.Sprintf("REMOTE HOST IDENTIFICATION HAS CHANGED: %s offers %s key %s, known is another in %s:%d",
		e.Name, keyKind(e.Key), ssh.FingerprintSHA256(e.Key), e.File, e.Line)
}

// RevokedHostKeyError says that the offered key, or its CA, is revoked.
type RevokedHostKeyError struct {
	Name  string
	Key   ssh.PublicKey
	Where string
}

func (e *RevokedHostKeyError) Error() string {
	return fmt.Sprintf("%s key %s of %s is revoked by %s", keyKind(e.Key), ssh.FingerprintSHA256(e.Key), e.Name, e.Where)
}

// keyKind is a key's type as OpenSSH names it in messages.
func keyKind(k ssh.PublicKey) string {
	t := k.Type()
	kind := "RSA"
	switch {
	case strings.Contains(t, "ed25519"):
		kind = "ED25519"
	case strings.Contains(t, "ecdsa"):
		kind = "ECDSA"
	}
	if strings.Contains(t, "-cert-") {
		kind += "-CERT"
	}
	return kind
}

// names are the forms looked up, most specific first: OpenSSH tries a port
// other than 22 again without the port.
func (h *HostKeys) names() []string {
	if h.Alias != "" {
		return []string{strings.ToLower(h.Alias)}
	}
	host := strings.ToLower(h.Host)
	if h.Port == 22 {
		return []string{host}
	}
	return []string{"[" + host + "]:" + strconv.Itoa(h.Port), host}
}

// Check is an ssh.HostKeyCallback's decision, without its unused arguments.
func (h *HostKeys) Check(key ssh.PublicKey) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	blob := key.Marshal()
	if h.accepted != nil {
		if !bytes.Equal(h.accepted, blob) {
			return fmt.Errorf("host key changed within the connection: %s", ssh.FingerprintSHA256(key))
		}
		return nil
	}
	if err := h.decide(key); err != nil {
		return err
	}
	h.accepted = blob
	return nil
}

func (h *HostKeys) decide(key ssh.PublicKey) error {
	for _, k := range withCA(key) {
		if file, ok := h.Revoked.find(k); ok {
			return &RevokedHostKeyError{h.names()[0], k, file}
		}
	}
	if err := h.checkSize(key); err != nil {
		return err
	}
	names := h.names()
	err := h.decideFor(names[0], key)
	if unknown := (*UnknownHostError)(nil); !errors.As(err, &unknown) {
		return err
	}
	if len(names) > 1 && h.decideFor(names[1], key) == nil {
		return nil
	}
	return h.unknown(key)
}

// checkSize applies RequiredRSASize.
func (h *HostKeys) checkSize(key ssh.PublicKey) error {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	crypto, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return nil
	}
	want := max(h.MinRSABits, minRSABits)
	if pub, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && pub.N.BitLen() < want {
		return fmt.Errorf("RSA host key of %d bits is too short: want %d", pub.N.BitLen(), want)
	}
	return nil
}

func (h *HostKeys) unknown(key ssh.PublicKey) error {
	e := &UnknownHostError{Name: h.names()[0], Key: key}
	for _, f := range h.Known.files {
		e.Files = append(e.Files, f.name)
	}
	return e
}

// decideFor applies sshconnect.c's order of decision to the entries of a name.
func (h *HostKeys) decideFor(name string, key ssh.PublicKey) error {
	entries := h.Known.lookup(name)
	for _, e := range entries {
		for _, k := range withCA(key) {
			if e.marker == "@revoked" && sameKey(e.key, k) {
				return &RevokedHostKeyError{name, k, fmt.Sprintf("%s:%d", e.file, e.line)}
			}
		}
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		trusted, err := h.checkCert(name, cert, entries)
		if trusted || err != nil {
			return err
		}
		// No CA of ours signed it: OpenSSH strips it and goes on with the key.
		key = cert.Key
	}
	var other *entry
	for i, e := range entries {
		if e.marker != "" {
			continue
		}
		if sameKey(e.key, key) {
			return nil
		}
		if other == nil || e.key.Type() == key.Type() {
			other = &entries[i]
		}
	}
	if other != nil {
		return &ChangedHostKeyError{name, key, other.file, other.line}
	}
	return &UnknownHostError{Name: name, Key: key}
}

// checkCert reports whether a @cert-authority line covers cert, and an error
// if one does but the certificate itself is not good for this host.
func (h *HostKeys) checkCert(name string, cert *ssh.Certificate, entries []entry) (bool, error) {
	isCA := func(ca ssh.PublicKey) bool {
		return slices.ContainsFunc(entries, func(e entry) bool {
			return e.marker == "@cert-authority" && sameKey(e.key, ca)
		})
	}
	if !isCA(cert.SignatureKey) {
		return false, nil
	}
	if cert.CertType != ssh.HostCert {
		return false, fmt.Errorf("certificate of %s is no host certificate", name)
	}
	if len(cert.ValidPrincipals) == 0 {
		return false, fmt.Errorf("host certificate of %s names no principal", name)
	}
	if cert.Signature.Format == ssh.KeyAlgoRSA || h.CAAlgorithms != nil && !slices.Contains(h.CAAlgorithms, cert.Signature.Format) {
		return false, fmt.Errorf("host certificate of %s is signed with %s: not in CASignatureAlgorithms", name, cert.Signature.Format)
	}
	principal := h.Host
	if h.Alias != "" {
		principal = h.Alias
	}
	checker := &ssh.CertChecker{}
	if err := checker.CheckCert(strings.ToLower(principal), cert); err != nil {
		return false, fmt.Errorf("host certificate of %s: %w", name, err)
	}
	return true, nil
}

// Algorithms puts the algorithms whose keys are known for the host first, so
// that a host with several keys does not offer one we never saw and look
// changed (order_hostkeyalgs, sshconnect2.c). The order is otherwise kept.
func (h *HostKeys) Algorithms(list []string) []string {
	known := map[string]bool{}
	certs := false
	for _, name := range h.names() {
		for _, e := range h.Known.lookup(name) {
			certs = certs || e.marker == "@cert-authority"
			if e.marker == "" {
				known[e.key.Type()] = true
			}
		}
		if len(known) > 0 || certs {
			break
		}
	}
	var first, rest []string
	for _, alg := range list {
		isCert := strings.Contains(alg, "-cert-")
		if isCert && certs || !isCert && known[keyTypeOf(alg)] {
			first = append(first, alg)
		} else {
			rest = append(rest, alg)
		}
	}
	return append(first, rest...)
}

// keyTypeOf is the type of the key that a plain signature algorithm uses.
func keyTypeOf(alg string) string {
	switch alg {
	case ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512:
		return ssh.KeyAlgoRSA
	}
	return alg
}

// withCA is the key itself and, for a certificate, its key and its CA.
func withCA(key ssh.PublicKey) []ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return []ssh.PublicKey{cert.Key, cert.SignatureKey}
	}
	return []ssh.PublicKey{key}
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// RevokedKeys are the keys of some RevokedHostKeys files. The zero value revokes
// nothing.
type RevokedKeys struct{ keys []revokedKey }

type revokedKey struct {
	key  ssh.PublicKey
	file string
}

// ReadRevoked reads files of public keys. One that cannot be read, or holds
// anything else (such as a binary KRL), is an error: OpenSSH then refuses every
// host key, and so must the caller.
func ReadRevoked(files []string) (RevokedKeys, error) {
	var r RevokedKeys
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return r, fmt.Errorf("read RevokedHostKeys: %w", err)
		}
		for n, raw := range bytes.Split(text, []byte("\n")) {
			raw = bytes.TrimSpace(raw)
			if len(raw) == 0 || raw[0] == '#' {
				continue
			}
			key, _, _, _, err := ssh.ParseAuthorizedKey(raw)
			if err != nil {
				return r, fmt.Errorf("read RevokedHostKeys %s:%d: %w", file, n+1, err)
			}
			r.keys = append(r.keys, revokedKey{key, file})
		}
	}
	return r, nil
}

// find returns the file that revokes key.
func (r RevokedKeys) find(key ssh.PublicKey) (string, bool) {
	for _, k := range r.keys {
		if sameKey(k.key, key) {
			return k.file, true
		}
	}
	return "", false
}
