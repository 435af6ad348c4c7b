package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Login says how to prove who we are to one host. Its methods are tried as
// the server lists them; a new kind of login is one more case in next.
type Login struct {
	User            string
	AgentSocket     string // "" for no agent
	IdentityFiles   []string
	FilesConfigured bool // false: the files are defaults, missing ones are silent
	Certificates    []string
	IdentitiesOnly  bool
	Publickey       bool     // PubkeyAuthentication
	Accepted        []string // PubkeyAcceptedAlgorithms
	Log             *slog.Logger
}

// DeniedError says that the server took none of our logins.
type DeniedError struct {
	User    string
	Methods []string // that the server would have gone on with
	Notes   []string // keys that could not be used, and why
}

func (e *DeniedError) Error() string {
	s := fmt.Sprintf("Permission denied (%s).", strings.Join(e.Methods, ","))
	if len(e.Notes) > 0 {
		s += " " + strings.Join(e.Notes, "; ")
	}
	return s
}

// Session is one login in progress. Close it when the handshake has ended.
type Session struct {
	*Login
	offered int // publickey logins begun: one more for each that was a part
	notes   []string

	mu    sync.Mutex // guards agent: Close may come from another goroutine
	agent net.Conn
}

// Start begins a login.
func (l *Login) Start() *Session { return &Session{Login: l} }

// Close ends the connection to the agent, if one was made.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent == nil {
		return nil
	}
	return s.agent.Close()
}

// Next is the ssh.ClientAuthCallback: it picks the next method, or fails with a
// *DeniedError when none is left.
func (s *Session) Next(ctx *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	s.Log.Debug("login", "user", s.User, "server takes", ctx.AllowedMethods, "tried", ctx.TriedMethods)
	if s.Publickey && s.offered <= len(ctx.PartialSuccessMethods) && slices.Contains(ctx.AllowedMethods, "publickey") {
		s.offered = len(ctx.PartialSuccessMethods) + 1
		return ssh.PublicKeysCallback(s.signers), nil
	}
	return nil, &DeniedError{s.User, ctx.AllowedMethods, s.notes}
}

func (s *Session) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.Log.Info("key not used", "why", text)
	s.notes = append(s.notes, text)
}

// signers are our keys in OpenSSH's order: certificates, agent keys that an
// IdentityFile names, other agent keys, files.
func (s *Session) signers() ([]ssh.Signer, error) {
	fromAgent := s.agentSigners()
	files := s.readIdentities()

	var listed, others, fromFiles []ssh.Signer
	for _, a := range fromAgent {
		if slices.ContainsFunc(files, func(id identity) bool { return id.public != nil && sameKey(id.public, a.PublicKey()) }) {
			listed = append(listed, a)
		} else if !s.IdentitiesOnly {
			others = append(others, a)
		}
	}
	for _, id := range files {
		held := slices.ContainsFunc(listed, func(a ssh.Signer) bool { return id.public != nil && sameKey(a.PublicKey(), id.public) })
		switch {
		case id.signer != nil && !held:
			fromFiles = append(fromFiles, id.signer)
		case id.err != nil && !held:
			s.note("%v", id.err)
		}
	}
	plain := slices.Concat(listed, others, fromFiles)
	all := append(s.certSigners(plain), plain...)
	var usable []ssh.Signer
	for _, signer := range all {
		if limited := s.limit(signer); limited != nil {
			usable = append(usable, limited)
		}
	}
	return usable, nil
}

