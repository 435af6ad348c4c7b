package auth

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/crypto/ssh"
)

// RevokedKeys are the keys of some RevokedHostKeys files. The zero value revokes
// nothing.
type RevokedKeys struct{ files []revokedFile }

// revokedFile is a list of public keys, or a KRL.
type revokedFile struct {
	name string
	keys []ssh.PublicKey
	krl  *krl
}

// ReadRevoked reads files of public keys, and binary KRLs (PROTOCOL.krl). One
// that cannot be read, or holds anything else, is an error: OpenSSH then refuses
// every host key, and so must the caller.
func ReadRevoked(files []string) (RevokedKeys, error) {
	var r RevokedKeys
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return r, fmt.Errorf("read RevokedHostKeys: %w", err)
		}
		f := revokedFile{name: file}
		if bytes.HasPrefix(text, []byte(krlMagic)) {
			f.krl, err = parseKRL(text)
		} else {
			f.keys, err = parseKeyList(text)
		}
		if err != nil {
			return r, fmt.Errorf("read RevokedHostKeys %s: %w", file, err)
		}
		r.files = append(r.files, f)
	}
	return r, nil
}

// parseKeyList reads one key a line. A key that is too short to be used is
// skipped (sshkey_in_file, authfile.c).
func parseKeyList(text []byte) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	n := 0
	for raw := range bytes.Lines(text) {
		n++
		raw, _, _ = bytes.Cut(bytes.TrimSuffix(raw, []byte("\n")), []byte{0})
		raw = bytes.TrimLeft(raw, blanks)
		if len(raw) == 0 || raw[0] == '#' {
			continue
		}
		key, err := parseKey(string(raw))
		if errors.Is(err, errKeyLength) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		keys = append(keys, plainKey(key))
	}
	return keys, nil
}

// find returns the file that revokes key or, if it is a certificate, the key in
// it, its CA, serial number or ID.
func (r RevokedKeys) find(key ssh.PublicKey) (string, bool) {
	for _, f := range r.files {
		listed := func(k ssh.PublicKey) bool {
			return slices.ContainsFunc(f.keys, func(bad ssh.PublicKey) bool { return sameKey(bad, k) })
		}
		if slices.ContainsFunc(withCA(key), listed) || f.krl != nil && f.krl.revokes(key) {
			return f.name, true
		}
	}
	return "", false
}

// The numbers of PROTOCOL.krl. Of signatures (section 4) OpenSSH 9.4 and later
// refuse a KRL that has one, and so do we: a signature is nothing without a key
// to check it against.
const (
	krlMagic   = "SSHKRL\n\x00"
	krlVersion = 1

	krlCertificates = 1
	krlKeys         = 2
	krlSHA1         = 3
	krlSHA256       = 5
	krlExtension    = 255

	krlSerialList    = 0x20
	krlSerialRange   = 0x21
	krlSerialBitmap  = 0x22
	krlKeyID         = 0x23
	krlCertExtension = 0x39
)

// maxBitmap is the longest serial bitmap that OpenSSH takes, in bytes.
const maxBitmap = 16384 / 8

// krl is a parsed key revocation list.
type krl struct {
	keys, sha1s, sha256s map[string]bool // blobs of keys, and their hashes
	certs                []krlCerts
}

// krlCerts are the revoked certificates of one CA.
type krlCerts struct {
	ca      []byte // empty: of every CA
	ranges  []serialRange
	bitmaps []serialBitmap
	ids     map[string]bool
}

type serialRange struct{ lo, hi uint64 }

// serialBitmap has bit N, counted from the end, for the serial first+N.
type serialBitmap struct {
	first uint64
	bits  []byte
}

var errKRL = errors.New("malformed KRL")

func parseKRL(blob []byte) (*krl, error) {
	k := &krl{keys: map[string]bool{}, sha1s: map[string]bool{}, sha256s: map[string]bool{}}
	r := &wireReader{rest: blob[len(krlMagic):]}
	if v := r.uint32(); r.bad || v != krlVersion {
		return nil, fmt.Errorf("%w: version %d", errKRL, v)
	}
	r.uint64() // version of the list
	r.uint64() // time
	r.uint64() // flags
	r.bytes()  // reserved
	r.text()   // comment
	for !r.bad && len(r.rest) > 0 {
		if err := k.section(r.byte(), &wireReader{rest: r.bytes()}); err != nil {
			return nil, err
		}
	}
	if r.bad {
		return nil, fmt.Errorf("%w: cut short", errKRL)
	}
	return k, nil
}

func (k *krl) section(kind byte, r *wireReader) error {
	switch kind {
	case krlCertificates:
		return k.certificates(r)
	case krlKeys:
		return r.blobs(k.keys, 0)
	case krlSHA1:
		return r.blobs(k.sha1s, sha1.Size)
	case krlSHA256:
		return r.blobs(k.sha256s, sha256.Size)
	case krlExtension:
		return r.extension()
	}
	return fmt.Errorf("%w: section of type %d", errKRL, kind)
}

func (k *krl) certificates(r *wireReader) error {
	c := krlCerts{ca: r.bytes(), ids: map[string]bool{}}
	r.bytes() // reserved
	if len(c.ca) > 0 {
		key, err := ssh.ParsePublicKey(c.ca)
		if err != nil {
			return fmt.Errorf("%w: CA: %w", errKRL, err)
		}
		c.ca = key.Marshal()
	}
	for !r.bad && len(r.rest) > 0 {
		kind, in := r.byte(), &wireReader{rest: r.bytes()}
		if err := c.section(kind, in); err != nil {
			return err
		}
		if in.bad || len(in.rest) > 0 {
			return fmt.Errorf("%w: certificate section of type %#x", errKRL, kind)
		}
	}
	if r.bad {
		return fmt.Errorf("%w: certificates cut short", errKRL)
	}
	k.certs = append(k.certs, c)
	return nil
}

