package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// krlRig is ssh-keygen, and keys to ask it about.
type krlRig struct {
	keygen string
	dir    string
	ca     map[string]ssh.Signer
	keys   []string // files of public keys and certificates
}

// serials are those of the certificates of each CA. 0 is of one without.
var serials = []uint64{0, 1, 2, 3, 7, 63, 64, 65, 100, 500, 1000, 1001, 5000, 1 << 40, 1<<63 + 1, 1<<64 - 2, 1<<64 - 1}

func newKRLRig(t *testing.T) *krlRig {
	t.Helper()
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Fatalf("ssh-keygen is not installed (Debian package openssh-client): %v", err)
	}
	r := &krlRig{keygen: keygen, dir: t.TempDir(), ca: map[string]ssh.Signer{
		"ca1": newSigner(t, "ed25519"), "ca2": newSigner(t, "ecdsa"), "ca3": newSigner(t, "rsa")}}
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		r.write(t, kind, newSigner(t, kind).PublicKey())
	}
	host := newSigner(t, "ed25519").PublicKey()
	r.write(t, "host", host)
	for _, name := range []string{"ca1", "ca2", "ca3"} {
		r.write(t, name, r.ca[name].PublicKey())
		for _, serial := range serials {
			cert := &ssh.Certificate{Key: host, CertType: ssh.HostCert, Serial: serial, KeyId: fmt.Sprintf("%s id %d", name, serial%10),
				ValidPrincipals: []string{"x"}, ValidBefore: ssh.CertTimeInfinity}
			if err := cert.SignCert(rand.Reader, r.ca[name]); err != nil {
				t.Fatal(err)
			}
			r.write(t, fmt.Sprintf("%s-%d", name, serial), cert)
		}
	}
	return r
}

func (r *krlRig) write(t *testing.T, name string, key ssh.PublicKey) {
	t.Helper()
	file := filepath.Join(r.dir, name+".pub")
	if err := os.WriteFile(file, ssh.MarshalAuthorizedKey(key), 0o600); err != nil {
		t.Fatal(err)
	}
	r.keys = append(r.keys, file)
}

// make has ssh-keygen make a KRL of a text, for a CA or none.
func (r *krlRig) make(t *testing.T, ca, spec string) string {
	t.Helper()
	for _, name := range []string{"ed25519", "ecdsa", "rsa", "host", "ca1", "ca1-7", "ca2-7"} {
		text, _ := os.ReadFile(filepath.Join(r.dir, name+".pub"))
		spec = strings.ReplaceAll(spec, "{"+name+"}", strings.TrimSpace(string(text)))
	}
	in := writeFile(t, "spec", spec+"\n")
	out := filepath.Join(t.TempDir(), "krl")
	args := []string{"-q", "-k", "-f", out}
	switch {
	case ca == "none":
		args = append(args, "-s", "none")
	case ca != "":
		args = append(args, "-s", filepath.Join(r.dir, ca+".pub"))
	}
	if text, err := exec.Command(r.keygen, append(args, in)...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", spec, err, text)
	}
	return out
}

// update adds another text to a KRL.
func (r *krlRig) update(t *testing.T, krl, ca, spec string) {
	t.Helper()
	args := []string{"-q", "-k", "-u", "-f", krl, "-s", filepath.Join(r.dir, ca+".pub"), writeFile(t, "spec", spec+"\n")}
	if text, err := exec.Command(r.keygen, args...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", spec, err, text)
	}
}

// theirs is what ssh-keygen says of each key: whether it is revoked. It fails
// for a KRL that it cannot read.
func (r *krlRig) theirs(t *testing.T, krl string, keys []string) ([]bool, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, r.keygen, append([]string{"-Q", "-f", krl}, keys...)...).CombinedOutput()
	exit := (*exec.ExitError)(nil)
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil // some are revoked
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	var revoked []bool
	for _, key := range keys {
		line := findLine(string(out), key+" ")
		bad := strings.HasSuffix(line, "REVOKED")
		if !bad && !strings.HasSuffix(line, "ok") {
			t.Fatalf("%s: got %q from ssh-keygen", key, out)
		}
		revoked = append(revoked, bad)
	}
	return revoked, nil
}

