package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"ssh-stay/pattern"
)

// minRSABits is the default of RequiredRSASize, and the least that OpenSSH reads
// at all.
const minRSABits = 1024

// Strict is StrictHostKeyChecking.
type Strict int

// The zero value refuses.
const (
	StrictYes       Strict = iota // refuse what is not known
	StrictAsk                     // ask about new keys, refuse changed ones
	StrictAcceptNew               // add new keys, refuse changed ones
	StrictNo                      // add new keys, take changed ones; see PasswordsAllowed
)

// HostKeys decides whether a host's key is the one its user trusts, as
// OpenSSH's verify_host_key and check_host_key (sshconnect.c) do. It serves one
// connection: the key accepted first is the only one that it accepts again, at
// every rekey (CVE-2026-60002). What it knows is as old as itself, so that the
// next connection takes a new one.
//
// VerifyHostKeyDNS is not done: fingerprints in DNS are neither asked for nor
// trusted, as if it was "no".
type HostKeys struct {
	Host    string // the name to look up
	Alias   string // HostKeyAlias: looked up instead, without the port
	Port    int    // 0 is 22
	Known   *KnownHosts
	Revoked RevokedKeys // from RevokedHostKeys

	MinRSABits   int      // RequiredRSASize; less than 1024 counts as 1024
	CAAlgorithms []string // CASignatureAlgorithms; nil allows all but SHA-1
	Permitted    []string // HostKeyAlgorithms; nil permits all (since OpenSSH 9.3)

	// Addr is the address of the host where we are connected to it directly; the
	// zero value where there is a proxy or a hop between. Without it CheckIP and
	// TrustLocalhost do nothing, as in ssh.
	Addr           netip.Addr
	CheckIP        bool // CheckHostIP
	TrustLocalhost bool // NoHostAuthenticationForLocalhost

	// Command is the argument vector of KnownHostsCommand, %H, %I, %t, %f and %K
	// being name, invocation (HOSTNAME, ADDRESS, ORDER) and key, which is nil for
	// ORDER. A nil Command is none. Unlike ssh we refuse the key where it cannot be
	// started: its @revoked lines would be missed.
	Command func(invocation, name string, key ssh.PublicKey) ([]string, error)

	// Before is the key that was accepted on an earlier connection of the same
	// session, without a certificate; nil for the first one. Where no file knows
	// better it is accepted again, and nothing is asked or recorded.
	Before ssh.PublicKey

	Strict   Strict
	UserFile string // the first UserKnownHostsFile, for new keys; "" is none, and then no new key is taken
	Hash     bool   // HashKnownHosts

	// Ask puts a question and returns the answer. Nil is nobody to ask, as under
	// BatchMode: refuse.
	Ask               func(ctx context.Context, text string) (string, error)
	FingerprintHash   string      // FingerprintHash; "" is SHA256
	FingerprintAsIn10 func() bool // whether to word the question as OpenSSH 10.1 and later do; nil is no

	// Warn takes the lines that ssh prints to stderr as errors, Info those it
	// leaves out under LogLevel ERROR. Nil discards; a nil Info is Warn.
	Warn, Info func(line string)
	Log        *slog.Logger // what KnownHostsCommand prints to stderr; nil discards

	mu         sync.Mutex // guards what follows
	accepted   []byte     // the key pinned for this connection
	distrusted bool       // it was accepted although changed or revoked
}

// ErrNotConfirmed says that the user did not confirm a host key.
var ErrNotConfirmed = errors.New("not confirmed")

// UnknownHostError says that no known_hosts file has a key for the host.
type UnknownHostError struct {
	Name  string // as it would stand in known_hosts
	Key   ssh.PublicKey
	Files []string
	Err   error // what else there was: a bad certificate, ErrNotConfirmed, a question that failed; or nil
}

func (e *UnknownHostError) Error() string {
	text := fmt.Sprintf("no %s host key is known for %s (offered: %s)", keyKind(e.Key), e.Name, ssh.FingerprintSHA256(e.Key))
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *UnknownHostError) Unwrap() error { return e.Err }

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

// Check is an ssh.HostKeyCallback's decision, without its unused arguments. ctx
// bounds questions and commands. Whatever goes wrong in it is a refusal.
func (h *HostKeys) Check(ctx context.Context, key ssh.PublicKey) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("check the host key: %v", p)
		}
	}()
	blob := key.Marshal()
	if pinned := h.pinned(); pinned != nil {
		return h.samePin(pinned, key)
	}
	distrusted, err := h.decide(ctx, key)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.accepted != nil {
		return h.samePin(h.accepted, key)
	}
	h.accepted, h.distrusted = blob, distrusted
	return nil
}

