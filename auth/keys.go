package auth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// candidate is a key to log in with: one of the agent, a file, or both. What
// needs the user's passphrase is asked for when the server wants the key.
type candidate struct {
	file   string        // of the private key or the certificate; "" if only the agent has it
	public ssh.PublicKey // nil until the private key is read
	agent  ssh.Signer    // where the agent holds it
	signer ssh.Signer    // once it is read from the file
}

func (c *candidate) String() string { return cmp.Or(c.file, "key of the agent") }

// nextKey offers the next key; nil when none is left.
func (s *Session) nextKey() ssh.AuthMethod {
	if signer := s.nextSigner(); signer != nil {
		return ssh.PublicKeys(signer)
	}
	return nil
}

func (s *Session) nextSigner() ssh.Signer {
	if !s.ready {
		s.all = s.candidates()
		s.keys, s.ready = s.all, true
	}
	for len(s.keys) > 0 {
		c := s.keys[0]
		s.keys = s.keys[1:]
		if c.public == nil && s.load(c) == nil {
			continue
		}
		if signer := s.limit(&fileSigner{s, c}); signer != nil {
			return signer
		}
	}
	return nil
}

// candidates are our keys in the order of OpenSSH 10.5 (pubkey_prepare,
// sshconnect2.c): the certificates that were named, agent keys that belong to an
// identity file, other agent keys, then the files; certificates before others.
func (s *Session) candidates() []*candidate {
	files := s.fileCandidates()
	var list, others []*candidate
	for _, f := range s.Certificates {
		switch cert, err := readPublic(f); {
		case err != nil:
			s.note("CertificateFile: %v", err)
		case !isUserCert(cert):
			s.note("CertificateFile %s: no user certificate in it", f)
		default:
			list = append(list, &candidate{file: f, public: cert})
		}
	}
	for _, a := range s.agentSigners() {
		i := slices.IndexFunc(files, func(c *candidate) bool { return c.public != nil && sameKey(c.public, a.PublicKey()) })
		switch {
		case i >= 0:
			files[i].agent = a
			list = append(list, files[i])
			files = slices.Delete(files, i, i+1)
		case !s.IdentitiesOnly:
			others = append(others, &candidate{public: a.PublicKey(), agent: a})
		}
	}
	list = slices.Concat(list, others, files)
	slices.SortStableFunc(list, func(a, b *candidate) int {
		return cmp.Compare(certLast(a), certLast(b))
	})
	return list
}

func certLast(c *candidate) int {
	if _, isCert := c.public.(*ssh.Certificate); isCert {
		return 0
	}
	return 1
}

// fileCandidates are the identity files, each with the certificate beside it
// unless certificates were named.
func (s *Session) fileCandidates() []*candidate {
	var out []*candidate
	for _, file := range s.IdentityFiles {
		public, err := readPublic(file + ".pub")
		if err != nil {
			public, err = readPublic(file) // IdentityFile may name the public half
		}
		if err != nil {
			public = publicOfPrivate(file)
		}
		if _, statErr := os.Stat(file); statErr != nil && public == nil {
			if s.FilesConfigured || !errors.Is(statErr, fs.ErrNotExist) {
				s.note("identity file: %v", statErr)
			}
		} else {
			out = append(out, &candidate{file: file, public: public})
		}
		if len(s.Certificates) > 0 {
			continue
		}
		for _, suffix := range []string{"-cert.pub", "-cert"} {
			if cert, err := readPublic(file + suffix); err == nil && isUserCert(cert) {
				out = append(out, &candidate{file: file, public: cert})
				break
			}
		}
	}
	return out
}

func isUserCert(key ssh.PublicKey) bool {
	cert, ok := key.(*ssh.Certificate)
	return ok && cert.CertType == ssh.UserCert
}

// fileSigner signs with a candidate's key, which it reads when it must.
type fileSigner struct {
	s *Session
	*candidate
}

func (f *fileSigner) PublicKey() ssh.PublicKey { return f.public }

func (f *fileSigner) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return f.SignWithAlgorithm(rand, data, "")
}