func findLine(text, prefix string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}

func (r *krlRig) ours(t *testing.T, krl string, keys []string) ([]bool, error) {
	t.Helper()
	list, err := ReadRevoked([]string{krl})
	if err != nil {
		return nil, err
	}
	var revoked []bool
	for _, file := range keys {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(text)
		if err != nil {
			t.Fatal(err)
		}
		_, bad := list.find(key)
		revoked = append(revoked, bad)
	}
	return revoked, nil
}

func (r *krlRig) compare(t *testing.T, name, krl string) (revoked int) {
	t.Helper()
	want, err := r.theirs(t, krl, r.keys)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	got, err := r.ours(t, krl, r.keys)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for i, file := range r.keys {
		if got[i] != want[i] {
			t.Errorf("%s: %s: got revoked %v, want %v as ssh-keygen", name, filepath.Base(file), got[i], want[i])
		}
		if want[i] {
			revoked++
		}
	}
	return revoked
}

// krls are the forms that ssh-keygen writes, and how many of the keys they
// revoke.
var krls = []struct {
	name, ca, spec string
	revoked        int
}{
	{"empty", "", "", 0},
	{"a key", "", "key: {ed25519}", 1},
	{"keys", "", "{ed25519}\n{rsa}", 2},
	{"a certified key", "", "key: {host}", 1 + 3*17},
	{"a CA as key", "", "key: {ca1}", 1 + 17},
	{"SHA1", "", "sha1: {ecdsa}", 1},
	{"SHA256", "", "sha256: {rsa}", 1},
	{"SHA256 of a CA", "", "sha256: {ca1}", 1 + 17},
	{"SHA1 of a certified key", "", "sha1: {host}", 1 + 3*17},
	{"all kinds", "", "key: {ed25519}\nsha1: {ecdsa}\nsha256: {rsa}", 3},
	{"a serial", "ca1", "serial: 7", 1},
	{"serials", "ca1", "serial: 1\nserial: 500\nserial: 18446744073709551615", 3},
	{"a range", "ca2", "serial: 3-65", 5},
	{"to the last serial", "ca2", "serial: 1000-18446744073709551615", 7},
	{"a bitmap", "ca1", "serial: 1\nserial: 3\nserial: 5\nserial: 7\nserial: 9\nserial: 63\nserial: 65\nserial: 67-68\nserial: 70", 5},
	{"a bitmap far out", "ca1", "serial: 1099511627770\nserial: 1099511627772\nserial: 1099511627774\nserial: 1099511627776\nserial: 1099511627778", 1},
	{"a bitmap at the end", "ca1", "serial: 18446744073709551605\nserial: 18446744073709551608\nserial: 18446744073709551611\nserial: 18446744073709551613\nserial: 18446744073709551615", 1},
	{"lists, ranges and bitmaps", "ca3", "serial: 1\nserial: 3\nserial: 5\nserial: 7\nserial: 60-90\nserial: 1000\nserial: 5000-9223372036854775809", 9},
	{"IDs", "ca1", "id: ca1 id 7\nid: ca2 id 1\nid: nobody", 1},
	{"IDs of any CA", "none", "id: ca1 id 7\nid: ca2 id 1", 0},
	{"serials of any CA", "none", "serial: 7\nserial: 1000-1001", 9},
	{"a certificate", "", "{ca1-7}", 1},
	{"a certificate without serial", "ca1", "id: ca1 id 0", 0},
}

func TestKRLAsSSHKeygen(t *testing.T) {
	r := newKRLRig(t)
	total := 0
	for _, tt := range krls {
		total += r.compare(t, tt.name, r.make(t, tt.ca, tt.spec))
	}
	file := r.make(t, "ca1", "serial: 7\nid: ca1 id 1")
	r.update(t, file, "ca2", "serial: 1-3\nid: ca2 id 5")
	total += r.compare(t, "two CAs", file)
	if total < 100 {
		t.Errorf("got %d revoked keys in all, want 100 at least: the table tests nothing", total)
	}
}

