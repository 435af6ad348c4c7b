package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

var makeRSA = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// newSigner makes a key of a kind: ed25519, ecdsa or rsa.
func newSigner(t testing.TB, kind string) ssh.Signer {
	t.Helper()
	var key any
	var err error
	switch kind {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		key, err = makeRSA()
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// authorized is a key as it stands in known_hosts: type and base64.
func authorized(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

// hashed is a name as HashKnownHosts writes it.
func hashed(name string) string {
	salt := make([]byte, sha1.Size)
	rand.Read(salt)
	return saltedHash(salt, name)
}

func saltedHash(salt []byte, name string) string {
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return "|1|" + base64.StdEncoding.EncodeToString(salt) + "|" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// known reads known_hosts files of these texts.
func known(t *testing.T, texts ...string) *KnownHosts {
	t.Helper()
	var files []string
	for _, text := range texts {
		files = append(files, writeFile(t, "known_hosts", text))
	}
	k, err := ReadKnownHosts(files)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// verdict names the kind of an answer of Check.
func verdict(err error) string {
	var unknown *UnknownHostError
	var changed *ChangedHostKeyError
	var revoked *RevokedHostKeyError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &unknown):
		return "unknown"
	case errors.As(err, &changed):
		return "changed"
	case errors.As(err, &revoked):
		return "revoked"
	}
	return "refused"
}

func TestHostKeyDecision(t *testing.T) {
	good, other, rsaKey := newSigner(t, "ed25519").PublicKey(), newSigner(t, "ed25519").PublicKey(), newSigner(t, "rsa").PublicKey()
	key, wrong := authorized(good), authorized(other)
	truncated := strings.Fields(key)[0] + " " + strings.Fields(key)[1][:40]
	for _, tt := range []struct {
		name    string
		texts   []string  // of the files
		host    *HostKeys // without Known
		offered ssh.PublicKey
		want    string
	}{
		{"plain", []string{"jump " + key}, &HostKeys{}, good, "ok"},
		{"no final newline, CRLF, comment", []string{"jump " + key + " me@here\r\n"}, &HostKeys{}, good, "ok"},
		{"leading blanks and tabs", []string{" \tjump\t" + key + "\n"}, &HostKeys{}, good, "ok"},
		{"hashed", []string{hashed("jump") + " " + key}, &HostKeys{}, good, "ok"},
		{"hashed, another name", []string{hashed("other") + " " + key}, &HostKeys{}, good, "unknown"},
		{"hashed with a port", []string{hashed("[jump]:2222") + " " + key}, &HostKeys{Port: 2222}, good, "ok"},
		{"hashed, changed", []string{hashed("jump") + " " + wrong}, &HostKeys{}, good, "changed"},
		{"hash cut short", []string{hashed("jump")[:20] + " " + key}, &HostKeys{}, good, "unknown"},
		{"hash with a short salt", []string{saltedHash(nil, "jump") + " " + key}, &HostKeys{}, good, "unknown"},
		{"empty file", []string{""}, &HostKeys{}, good, "unknown"},
		{"no file", nil, &HostKeys{}, good, "unknown"},
		{"second file", []string{"other " + wrong, "jump " + key}, &HostKeys{}, good, "ok"},
		{"changed in the first, right in the second", []string{"jump " + wrong, "jump " + key}, &HostKeys{}, good, "ok"},
		{"several keys", []string{"jump " + wrong + "\njump " + key}, &HostKeys{}, good, "ok"},
		{"changed", []string{"jump " + wrong}, &HostKeys{}, good, "changed"},
		{"another kind known", []string{"jump " + authorized(rsaKey)}, &HostKeys{}, good, "changed"},
		{"bad base64 above", []string{"jump ssh-ed25519 !!!!\njump " + key}, &HostKeys{}, good, "ok"},
		{"truncated key above", []string{"jump " + truncated + "\njump " + key}, &HostKeys{}, good, "ok"},
		{"only a truncated key", []string{"jump " + truncated}, &HostKeys{}, good, "unknown"},
		{"unknown key type above", []string{"jump ssh-mldsa44-ed25519@openssh.com AAAA\njump " + key}, &HostKeys{}, good, "ok"},
		{"type that is not the key's", []string{"jump ssh-rsa " + strings.Fields(key)[1]}, &HostKeys{}, good, "unknown"},
		{"bad hash above", []string{"|1|x|y " + key + "\njump " + key}, &HostKeys{}, good, "ok"},
		{"long comment above", []string{"#" + strings.Repeat("x", 70<<10) + "\njump " + key}, &HostKeys{}, good, "ok"},
		{"commented out", []string{"#jump " + key}, &HostKeys{}, good, "unknown"},
		{"binary rubbish above", []string{"\x00\xff\xfe\njump " + key}, &HostKeys{}, good, "ok"},
		{"name alone", []string{"jump\njump ssh-ed25519\n@revoked\n@cert-authority jump\njump " + key}, &HostKeys{}, good, "ok"},
		{"unknown marker", []string{"@friendly jump " + key}, &HostKeys{}, good, "unknown"},
		{"list of names", []string{"a,jump,b " + key}, &HostKeys{}, good, "ok"},
		{"wildcard", []string{"j*p " + key}, &HostKeys{}, good, "ok"},
		{"wildcard and negation", []string{"*,!jump " + key}, &HostKeys{}, good, "unknown"},
		{"wildcard of a network", []string{"192.0.2.? " + key}, &HostKeys{Host: "192.0.2.7"}, good, "ok"},
		{"case of the file", []string{"JUMP " + key}, &HostKeys{}, good, "ok"},
		{"case of the name", []string{"jump " + key}, &HostKeys{Host: "JuMp"}, good, "ok"},
		{"port", []string{"[jump]:2222 " + key}, &HostKeys{Port: 2222}, good, "ok"},
		{"another port", []string{"[jump]:2223 " + key}, &HostKeys{Port: 2222}, good, "unknown"},
		{"port 22 is not written", []string{"[jump]:22 " + key}, &HostKeys{}, good, "unknown"},
		{"port falls back to the plain name", []string{"jump " + key}, &HostKeys{Port: 2222}, good, "ok"},
		{"plain name has another key", []string{"jump " + wrong}, &HostKeys{Port: 2222}, good, "unknown"},
		{"changed for the port, right for the plain name", []string{"[jump]:2222 " + wrong + "\njump " + key}, &HostKeys{Port: 2222}, good, "changed"},
		{"alias", []string{"name " + key}, &HostKeys{Alias: "name"}, good, "ok"},
		{"alias without the port", []string{"name " + key}, &HostKeys{Alias: "Name", Port: 2222}, good, "ok"},
		{"alias hides the host", []string{"jump " + key}, &HostKeys{Alias: "name"}, good, "unknown"},
		{"alias with a port in the file", []string{"[name]:2222 " + key}, &HostKeys{Alias: "name", Port: 2222}, good, "unknown"},
		{"revoked", []string{"jump " + key + "\n@revoked jump " + key}, &HostKeys{}, good, "revoked"},
		{"revoked in the second file", []string{"jump " + key, "@revoked * " + key}, &HostKeys{}, good, "revoked"},
		{"revoked for another host", []string{"jump " + key + "\n@revoked other " + key}, &HostKeys{}, good, "ok"},
		{"another key revoked", []string{"jump " + key + "\n@revoked jump " + wrong}, &HostKeys{}, good, "ok"},
		{"revoked alone makes no known host", []string{"@revoked jump " + wrong}, &HostKeys{}, good, "unknown"},
		{"CA key offered as host key", []string{"@cert-authority jump " + key}, &HostKeys{}, good, "unknown"},
		{"CA known, plain key offered", []string{"@cert-authority jump " + wrong}, &HostKeys{}, good, "unknown"},
	} {
		h := HostKeys{Host: "jump", Port: 22, Alias: tt.host.Alias, Known: known(t, tt.texts...)}
		if tt.host.Host != "" {
			h.Host = tt.host.Host
		}
		if tt.host.Port != 0 {
			h.Port = tt.host.Port
		}
		if err := h.Check(t.Context(), tt.offered); verdict(err) != tt.want {
			t.Errorf("%s: got %s (%v), want %s", tt.name, verdict(err), err, tt.want)
		}
	}
}

func TestHostCertificate(t *testing.T) {
	ca, otherCA, rsaCA := newSigner(t, "ed25519"), newSigner(t, "ed25519"), newSigner(t, "rsa")
	host := newSigner(t, "ed25519").PublicKey()
	caLine := "@cert-authority *.example.org,jump " + authorized(ca.PublicKey())
	now := uint64(time.Now().Unix())
	type edit func(*ssh.Certificate)
	for _, tt := range []struct {
		name string
		text string
		ca   ssh.Signer
		edit edit
		host *HostKeys
		want string
	}{
		{"good", caLine, ca, nil, &HostKeys{}, "ok"},
		{"good, name in upper case", caLine, ca, nil, &HostKeys{Host: "JUMP"}, "ok"},
		{"good on a port", "@cert-authority [jump]:2222 " + authorized(ca.PublicKey()), ca, nil, &HostKeys{Port: 2222}, "ok"},
		{"good through an alias", caLine, ca, nil, &HostKeys{Host: "192.0.2.7", Alias: "jump"}, "ok"},
		{"wrong principal", caLine, ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"other"} }, &HostKeys{}, "unknown"},
		{"a pattern is no principal", caLine, ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"*"} }, &HostKeys{}, "unknown"},
		{"no principals", caLine, ca, func(c *ssh.Certificate) { c.ValidPrincipals = nil }, &HostKeys{}, "unknown"},
		{"expired", caLine, ca, func(c *ssh.Certificate) { c.ValidBefore = now - 60 }, &HostKeys{}, "unknown"},
		{"not yet valid", caLine, ca, func(c *ssh.Certificate) { c.ValidAfter = now + 3600 }, &HostKeys{}, "unknown"},
		{"user certificate", caLine, ca, func(c *ssh.Certificate) { c.CertType = ssh.UserCert }, &HostKeys{}, "unknown"},
		{"unknown critical option", caLine, ca, func(c *ssh.Certificate) {
			c.CriticalOptions = map[string]string{"only-on": "sundays"}
		}, &HostKeys{}, "unknown"},
		{"expired, but its key is known", caLine + "\njump " + authorized(host), ca, func(c *ssh.Certificate) { c.ValidBefore = now - 60 }, &HostKeys{}, "ok"},
		{"wrong principal, and another key is known", caLine + "\njump " + authorized(ca.PublicKey()), ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"other"} }, &HostKeys{}, "changed"},
		{"never valid", caLine, ca, func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = now+60, now+60 }, &HostKeys{}, "unknown"},
		{"neither for a host nor a user", caLine + "\njump " + authorized(host), ca, func(c *ssh.Certificate) { c.CertType = 3 }, &HostKeys{}, "refused"},
		{"CA for the bare name", "[jump]:2222 " + authorized(ca.PublicKey()) + "\n" + caLine, ca, nil, &HostKeys{Port: 2222}, "ok"},
		{"CA for another host", "@cert-authority other " + authorized(ca.PublicKey()), ca, nil, &HostKeys{}, "unknown"},
		{"CA unknown, key unknown", "", otherCA, nil, &HostKeys{}, "unknown"},
		{"CA unknown, key known", "jump " + authorized(host), otherCA, nil, &HostKeys{}, "ok"},
		{"CA unknown, another key known", "jump " + authorized(ca.PublicKey()), otherCA, nil, &HostKeys{}, "changed"},
		{"CA key known as plain key", "jump " + authorized(otherCA.PublicKey()), otherCA, nil, &HostKeys{}, "changed"},
		{"CA revoked", caLine + "\n@revoked jump " + authorized(ca.PublicKey()), ca, nil, &HostKeys{}, "revoked"},
		{"certified key revoked", caLine + "\n@revoked jump " + authorized(host), ca, nil, &HostKeys{}, "revoked"},
		{"RSA CA", "@cert-authority jump " + authorized(rsaCA.PublicKey()), rsaCA, nil, &HostKeys{}, "ok"},
	} {
		cert := &ssh.Certificate{
			Key: host, CertType: ssh.HostCert, ValidPrincipals: []string{"jump"},
			ValidAfter: now - 3600, ValidBefore: now + 3600,
		}
		if tt.edit != nil {
			tt.edit(cert)
		}
		if err := cert.SignCert(rand.Reader, tt.ca); err != nil {
			t.Fatal(err)
		}
		h := HostKeys{Host: "jump", Port: 22, Alias: tt.host.Alias, Known: known(t, tt.text)}
		if tt.host.Host != "" {
			h.Host = tt.host.Host
		}
		if tt.host.Port != 0 {
			h.Port = tt.host.Port
		}
		if err := h.Check(t.Context(), cert); verdict(err) != tt.want {
			t.Errorf("%s: got %s (%v), want %s", tt.name, verdict(err), err, tt.want)
		}
	}
}

