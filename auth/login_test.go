//go:build unix

package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// keyFile is a private key in a file, with its public half beside it.
type keyFile struct {
	path   string
	key    any
	signer ssh.Signer
}

func newKeyFile(t *testing.T, dir, name, passphrase string) keyFile {
	t.Helper()
	var key any
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	key = ed
	if strings.Contains(name, "rsa") {
		key, err = makeRSA()
	}
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, name)
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, name, []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	k := keyFile{filepath.Join(dir, name), key, signer}
	k.write(t, "", pem.EncodeToMemory(block), 0o600)
	k.write(t, ".pub", ssh.MarshalAuthorizedKey(signer.PublicKey()), 0o644)
	return k
}

func (k keyFile) write(t *testing.T, suffix string, text []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(k.path+suffix, text, mode); err != nil {
		t.Fatal(err)
	}
}

// certify writes a user certificate for k beside it and returns it.
func (k keyFile) certify(t *testing.T, suffix string) ssh.PublicKey {
	t.Helper()
	cert := &ssh.Certificate{Key: k.signer.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"u"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, newSigner(t, "ed25519")); err != nil {
		t.Fatal(err)
	}
	k.write(t, suffix, ssh.MarshalAuthorizedKey(cert), 0o644)
	return cert
}

// startAgent serves an agent that holds keys, on a socket.
func startAgent(t *testing.T, keys ...keyFile) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		if err := ring.Add(agent.AddedKey{PrivateKey: k.key}); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(t.TempDir(), "agent")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when ln is closed
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				agent.ServeAgent(ring, conn)
				conn.Close()
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return socket
}

const allAlgorithms = "ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com,ssh-ed25519,rsa-sha2-512,rsa-sha2-256"

func newLogin(files ...keyFile) *Login {
	l := &Login{User: "u", Host: "h", Publickey: true, FilesConfigured: true, Prompts: 3, Tell: func(string) {},
		Accepted: strings.Split(allAlgorithms, ","), Log: slog.New(slog.DiscardHandler)}
	for _, f := range files {
		l.IdentityFiles = append(l.IdentityFiles, f.path)
	}
	return l
}

// allSigners are those that a session would offer, one by one. Encrypted keys
// are tried out, as when the server wants them.
func allSigners(s *Session) []ssh.Signer {
	var out []ssh.Signer
	for signer := s.nextSigner(); signer != nil; signer = s.nextSigner() {
		out = append(out, signer)
	}
	return out
}

// checkSigners compares the order of signers; want may hold files and keys.
func checkSigners(t *testing.T, s *Session, names map[string]ssh.PublicKey, want ...string) {
	t.Helper()
	var got []string
	for _, signer := range allSigners(s) {
		name := ssh.FingerprintSHA256(signer.PublicKey())
		for n, k := range names {
			if sameKey(k, signer.PublicKey()) {
				name = n
			}
		}
		got = append(got, name)
		sig, err := signer.Sign(rand.Reader, []byte("data"))
		if err != nil {
			t.Errorf("%s cannot sign: %v", name, err)
		} else if cert, ok := signer.PublicKey().(*ssh.Certificate); ok {
			err = cert.Key.Verify([]byte("data"), sig)
		} else {
			err = signer.PublicKey().Verify([]byte("data"), sig)
		}
		if err != nil {
			t.Errorf("%s: bad signature: %v", name, err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got signers %v, want %v (notes: %q)", got, want, s.notes)
	}
}

func TestSignerOrder(t *testing.T) {
	dir := t.TempDir()
	a, b, c := newKeyFile(t, dir, "a", ""), newKeyFile(t, dir, "b", ""), newKeyFile(t, dir, "c", "")
	rsaFile := newKeyFile(t, dir, "rsa", "")
	names := map[string]ssh.PublicKey{
		"a": a.signer.PublicKey(), "b": b.signer.PublicKey(), "c": c.signer.PublicKey(), "rsa": rsaFile.signer.PublicKey(),
		"cert of b": b.certify(t, "-cert.pub"),
	}
	for _, tt := range []struct {
		name  string
		agent []keyFile
		login *Login
		edit  func(*Login)
		want  []string
	}{
		{"files", nil, newLogin(a, rsaFile), nil, []string{"a", "rsa"}},
		{"agent keys without a file, then files", []keyFile{c}, newLogin(a), nil, []string{"c", "a"}},
		{"agent keys that a file names first", []keyFile{c, a}, newLogin(a), nil, []string{"a", "c"}},
		{"only those", []keyFile{c, a}, newLogin(a), func(l *Login) { l.IdentitiesOnly = true }, []string{"a"}},
		{"only those, named by the public half", []keyFile{c, a}, newLogin(),
			func(l *Login) { l.IdentitiesOnly, l.IdentityFiles = true, []string{a.path + ".pub"} }, []string{"a"}},
		{"certificate beside the key", nil, newLogin(a, b), nil, []string{"cert of b", "a", "b"}},
		{"certificate for a key in the agent", []keyFile{b, c}, newLogin(b), nil, []string{"cert of b", "b", "c"}},
		{"CertificateFile", nil, newLogin(a, b), func(l *Login) { l.Certificates = []string{b.path + "-cert.pub"} }, []string{"cert of b", "a", "b"}},
		{"other CertificateFile", nil, newLogin(a, b), func(l *Login) { l.Certificates = []string{a.path + ".pub"} }, []string{"a", "b"}},
		{"no agent there", nil, newLogin(a), func(l *Login) { l.AgentSocket = filepath.Join(dir, "no-agent") }, []string{"a"}},
		{"accepted: RSA alone", nil, newLogin(a, b, rsaFile), func(l *Login) { l.Accepted = []string{"rsa-sha2-256"} }, []string{"rsa"}},
		{"accepted: certificates alone", nil, newLogin(a, b), func(l *Login) { l.Accepted = []string{"ssh-ed25519-cert-v01@openssh.com"} }, []string{"cert of b"}},
		{"accepted: plain alone", nil, newLogin(a, b), func(l *Login) { l.Accepted = []string{"ssh-ed25519"} }, []string{"a", "b"}},
		{"accepted: none", nil, newLogin(a), func(l *Login) { l.Accepted = nil }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if len(tt.agent) > 0 {
				tt.login.AgentSocket = startAgent(t, tt.agent...)
			}
			if tt.edit != nil {
				tt.edit(tt.login)
			}
			s := tt.login.Start(t.Context())
			defer s.Close()
			checkSigners(t, s, names, tt.want...)
		})
	}
}

func TestRSASignatureAlgorithms(t *testing.T) {
	l := newLogin(newKeyFile(t, t.TempDir(), "rsa", ""))
	for _, tt := range []struct{ accepted, want string }{
		{"rsa-sha2-512,rsa-sha2-256", "rsa-sha2-512,rsa-sha2-256"},
		{"ssh-ed25519,rsa-sha2-256", "rsa-sha2-256"},
	} {
		l.Accepted = strings.Split(tt.accepted, ",")
		signers := allSigners(l.Start(t.Context()))
		if len(signers) != 1 {
			t.Fatalf("%s: got %v, want one signer", tt.accepted, signers)
		}
		multi, ok := signers[0].(ssh.MultiAlgorithmSigner)
		if !ok || strings.Join(multi.Algorithms(), ",") != tt.want {
			t.Errorf("accepted %s: got %v, want %s", tt.accepted, signers[0], tt.want)
		}
	}
}

func TestNotes(t *testing.T) {
	dir := t.TempDir()
	plain, locked := newKeyFile(t, dir, "plain", ""), newKeyFile(t, dir, "locked", "secret")
	open := newKeyFile(t, dir, "open", "")
	if err := os.Chmod(open.path, 0o644); err != nil {
		t.Fatal(err)
	}
	rubbish := keyFile{path: filepath.Join(dir, "rubbish")}
	rubbish.write(t, "", []byte("no key\n"), 0o600)
	missing := keyFile{path: filepath.Join(dir, "missing")}
	for _, tt := range []struct {
		name  string
		login *Login
		edit  func(*testing.T, *Login)
		want  []string // each a part of one note
	}{
		{"nothing to tell", newLogin(plain), nil, nil},
		{"encrypted", newLogin(plain, locked), nil, []string{locked.path + " is encrypted and its key is not in the agent"}},
		{"encrypted, in the agent", newLogin(plain, locked), func(t *testing.T, l *Login) { l.AgentSocket = startAgent(t, locked) }, nil},
		{"encrypted, in the agent, without its public half", newLogin(plain, locked), func(t *testing.T, l *Login) {
			l.AgentSocket = startAgent(t, locked)
			if err := os.Rename(locked.path+".pub", locked.path+".moved"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Rename(locked.path+".moved", locked.path+".pub") })
		}, nil},
		{"open to others", newLogin(plain, open), nil, []string{"permissions 0644 for " + open.path + " are too open"}},
		{"rubbish", newLogin(plain, rubbish), nil, []string{rubbish.path}},
		{"missing", newLogin(plain, missing), nil, []string{missing.path}},
		{"missing default", newLogin(plain, missing), func(_ *testing.T, l *Login) { l.FilesConfigured = false }, nil},
		{"no agent", newLogin(plain), func(_ *testing.T, l *Login) { l.AgentSocket = missing.path }, []string{"agent"}},
		{"no certificate", newLogin(plain), func(_ *testing.T, l *Login) { l.Certificates = []string{missing.path} }, []string{missing.path}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.edit != nil {
				tt.edit(t, tt.login)
			}
			s := tt.login.Start(t.Context())
			defer s.Close()
			var used []ssh.PublicKey
			for _, signer := range allSigners(s) {
				if _, err := signer.Sign(rand.Reader, []byte("data")); err == nil {
					used = append(used, signer.PublicKey())
				}
			}
			if !slices.ContainsFunc(used, func(k ssh.PublicKey) bool { return sameKey(k, plain.signer.PublicKey()) }) {
				t.Error("the good key is not used, want it used whatever the others are")
			}
			if slices.ContainsFunc(used, func(k ssh.PublicKey) bool { return sameKey(k, open.signer.PublicKey()) }) {
				t.Error("the key open to others is used, want it ignored")
			}
			if len(s.notes) != len(tt.want) {
				t.Fatalf("got notes %q, want %q", s.notes, tt.want)
			}
			for i, want := range tt.want {
				if !strings.Contains(s.notes[i], want) {
					t.Errorf("got note %q, want %q in it", s.notes[i], want)
				}
			}
		})
	}
}

func TestNext(t *testing.T) {
	for _, tt := range []struct {
		name      string
		publickey bool
		allowed   []string
		want      bool // a method is offered
	}{
		{"publickey", true, []string{"publickey", "password"}, true},
		{"switched off", false, []string{"publickey"}, false},
		{"not taken", true, []string{"password"}, false},
	} {
		l := newLogin(newKeyFile(t, t.TempDir(), "a", ""))
		l.Publickey = tt.publickey
		s := l.Start(t.Context())
		method, err := s.Next(&ssh.ClientAuthContext{AllowedMethods: tt.allowed})
		if (method != nil) != tt.want || (err == nil) != tt.want {
			t.Errorf("%s: got %v, %v, want a method: %v", tt.name, method, err, tt.want)
		}
		_, err = s.Next(&ssh.ClientAuthContext{AllowedMethods: tt.allowed, TriedMethods: []string{"publickey"}})
		denied := (*DeniedError)(nil)
		if !errors.As(err, &denied) || !slices.Equal(denied.Methods, tt.allowed) || denied.User != "u" {
			t.Errorf("%s, second time: got %v, want a DeniedError with %v", tt.name, err, tt.allowed)
		}
	}
	err := &DeniedError{User: "u", Methods: []string{"publickey", "password"}, Notes: []string{"k is encrypted"}}
	if want := "Permission denied (publickey,password). k is encrypted"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}