// A KRL that is cut or changed anywhere is read as ssh-keygen reads it, or not
// at all.
func TestBrokenKRLAsSSHKeygen(t *testing.T) {
	r := newKRLRig(t)
	file := r.make(t, "ca1", "key: {ed25519}\nsha1: {ecdsa}\nsha256: {rsa}\nserial: 1\nserial: 3\nserial: 5\nserial: 7\nserial: 60-90\nserial: 1000\nid: ca1 id 5")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	keys := slices.DeleteFunc(slices.Clone(r.keys), func(f string) bool { return strings.Contains(f, "ca3") })
	bad := 0
	for i := range whole {
		blobs := [][]byte{changed(whole, i, 0x01)}
		if i%3 == 0 {
			blobs = append(blobs, whole[:i], changed(whole, i, 0x80))
		}
		for _, blob := range blobs {
			if len(blob) < len(krlMagic) || !bytes.HasPrefix(blob, []byte(krlMagic)) {
				continue // a list of keys, to us
			}
			if err := os.WriteFile(file, blob, 0o600); err != nil {
				t.Fatal(err)
			}
			want, theirErr := r.theirs(t, file, keys)
			got, ourErr := r.ours(t, file, keys)
			if (theirErr == nil) != (ourErr == nil) || !slices.Equal(got, want) {
				t.Errorf("byte %d of %d, %d long: got %v, %v, want %v, %v as ssh-keygen", i, len(whole), len(blob), got, ourErr, want, theirErr)
			}
			if ourErr != nil {
				bad++
			}
		}
	}
	if bad < 100 {
		t.Errorf("%d broken KRLs: want 100 at least", bad)
	}
}

// changed is blob with some bits of one byte turned.
func changed(blob []byte, i int, bits byte) []byte {
	out := slices.Clone(blob)
	out[i] ^= bits
	return out
}

// krlBlob is a KRL of some sections.
func krlBlob(sections ...[]byte) []byte {
	blob := append([]byte(krlMagic), 0, 0, 0, 1)
	blob = append(blob, make([]byte, 3*8+2*4)...)
	return append(blob, bytes.Join(sections, nil)...)
}

func krlSection(kind byte, parts ...[]byte) []byte {
	data := bytes.Join(parts, nil)
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data))), data...)
}