func (h *HostKeys) pinned() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.accepted
}

func (h *HostKeys) samePin(pinned []byte, key ssh.PublicKey) error {
	if !bytes.Equal(pinned, key.Marshal()) {
		return fmt.Errorf("host key changed within the connection: %s", ssh.FingerprintSHA256(key))
	}
	return nil
}

// isBefore says whether key is the one that was accepted before.
func (h *HostKeys) isBefore(key ssh.PublicKey) bool {
	return h.Before != nil && sameKey(plainKey(h.Before), plainKey(key))
}

// PasswordsAllowed says whether secrets may be sent on this connection. It is
// false where StrictNo let a changed or revoked key pass: then passwords,
// keyboard-interactive and forwarding must be off, lest a man in the middle gets
// them.
func (h *HostKeys) PasswordsAllowed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.distrusted
}

func (h *HostKeys) warn(format string, args ...any) {
	if h.Warn != nil {
		sayLines(h.Warn, fmt.Sprintf(format, args...))
	}
}

func (h *HostKeys) info(format string, args ...any) {
	if h.Info == nil {
		h.warn(format, args...)
		return
	}
	sayLines(h.Info, fmt.Sprintf(format, args...))
}

func sayLines(say func(string), text string) {
	for line := range strings.SplitSeq(text, "\n") {
		say(line)
	}
}

func (h *HostKeys) log() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

// host is the name without a port, in lower case.
func (h *HostKeys) host() string { return pattern.Lower(h.Host) }

// hostName is the name as known_hosts has it. Bare is without the port.
func (h *HostKeys) hostName(bare bool) string {
	if h.Alias != "" {
		return pattern.Lower(h.Alias)
	}
	return h.withPort(h.host(), bare)
}

// addrName is the address as known_hosts has it, or "" where it is not to be
// checked: of ourselves, or where it is the name. Of an address with an alias it
// is, as in ssh, but for port 22.
func (h *HostKeys) addrName(bare bool) string {
	if !h.CheckIP || !h.Addr.IsValid() || h.isLocal() {
		return ""
	}
	name := h.withPort(h.Addr.String(), bare)
	if h.host() == name || h.host() == h.Addr.String() && h.Alias == "" {
		return ""
	}
	return name
}

func (h *HostKeys) withPort(name string, bare bool) string {
	if bare || h.Port == 0 || h.Port == 22 {
		return name
	}
	return "[" + name + "]:" + strconv.Itoa(h.Port)
}

// isLocal is sockaddr_is_local: 127.0.0.0/8 and ::1.
func (h *HostKeys) isLocal() bool {
	return h.Addr.IsLoopback() && !h.Addr.Is4In6()
}

// keyKind is a key's type as OpenSSH names it in messages.
func keyKind(k ssh.PublicKey) string {
	kind := strings.ToUpper(plainKey(k).Type())
	switch plainKey(k).Type() {
	case ssh.KeyAlgoRSA:
		kind = "RSA"
	case ssh.KeyAlgoED25519:
		kind = "ED25519"
	case ssh.KeyAlgoSKED25519:
		kind = "ED25519-SK"
	case ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		kind = "ECDSA"
	case ssh.KeyAlgoSKECDSA256:
		kind = "ECDSA-SK"
	case "ssh-dss":
		kind = "DSA"
	}
	if _, ok := k.(*ssh.Certificate); ok {
		kind += "-CERT"
	}
	return kind
}

// keyTypeOf is the type of the key that a signature algorithm uses.
func keyTypeOf(alg string) string {
	switch alg {
	case ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512:
		return ssh.KeyAlgoRSA
	case ssh.CertAlgoRSASHA256v01, ssh.CertAlgoRSASHA512v01:
		return ssh.CertAlgoRSAv01
	}
	return alg
}

// plainTypeOf is the type of the key that a certificate algorithm certifies.
func plainTypeOf(alg string) string {
	alg = keyTypeOf(alg)
	plain, ok := strings.CutSuffix(alg, "-cert-v01@openssh.com")
	if ok && strings.HasPrefix(plain, "sk-") {
		plain += "@openssh.com"
	}
	return plain
}

// withCA is the key itself and, for a certificate, its key and its CA.
func withCA(key ssh.PublicKey) []ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return []ssh.PublicKey{cert.Key, cert.SignatureKey}
	}
	return []ssh.PublicKey{key}
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }
