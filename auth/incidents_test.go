//go:build unix

package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

// passphrase is the one that FuzzKeyFile's user knows.
const passphrase = "secret"

// keyFileSeeds are key files of all the kinds that we read, and some broken ones.
func keyFileSeeds(f *testing.F) [][]byte {
	f.Helper()
	must := func(b []byte, err error) []byte {
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	block := func(b *pem.Block, err error) []byte {
		if err != nil {
			f.Fatal(err)
		}
		return pem.EncodeToMemory(b)
	}
	ed := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	rsaKey, err := makeRSA()
	if err != nil {
		f.Fatal(err)
	}
	encrypted := block(ssh.MarshalPrivateKeyWithPassphrase(ed, "", []byte(passphrase)))
	plain := block(ssh.MarshalPrivateKey(ed, ""))
	return [][]byte{
		plain, encrypted, swapped(f, encrypted, ed, other), swapped(f, plain, ed, other),
		block(ssh.MarshalPrivateKey(rsaKey, "")), block(ssh.MarshalPrivateKey(ec, "a comment")),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(ec))}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(ed))}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(rsaKey))}),
		[]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"),
		[]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"),
		pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte("openssh-key-v1\x00\xff\xff\xff\xff")}),
		bytes.ReplaceAll(plain, []byte("\n"), []byte("\r\n")), plain[:len(plain)/2],
		nil, []byte("\x00\xff\xfe"), []byte("ssh-ed25519 AAAA"), []byte("-----BEGIN"), ssh.MarshalAuthorizedKey(edPublic(f, ed)),
	}
}

func edPublic(f *testing.F, key ed25519.PrivateKey) ssh.PublicKey {
	f.Helper()
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		f.Fatal(err)
	}
	return signer.PublicKey()
}

// swapped is an OpenSSH key file whose public half, in the clear, is another's.
func swapped(f *testing.F, text []byte, key, other ed25519.PrivateKey) []byte {
	f.Helper()
	b, _ := pem.Decode(text)
	b.Bytes = bytes.Replace(b.Bytes, edPublic(f, key).Marshal(), edPublic(f, other).Marshal(), 1)
	return pem.EncodeToMemory(b)
}

// FuzzKeyFile: no key file makes us panic, and none signs for another key than
// the one that was offered, which is all that the server and we agreed upon.
func FuzzKeyFile(f *testing.F) {
	for _, seed := range keyFileSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<16 {
			t.Skip("larger than keys are")
		}
		file := filepath.Join(t.TempDir(), "id")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		l := newLogin()
		l.IdentityFiles = []string{file}
		l.Prompts = 1
		l.Ask = func(context.Context, string, bool, bool) ([]byte, error) { return []byte(passphrase), nil }
		s := l.Start(t.Context())
		defer s.Close()
		offered := publicOfPrivate(file)
		for _, c := range s.candidates() {
			signer := s.load(c)
			if signer == nil {
				continue
			}
			if !sameKey(signer.PublicKey(), plainKey(c.public)) {
				t.Errorf("loaded %s for %s", ssh.FingerprintSHA256(signer.PublicKey()), ssh.FingerprintSHA256(c.public))
			}
			if offered != nil && !sameKey(signer.PublicKey(), offered) {
				t.Errorf("loaded %s, the file shows %s", ssh.FingerprintSHA256(signer.PublicKey()), ssh.FingerprintSHA256(offered))
			}
		}
	})
}

// TestR14Visible: whatever a peer sends, what we show of it is printable.
func TestR14Visible(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		checkVisible(t, string(r))
	}
	for b := range 256 { // as bytes of no character
		checkVisible(t, "a"+string([]byte{byte(b)})+"z")
	}
	for _, text := range []string{"\x1b]52;c;ZQ==\a", "\x1b[2J", "ok\rno", "\u202eevil\u2066", "\u009b31m", "\xe2\x80", "\u2028", "\ufeff"} {
		checkVisible(t, text)
	}
	if got, want := Visible("a\x1b[0m\r\u202e\xff"), `a\033[0m\015\342\200\256\377`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// checkVisible: nothing is left that a terminal acts on, or that has no shape.
func checkVisible(t *testing.T, text string) {
	t.Helper()
	got := Visible(text)
	bad := strings.ContainsFunc(got, func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.Is(unicode.C, r) || !unicode.IsPrint(r))
	})
	if bad || !utf8.ValidString(got) {
		t.Errorf("%q: got %q", text, got)
	}
}