// limit keeps a signer to PubkeyAcceptedAlgorithms; nil if none is left.
func (s *Session) limit(signer ssh.Signer) ssh.Signer {
	keyType := signer.PublicKey().Type()
	var algs []string
	for _, alg := range s.Accepted {
		plain := strings.Replace(alg, "-cert-v01@openssh.com", "", 1)
		isCert := plain != alg
		if isCert == strings.Contains(keyType, "-cert-") && keyTypeOf(plain) == strings.Replace(keyType, "-cert-v01@openssh.com", "", 1) {
			algs = append(algs, plain)
		}
	}
	if len(algs) == 0 {
		s.note("%s key %s: not in PubkeyAcceptedAlgorithms", keyKind(signer.PublicKey()), ssh.FingerprintSHA256(signer.PublicKey()))
		return nil
	}
	multi, ok := signer.(ssh.AlgorithmSigner)
	if !ok || keyTypeOf(algs[0]) != ssh.KeyAlgoRSA {
		return signer // only RSA keys have a choice of algorithms
	}
	limited, err := ssh.NewSignerWithAlgorithms(multi, algs)
	if err != nil {
		return signer
	}
	return limited
}

// agentSigners are the keys that the agent holds; an agent that cannot be
// reached holds none, as for ssh.
func (s *Session) agentSigners() []ssh.Signer {
	if s.AgentSocket == "" {
		return nil
	}
	conn, err := dialAgent(s.AgentSocket)
	if err != nil {
		s.note("agent: %v", err)
		return nil
	}
	s.mu.Lock()
	s.agent = conn
	s.mu.Unlock()
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		s.note("agent %s: %v", s.AgentSocket, err)
	}
	return signers
}

// identity is a key file: its public half, and its signer if it can be used
// without asking.
type identity struct {
	file   string
	public ssh.PublicKey
	signer ssh.Signer
	err    error
}

func (s *Session) readIdentities() []identity {
	var ids []identity
	for _, file := range s.IdentityFiles {
		id := readIdentity(file)
		if errors.Is(id.err, fs.ErrNotExist) && !s.FilesConfigured {
			id.err = nil
		}
		ids = append(ids, id)
	}
	return ids
}

func readIdentity(file string) identity {
	id := identity{file: file, public: readPublic(file + ".pub")}
	if id.public == nil {
		id.public = readPublic(file) // IdentityFile may name the public half
	}
	info, err := os.Stat(file)
	if err != nil {
		id.err = fmt.Errorf("identity file: %w", err)
		return id
	}
	if err := checkMode(file, info); err != nil {
		id.err = err
		return id
	}
	text, err := os.ReadFile(file)
	if err != nil {
		id.err = fmt.Errorf("identity file: %w", err)
		return id
	}
	id.signer, err = ssh.ParsePrivateKey(text)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		id.err = &EncryptedKeyError{file}
		if missing.PublicKey != nil {
			id.public = missing.PublicKey
		}
	} else if err != nil {
		id.err = fmt.Errorf("identity file %s: %w", file, err)
	} else {
		id.public = id.signer.PublicKey()
	}
	return id
}

// EncryptedKeyError says that a key file needs a passphrase.
type EncryptedKeyError struct{ File string }

func (e *EncryptedKeyError) Error() string {
	return fmt.Sprintf("%s is encrypted and its key is not in the agent", e.File)
}

func readPublic(file string) ssh.PublicKey {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}

// certSigners pairs certificates (CertificateFile, else X-cert.pub beside each
// identity) with the keys that they certify.
func (s *Session) certSigners(keys []ssh.Signer) []ssh.Signer {
	files := s.Certificates
	if len(files) == 0 {
		for _, f := range s.IdentityFiles {
			files = append(files, f+"-cert.pub", f+"-cert")
		}
	}
	var out []ssh.Signer
	for _, f := range files {
		cert, ok := readPublic(f).(*ssh.Certificate)
		if !ok {
			if len(s.Certificates) > 0 {
				s.note("CertificateFile %s: no certificate in it", f)
			}
			continue
		}
		for _, k := range keys {
			if !sameKey(k.PublicKey(), cert.Key) {
				continue
			}
			if signer, err := ssh.NewCertSigner(cert, k); err == nil {
				out = append(out, signer)
			}
		}
	}
	return out
}