// A certificate that is changed after it was signed, or signed with SHA-1, is
// no good.
func TestBadHostCertificateSignature(t *testing.T) {
	rsaCA := newSigner(t, "rsa").(ssh.AlgorithmSigner)
	now := uint64(time.Now().Unix())
	for _, tt := range []struct {
		name string
		alg  string
		edit func(*ssh.Certificate)
		want string
	}{
		{"signed with ssh-rsa", ssh.KeyAlgoRSA, func(*ssh.Certificate) {}, "unknown"},
		{"changed", ssh.KeyAlgoRSASHA512, func(c *ssh.Certificate) { c.Serial++ }, "refused"},
	} {
		signer, err := ssh.NewSignerWithAlgorithms(rsaCA, []string{tt.alg})
		if err != nil {
			t.Fatal(err)
		}
		cert := &ssh.Certificate{Key: newSigner(t, "ed25519").PublicKey(), CertType: ssh.HostCert,
			ValidPrincipals: []string{"jump"}, ValidAfter: now - 3600, ValidBefore: now + 3600}
		if err := cert.SignCert(rand.Reader, signer); err != nil {
			t.Fatal(err)
		}
		tt.edit(cert)
		h := HostKeys{Host: "jump", Port: 22, Known: known(t, "@cert-authority jump "+authorized(rsaCA.PublicKey()))}
		if err := h.Check(t.Context(), cert); verdict(err) != tt.want {
			t.Errorf("%s: got %s (%v), want %s", tt.name, verdict(err), err, tt.want)
		}
	}
}