func wireString(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// What OpenSSH reads only since 9.4, and what it refuses in any version.
func TestKRLSections(t *testing.T) {
	extension := func(kind, critical byte) []byte {
		return krlSection(kind, wireString("x@example.org"), []byte{critical}, wireString("data"))
	}
	inCerts := func(sections ...[]byte) []byte {
		return krlSection(krlCertificates, wireString(""), wireString(""), bytes.Join(sections, nil))
	}
	u64 := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	for _, tt := range []struct {
		name string
		blob []byte
		ok   bool
	}{
		{"nothing", krlBlob(), true},
		{"extension", krlBlob(extension(krlExtension, 0)), true},
		{"critical extension", krlBlob(extension(krlExtension, 1)), false},
		{"extension with more", krlBlob(krlSection(krlExtension, wireString("x"), []byte{0}, wireString(""), []byte{1})), false},
		{"extension of certificates", krlBlob(inCerts(extension(krlCertExtension, 0))), true},
		{"critical extension of certificates", krlBlob(inCerts(extension(krlCertExtension, 1))), false},
		{"unknown section", krlBlob(krlSection(77)), false},
		{"unknown section of certificates", krlBlob(inCerts(krlSection(0x77))), false},
		{"signature", krlBlob(append(krlSection(4, wireString("key")), wireString("sig")...)), false},
		{"version 2", append([]byte(krlMagic), 0, 0, 0, 2), false},
		{"serial 0", krlBlob(inCerts(krlSection(krlSerialList, u64(0)))), false},
		{"range backwards", krlBlob(inCerts(krlSection(krlSerialRange, u64(5), u64(4)))), false},
		{"range with more", krlBlob(inCerts(krlSection(krlSerialRange, u64(1), u64(4), []byte{0}))), false},
		{"bitmap of serial 0", krlBlob(inCerts(krlSection(krlSerialBitmap, u64(0), wireString("\x01")))), false},
		{"bitmap at 0", krlBlob(inCerts(krlSection(krlSerialBitmap, u64(0), wireString("\x02")))), true},
		{"empty bitmap", krlBlob(inCerts(krlSection(krlSerialBitmap, u64(0), wireString("")))), true},
		{"negative bitmap", krlBlob(inCerts(krlSection(krlSerialBitmap, u64(1), wireString("\x80")))), false},
		{"bitmap past the end", krlBlob(inCerts(krlSection(krlSerialBitmap, u64(1<<64-1), wireString("\x02")))), false},
		{"bitmap to the end", krlBlob(inCerts(krlSection(krlSerialBitmap, u64(1<<64-1), wireString("\x01")))), true},
		{"largest bitmap", krlBlob(inCerts(krlSection(krlSerialBitmap, u64(1), wireString("\x00"+strings.Repeat("\xff", maxBitmap))))), true},
		{"larger bitmap", krlBlob(inCerts(krlSection(krlSerialBitmap, u64(1), wireString("\x01"+strings.Repeat("\xff", maxBitmap))))), false},
		{"NUL in an ID", krlBlob(inCerts(krlSection(krlKeyID, wireString("a\x00b")))), false},
		{"NUL behind an ID", krlBlob(inCerts(krlSection(krlKeyID, wireString("ab\x00")))), true},
		{"unknown CA", krlBlob(krlSection(krlCertificates, wireString("xyz"), wireString(""))), false},
		{"short SHA1", krlBlob(krlSection(krlSHA1, wireString("xyz"))), false},
		{"short SHA256", krlBlob(krlSection(krlSHA256, wireString(strings.Repeat("x", 20)))), false},
	} {
		_, err := parseKRL(tt.blob)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, errKRL) {
			t.Errorf("%s: got %v, want ok %v", tt.name, err, tt.ok)
		}
	}
}

func FuzzKRL(f *testing.F) {
	key := "\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + strings.Repeat("k", 32)
	ids := krlSection(krlCertificates, wireString(key), wireString(""),
		krlSection(krlKeyID, wireString("id")), krlSection(krlSerialList, make([]byte, 7), []byte{9}),
		krlSection(krlSerialBitmap, make([]byte, 7), []byte{1}, wireString("\x05")))
	seeds := [][]byte{
		krlBlob(), krlBlob(ids), krlBlob(krlSection(krlKeys, wireString(key))),
		krlBlob(krlSection(krlSHA1, wireString(strings.Repeat("x", 20))), krlSection(krlSHA256, wireString(strings.Repeat("x", 32)))),
		krlBlob(krlSection(krlExtension, wireString("x"), []byte{0}, wireString(""))), []byte(krlMagic),
		krlBlob(ids)[:80],
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add(s)
	}
	signer := newSigner(f, "ed25519")
	cert := &ssh.Certificate{Key: signer.PublicKey(), Serial: 9, KeyId: "id", CertType: ssh.HostCert}
	if err := cert.SignCert(rand.Reader, signer); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, blob []byte) {
		if !bytes.HasPrefix(blob, []byte(krlMagic)) {
			return
		}
		k, err := parseKRL(blob)
		if err != nil {
			if k != nil || !errors.Is(err, errKRL) {
				t.Errorf("got %v, %v, want a malformed KRL", k, err)
			}
			return
		}
		was := k.revokes(cert)
		// Another section only adds.
		more, err := parseKRL(append(slices.Clone(blob), krlSection(krlKeys, wireString(string(signer.PublicKey().Marshal())))...))
		if err != nil || !more.revokes(cert) || !more.revokes(signer.PublicKey()) {
			t.Errorf("got %v, revoked before: %v; want the key added to be revoked", err, was)
		}
		for n := range blob[len(krlMagic):] {
			if cut, err := parseKRL(blob[:len(krlMagic)+n]); err == nil && cut.revokes(cert) && !was {
				t.Errorf("cut to %d bytes it revokes more", n)
			}
		}
	})
}