func (c *krlCerts) section(kind byte, r *wireReader) error {
	switch kind {
	case krlSerialList:
		for !r.bad && len(r.rest) > 0 {
			serial := r.uint64()
			if err := c.addRange(serial, serial); err != nil {
				return err
			}
		}
		return nil
	case krlSerialRange:
		return c.addRange(r.uint64(), r.uint64())
	case krlSerialBitmap:
		return c.addBitmap(serialBitmap{r.uint64(), r.bytes()})
	case krlKeyID:
		for !r.bad && len(r.rest) > 0 {
			c.ids[r.text()] = true
		}
		return nil
	case krlCertExtension:
		return r.extension()
	}
	return fmt.Errorf("%w: certificate section of type %#x", errKRL, kind)
}

// addRange refuses serial 0, which stands for "none given" and is never
// revoked.
func (c *krlCerts) addRange(lo, hi uint64) error {
	if lo == 0 || lo > hi {
		return fmt.Errorf("%w: serials %d to %d", errKRL, lo, hi)
	}
	c.ranges = append(c.ranges, serialRange{lo, hi})
	return nil
}

// addBitmap takes an mpint, which is not negative.
func (c *krlCerts) addBitmap(b serialBitmap) error {
	bad := len(b.bits) > 0 && b.bits[0]&0x80 != 0 || len(b.bits) > maxBitmap+1
	b.bits = bytes.TrimLeft(b.bits, "\x00")
	if bad || len(b.bits) > maxBitmap || b.first == 0 && b.has(0) {
		return fmt.Errorf("%w: bitmap", errKRL)
	}
	if n := b.last(); b.first+n < b.first {
		return fmt.Errorf("%w: bitmap beyond the last serial", errKRL)
	}
	c.bitmaps = append(c.bitmaps, b)
	return nil
}

// last is the number of the highest bit set.
func (b serialBitmap) last() uint64 {
	n := uint64(8 * len(b.bits))
	for n > 0 && !b.bit(n-1) {
		n--
	}
	return max(n, 1) - 1
}

func (b serialBitmap) bit(n uint64) bool {
	return b.bits[uint64(len(b.bits))-1-n/8]>>(n%8)&1 != 0
}

func (b serialBitmap) has(serial uint64) bool {
	n := serial - b.first
	return serial >= b.first && n < uint64(8*len(b.bits)) && b.bit(n)
}

// revokes says whether key, or anything that a certificate stands on, is listed.
func (k *krl) revokes(key ssh.PublicKey) bool {
	if slices.ContainsFunc(withCA(key), k.lists) {
		return true
	}
	cert, ok := key.(*ssh.Certificate)
	return ok && slices.ContainsFunc(k.certs, func(c krlCerts) bool { return c.revokes(cert) })
}

func (k *krl) lists(key ssh.PublicKey) bool {
	blob := key.Marshal()
	hash1, hash256 := sha1.Sum(blob), sha256.Sum256(blob)
	return k.keys[string(blob)] || k.sha1s[string(hash1[:])] || k.sha256s[string(hash256[:])]
}

func (c *krlCerts) revokes(cert *ssh.Certificate) bool {
	if len(c.ca) > 0 && !bytes.Equal(c.ca, cert.SignatureKey.Marshal()) {
		return false
	}
	return c.ids[cText(cert.KeyId)] ||
		slices.ContainsFunc(c.ranges, func(r serialRange) bool { return r.lo <= cert.Serial && cert.Serial <= r.hi }) ||
		slices.ContainsFunc(c.bitmaps, func(b serialBitmap) bool { return b.has(cert.Serial) })
}

// wireReader reads the data types of RFC 4251, section 5. After a failure bad is
// true and every value zero.
type wireReader struct {
	rest []byte
	bad  bool
}

func (r *wireReader) next(n uint64) []byte {
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *wireReader) byte() byte {
	if b := r.next(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *wireReader) uint32() uint32 {
	if b := r.next(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *wireReader) uint64() uint64 {
	if b := r.next(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *wireReader) bytes() []byte { return r.next(uint64(r.uint32())) }

// text is a string in which a NUL can only be the last byte, and counts for
// nothing there (sshbuf_get_cstring).
func (r *wireReader) text() string {
	b := r.bytes()
	if i := bytes.IndexByte(b, 0); i >= 0 && i < len(b)-1 {
		r.bad = true
		return ""
	}
	return cText(string(b))
}

// cText is a C string's text.
func cText(s string) string {
	b, _, _ := bytes.Cut([]byte(s), []byte{0})
	return string(b)
}

// blobs reads strings to the end into set. A size other than 0 is that of each.
func (r *wireReader) blobs(set map[string]bool, size int) error {
	for !r.bad && len(r.rest) > 0 {
		b := r.bytes()
		r.bad = r.bad || size > 0 && len(b) != size
		set[string(b)] = true
	}
	if r.bad {
		return fmt.Errorf("%w: list of keys", errKRL)
	}
	return nil
}

// extension skips what may be skipped: OpenSSH 9.4 and later.
func (r *wireReader) extension() error {
	name, critical := r.text(), r.byte()
	r.bytes()
	if r.bad || len(r.rest) > 0 || critical != 0 {
		return fmt.Errorf("%w: extension %q", errKRL, name)
	}
	return nil
}