// SignWithAlgorithm signs with the private key, which for a certificate may be
// that of another candidate, in a file or the agent.
func (f *fileSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signer := f.s.privateHalf(f.candidate)
	if signer == nil {
		return nil, fmt.Errorf("%v cannot be used", f.candidate)
	}
	var sig *ssh.Signature
	var err error
	if f.s.Signing != nil {
		defer f.s.Signing(f.s.ctx)()
	}
	if multi, ok := signer.(ssh.AlgorithmSigner); ok && algorithm != "" {
		sig, err = multi.SignWithAlgorithm(rand, data, algorithm)
	} else {
		sig, err = signer.Sign(rand, data)
	}
	if err != nil {
		f.s.note("%v: %v", f.candidate, err)
		if f.agent != nil { // bound to hosts, or to what only ssh can tell the agent
			f.s.beyond = append(f.s.beyond, "a key that the agent would not use for us")
		}
	}
	return sig, err
}

func (s *Session) privateHalf(c *candidate) ssh.Signer {
	if c.agent != nil {
		return c.agent
	}
	cert, ok := c.public.(*ssh.Certificate)
	if !ok {
		return s.load(c)
	}
	var inFile *candidate
	for _, other := range s.all {
		if other.public == nil || !sameKey(other.public, cert.Key) {
			continue
		}
		if other.agent != nil {
			return other.agent
		}
		inFile = other
	}
	if inFile == nil {
		inFile = &candidate{file: c.file}
	}
	return s.load(inFile)
}

// load reads the private key of a candidate, asking for its passphrase as often
// as NumberOfPasswordPrompts allows. nil if it cannot be had, with a note.
func (s *Session) load(c *candidate) ssh.Signer {
	if c.signer != nil {
		return c.signer
	}
	info, err := os.Stat(c.file)
	if err == nil {
		err = checkMode(c.file, info)
	}
	if tooOpen := (*TooOpenError)(nil); errors.As(err, &tooOpen) {
		s.warnTooOpen(tooOpen)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(c.file)
		defer clear(text)
	}
	if err != nil {
		s.note("identity file: %v", err)
		return nil
	}
	key, err := s.parse(c.file, text)
	if err != nil {
		s.note("%v", err)
		return nil
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err == nil && c.public != nil && !sameKey(signer.PublicKey(), plainKey(c.public)) {
		err = errors.New("private key does not match the public one beside it")
	}
	if err != nil {
		s.note("identity file %s: %v", c.file, err)
		return nil
	}
	if c.public == nil {
		c.public = signer.PublicKey()
	}
	c.signer = signer
	s.addToAgent(c.file, key)
	return signer
}

func (s *Session) warnTooOpen(e *TooOpenError) {
	const rule = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@"
	for _, line := range []string{
		rule, "@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @", rule,
		fmt.Sprintf("Permissions %04o for '%s' are too open.", e.Mode, e.File),
		"It is required that your private key files are NOT accessible by others.",
		"This private key will be ignored.",
	} {
		s.Tell(line)
	}
}

// parse reads a key file, with passphrases until one fits. An empty one means to
// go on without this key.
func (s *Session) parse(file string, text []byte) (any, error) {
	key, err := ssh.ParseRawPrivateKey(text)
	if missing := (*ssh.PassphraseMissingError)(nil); !errors.As(err, &missing) {
		if err != nil {
			if bytes.Contains(text, []byte("PRIVATE KEY-----")) { // of a kind that ssh may read
				s.beyond = append(s.beyond, "the key in "+file)
			}
			err = fmt.Errorf("identity file %s: %w", file, err)
		}
		return key, err
	}
	if name := foreignCipher(text); name != "" { // no passphrase would do
		s.beyond = append(s.beyond, "the key in "+file)
		return nil, fmt.Errorf("identity file %s: encrypted with %q, which is not supported", file, name)
	}
	for range s.Prompts {
		if s.Ask == nil {
			break
		}
		pass, err := s.Ask(s.ctx, fmt.Sprintf("Enter passphrase for key '%.100s': ", file), false, false)
		if err != nil || len(pass) == 0 {
			break
		}
		key, err = ssh.ParseRawPrivateKeyWithPassphrase(text, pass)
		clear(pass)
		if err == nil {
			return key, nil
		}
	}
	return nil, &EncryptedKeyError{file}
}

// foreignCipher is the cipher of a key file of OpenSSH (PROTOCOL.key) that the
// library cannot undo, "" if it can.
func foreignCipher(text []byte) string {
	block, _ := pem.Decode(text)
	if block == nil {
		return ""
	}
	var header struct {
		Cipher string
		Rest   []byte `ssh:"rest"`
	}
	rest, ok := bytes.CutPrefix(block.Bytes, []byte("openssh-key-v1\x00"))
	if !ok || ssh.Unmarshal(rest, &header) != nil || header.Cipher == "aes256-ctr" || header.Cipher == "aes256-cbc" {
		return ""
	}
	return header.Cipher
}

// addToAgent gives the agent a key that was read from a file, if the user wants
// it there. That it cannot is no reason to fail.
func (s *Session) addToAgent(file string, key any) {
	if !s.AddKeys.Add || s.AgentSocket == "" {
		return
	}
	if s.AddKeys.Ask {
		answer, err := s.ask(fmt.Sprintf("Add key %s (%s) to agent?", file, file))
		if err != nil || answer != "" && !strings.EqualFold(answer, "yes") {
			return
		}
	}
	conn, err := dialAgent(s.AgentSocket)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { conn.Close() })() // it may ask its user
	err = agent.NewClient(conn).Add(agent.AddedKey{
		PrivateKey: key, Comment: file, ConfirmBeforeUse: s.AddKeys.Confirm, LifetimeSecs: uint32(s.AddKeys.Lifetime.Seconds()),
	})
	s.Log.Debug("key added to the agent", "file", file, "error", err)
}