func TestHostKeyErrorsNameTheirPlace(t *testing.T) {
	good, other := newSigner(t, "ed25519").PublicKey(), newSigner(t, "ed25519").PublicKey()
	rsaKey := newSigner(t, "rsa").PublicKey()
	file := writeFile(t, "known_hosts", "# comment\n\njump "+authorized(rsaKey)+"\njump "+authorized(other)+"\n")
	k, err := ReadKnownHosts([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	err = (&HostKeys{Host: "jump", Port: 22, Known: k}).Check(t.Context(), good)
	changed := (*ChangedHostKeyError)(nil)
	if !errors.As(err, &changed) || changed.File != file || changed.Line != 4 || changed.Name != "jump" {
		t.Errorf("got %v, want changed in %s:4, the line of the same kind of key", err, file)
	}
	err = (&HostKeys{Host: "Other", Port: 2222, Known: k}).Check(t.Context(), good)
	unknown := (*UnknownHostError)(nil)
	if !errors.As(err, &unknown) || unknown.Name != "[other]:2222" || !slices.Equal(unknown.Files, []string{file}) {
		t.Errorf("got %v, want [other]:2222 unknown to %s", err, file)
	}
}

func TestHostKeyPin(t *testing.T) {
	first, second := newSigner(t, "ed25519").PublicKey(), newSigner(t, "rsa").PublicKey()
	k := known(t, "jump "+authorized(first)+"\njump "+authorized(second))
	h := &HostKeys{Host: "jump", Port: 22, Known: k}
	for i, tt := range []struct {
		key  ssh.PublicKey
		want string
	}{{first, "ok"}, {first, "ok"}, {second, "refused"}, {first, "ok"}} {
		if err := h.Check(t.Context(), tt.key); verdict(err) != tt.want {
			t.Errorf("key exchange %d: got %s (%v), want %s", i+1, verdict(err), err, tt.want)
		}
	}
	if err := (&HostKeys{Host: "jump", Port: 22, Known: k}).Check(t.Context(), second); err != nil {
		t.Errorf("another connection: got %v, want no error", err)
	}
}

// rsaOfBits looks like a key; nobody could sign with it.
func rsaOfBits(t *testing.T, bits int) ssh.PublicKey {
	n := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
	key, err := ssh.NewPublicKey(&rsa.PublicKey{N: n, E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestShortRSA(t *testing.T) {
	for _, tt := range []struct {
		bits int
		want string
	}{{1023, "refused"}, {1024, "ok"}, {2048, "ok"}} {
		key := rsaOfBits(t, tt.bits)
		h := &HostKeys{Host: "jump", Port: 22, Known: known(t, "jump "+authorized(key))}
		if err := h.Check(t.Context(), key); verdict(err) != tt.want {
			t.Errorf("%d bits: got %s (%v), want %s", tt.bits, verdict(err), err, tt.want)
		}
	}
}

func TestRevokedFile(t *testing.T) {
	key, other := newSigner(t, "ed25519").PublicKey(), newSigner(t, "ed25519").PublicKey()
	k := known(t, "jump "+authorized(key))
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "ok"},
		{"another key", "# old\n\n" + authorized(other) + "\n", "ok"},
		{"a short key", authorized(rsaOfBits(t, 512)) + "\n" + authorized(key), "revoked"},
		{"blanks and tabs", " \t" + authorized(key) + "\n", "revoked"},
		{"the key in a certificate", authorized(certOf(t, key)) + "\n", "revoked"},
		{"the key", authorized(other) + "\n" + authorized(key) + " comment\r\n", "revoked"},
	} {
		file := writeFile(t, "revoked", tt.text)
		r, err := ReadRevoked([]string{file})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if err := (&HostKeys{Host: "jump", Port: 22, Known: k, Revoked: r}).Check(t.Context(), key); verdict(err) != tt.want {
			t.Errorf("%s: got %s (%v), want %s", tt.name, verdict(err), err, tt.want)
		}
	}
}

// certOf is a certificate for key by some CA.
func certOf(t *testing.T, key ssh.PublicKey) ssh.PublicKey {
	cert := &ssh.Certificate{Key: key, CertType: ssh.HostCert, ValidPrincipals: []string{"jump"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, newSigner(t, "ed25519")); err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestRevokedFileUnreadable(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{
		dir,
		filepath.Join(dir, "missing"),
		writeFile(t, "krl", "SSHKRL\n\x00\x00\x00\x00\x01\x00\x00"),
		writeFile(t, "rubbish", "ssh-ed25519 AAAA\n"),
	} {
		if _, err := ReadRevoked([]string{file}); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("got %v, want an error that names %s", err, file)
		}
	}
}

func TestReadKnownHosts(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadKnownHosts([]string{filepath.Join(dir, "missing")}); err != nil {
		t.Errorf("missing file: got %v, want no error", err)
	}
	if _, err := ReadKnownHosts([]string{dir}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("directory: got %v, want an error that names it", err)
	}
}

func TestAlgorithmOrder(t *testing.T) {
	ed, rsaKey := authorized(newSigner(t, "ed25519").PublicKey()), authorized(newSigner(t, "rsa").PublicKey())
	const certs = "ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com"
	const plain = "ecdsa-sha2-nistp256,ssh-ed25519,rsa-sha2-512,rsa-sha2-256"
	for _, tt := range []struct{ name, text, want string }{
		{"nothing known", "", certs + "," + plain},
		{"another host", "other " + ed, certs + "," + plain},
		{"the best of the list", "jump " + ed, certs + "," + plain},
		{"RSA has two algorithms", "jump " + rsaKey, "rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-512,rsa-sha2-256,ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256,ssh-ed25519"},
		{"the best and another", "jump " + rsaKey + "\njump " + ed, certs + "," + plain},
		{"a CA", "@cert-authority jump " + ed, certs + "," + plain},
		{"a CA and a key", "@cert-authority * " + ed + "\njump " + rsaKey, certs + ",rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519"},
		{"a revoked key counts for nothing", "@revoked jump " + ed, certs + "," + plain},
	} {
		h := &HostKeys{Host: "jump", Port: 22, Known: known(t, tt.text)}
		list := strings.Split(certs+","+plain, ",")
		if got := strings.Join(ordered(t, h, list), ","); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	h := &HostKeys{Host: "jump", Port: 2222, Known: known(t, "jump "+ed)}
	if got := ordered(t, h, []string{"rsa-sha2-512", "ssh-ed25519"}); got[0] != "ssh-ed25519" {
		t.Errorf("port, known by the plain name: got %v, want ssh-ed25519 first", got)
	}
}

// ordered is h.Order, which must not fail.
func ordered(t *testing.T, h *HostKeys, list []string) []string {
	t.Helper()
	out, err := h.Order(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