func (s *Session) ask(text string) (string, error) {
	if s.Ask == nil {
		return "", errors.New("nobody to ask")
	}
	b, err := s.Ask(s.ctx, text, true, true)
	return string(b), err
}

// limit keeps a signer to PubkeyAcceptedAlgorithms and RequiredRSASize; nil if
// nothing is left.
func (s *Session) limit(signer ssh.AlgorithmSigner) ssh.Signer {
	public := signer.PublicKey()
	keyType := public.Type()
	var algs []string
	for _, alg := range s.Accepted {
		plain := strings.Replace(alg, "-cert-v01@openssh.com", "", 1)
		isCert := plain != alg
		if isCert == strings.Contains(keyType, "-cert-") && keyTypeOf(plain) == strings.Replace(keyType, "-cert-v01@openssh.com", "", 1) {
			algs = append(algs, plain)
		}
	}
	if len(algs) == 0 {
		s.note("%s key %s: not in PubkeyAcceptedAlgorithms", keyKind(public), ssh.FingerprintSHA256(public))
		return nil
	}
	if bits := rsaBits(public); bits > 0 && bits < max(s.MinRSABits, minRSABits) {
		s.note("RSA key %s of %d bits: less than RequiredRSASize", ssh.FingerprintSHA256(public), bits)
		return nil
	}
	if keyTypeOf(algs[0]) != ssh.KeyAlgoRSA {
		return signer // only RSA keys have a choice of algorithms
	}
	limited, err := ssh.NewSignerWithAlgorithms(signer, algs)
	if err != nil {
		return signer
	}
	return limited
}

// rsaBits is the size of an RSA key, 0 of others.
func rsaBits(key ssh.PublicKey) int {
	if crypto, ok := plainKey(key).(ssh.CryptoPublicKey); ok {
		if pub, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok {
			return pub.N.BitLen()
		}
	}
	return 0
}

// plainKey is the key that a certificate is for, and any other key itself.
func plainKey(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

// agentSigners are the keys that the agent holds; an agent that cannot be
// reached holds none, as for ssh.
func (s *Session) agentSigners() []ssh.Signer {
	if s.AgentSocket == "" {
		return nil
	}
	s.Close() // that of an earlier part of the login
	conn, err := dialAgent(s.AgentSocket)
	if err != nil {
		s.note("agent: %v", err)
		return nil
	}
	s.mu.Lock()
	s.agent = conn
	s.mu.Unlock()
	if s.ctx.Err() != nil { // its end has missed this one
		conn.Close()
	}
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		s.note("agent %s: %v", s.AgentSocket, err)
	}
	return signers
}

// EncryptedKeyError says that a key file needs a passphrase.
type EncryptedKeyError struct{ File string }

func (e *EncryptedKeyError) Error() string {
	return fmt.Sprintf("%s is encrypted and its key is not in the agent", e.File)
}

// TooOpenError says that others may read a private key.
type TooOpenError struct {
	File string
	Mode fs.FileMode
}

func (e *TooOpenError) Error() string {
	return fmt.Sprintf("permissions %04o for %s are too open", e.Mode, e.File)
}

func readPublic(file string) (ssh.PublicKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(bytes.TrimLeft(text, " \t\r\n"))
	return key, err
}

// publicOfPrivate is the public half that OpenSSH's key files hold in the clear.
func publicOfPrivate(file string) ssh.PublicKey {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	defer clear(text)
	signer, err := ssh.ParsePrivateKey(text)
	if err == nil {
		return signer.PublicKey()
	}
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		return missing.PublicKey
	}
	return nil
}
