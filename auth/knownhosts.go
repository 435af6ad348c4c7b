// Package auth decides who we talk to (known_hosts) and who we are (agent,
// keys, certificates) on an SSH connection of our own. It fails closed: what it
// cannot read or does not know is refused.
package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"ssh-stay/pattern"
)

// KnownHosts is the text of some known_hosts files, in order. Lines that
// OpenSSH would skip (unreadable, of an unknown key type) are skipped.
type KnownHosts struct{ files []knownFile }

type knownFile struct {
	name string
	text []byte
}

// The markers of known_hosts lines.
const (
	markCA      = "@cert-authority"
	markRevoked = "@revoked"
)

// blanks separate the fields of a line; a carriage return does not.
const blanks = " \t"

// entry is one line of a file that names the host asked for.
type entry struct {
	marker  string // "", markCA or markRevoked
	key     ssh.PublicKey
	file    string // of a command: its tag
	line    int
	command bool // from KnownHostsCommand
}

// ReadKnownHosts reads the files that exist. Any other failure to read one is
// an error: a @revoked line in it would be missed.
func ReadKnownHosts(names []string) (*KnownHosts, error) {
	k := &KnownHosts{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read known_hosts: %w", err)
		}
		k.files = append(k.files, knownFile{name, text})
	}
	return k, nil
}

// lookup returns the entries for name, which is lower case and, for a port
// other than 22, of the form [host]:port.
func (k *KnownHosts) lookup(name string) []entry {
	var found []entry
	for _, f := range k.files {
		found = append(found, f.lookup(name)...)
	}
	return found
}

func (f knownFile) lookup(name string) []entry {
	var found []entry
	n := 0
	for raw := range bytes.Lines(f.text) {
		n++
		if e, ok := parseEntry(string(raw), name); ok {
			e.file, e.line = f.name, n
			found = append(found, e)
		}
	}
	return found
}

// parseEntry parses a line if it names the host.
func parseEntry(text, name string) (entry, bool) {
	l, ok := splitLine(text)
	if !ok || !namesHost(l.hosts, name) {
		return entry{}, false
	}
	key, err := parseKey(l.key)
	return entry{marker: l.marker, key: key}, err == nil
}

// knownLine is a line's parts: [marker] hosts type base64 [comment], as in
// sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
type knownLine struct{ marker, hosts, key string }

// splitLine says false for a line that says nothing of a key. OpenSSH reads
// lines as C strings, which end at a NUL.
func splitLine(text string) (knownLine, bool) {
	text, _, _ = strings.Cut(strings.TrimSuffix(text, "\n"), "\x00")
	text = strings.TrimLeft(text, blanks)
	if text == "" || text[0] == '#' {
		return knownLine{}, false
	}
	marker, text, ok := cutMarker(text)
	if !ok {
		return knownLine{}, false
	}
	hosts, key := cutBlank(text)
	return knownLine{marker, hosts, key}, key != "" && key[0] != '#'
}

// maxMarker is the longest marker that OpenSSH reads (check_markers,
// hostfile.c).
const maxMarker = 31

// cutMarker cuts the marker off. As for OpenSSH it ends at the line's first
// space, and at a tab only where no space follows anywhere: a marker with a tab
// behind it spoils a line that has spaces as well.
func cutMarker(text string) (marker, rest string, ok bool) {
	if !strings.HasPrefix(text, "@") {
		return "", text, true
	}
	end := strings.IndexByte(text, ' ')
	if end < 0 {
		end = strings.IndexByte(text, '\t')
	}
	if end < 0 || end > maxMarker {
		return "", "", false
	}
	marker, rest = text[:end], strings.TrimLeft(text[end:], blanks)
	known := marker == markCA || marker == markRevoked
	return marker, rest, known && !strings.HasPrefix(rest, "@")
}

// cutBlank cuts the first field off.
func cutBlank(text string) (field, rest string) {
	end := strings.IndexAny(text, blanks)
	if end < 0 {
		return text, ""
	}
	return text[:end], strings.TrimLeft(text[end:], blanks)
}

// errKeyLength is an RSA key shorter than OpenSSH reads at all.
var errKeyLength = errors.New("RSA key is too short")

// parseKey parses "type base64 [comment]" as OpenSSH does (sshkey_read).
func parseKey(text string) (ssh.PublicKey, error) {
	kind, rest := cutBlank(text)
	text64, _ := cutBlank(rest)
	blob, err := decodeBase64(text64)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, err
	}
	if key.Type() != keyTypeOf(kind) {
		return nil, fmt.Errorf("key of type %s where %s was said", key.Type(), kind)
	}
	if bits := rsaBits(key); bits > 0 && bits < minRSABits {
		return nil, errKeyLength
	}
	return key, nil
}

// decodeBase64 is b64_pton of libresolv: white space counts nowhere, padding
// and the bits it hides count.
func decodeBase64(text string) ([]byte, error) {
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\n\v\f\r", r) {
			return -1
		}
		return r
	}, text)
	return base64.StdEncoding.Strict().DecodeString(text)
}

// hashMagic begins a hashed name.
const hashMagic = "|1|"

// namesHost matches the first field of a line: patterns, or one hashed name.
func namesHost(field, name string) bool {
	if !strings.HasPrefix(field, "|") {
		return pattern.MatchAny(name, strings.Split(field, ","))
	}
	text, ok := strings.CutPrefix(field, hashMagic)
	salt64, _, found := strings.Cut(text, "|")
	salt, err := decodeBase64(salt64)
	return ok && found && err == nil && len(salt) == sha1.Size && field == hashName(salt, name)
}

// hashName is a name as HashKnownHosts writes it.
func hashName(salt []byte, name string) string {
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return hashMagic + base64.StdEncoding.EncodeToString(salt) + "|" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// named is a place where a key stands under some other name.
type named struct {
	file  string
	line  int
	hosts string
}

// otherNames are the lines with key that do not name the host.
func (k *KnownHosts) otherNames(host string, key ssh.PublicKey) []named {
	var found []named
	for _, f := range k.files {
		n := 0
		for raw := range bytes.Lines(f.text) {
			n++
			l, ok := splitLine(string(raw))
			if !ok || l.marker != "" || namesHost(l.hosts, host) {
				continue
			}
			if other, err := parseKey(l.key); err == nil && sameKey(other, key) {
				found = append(found, named{f.name, n, l.hosts})
			}
		}
	}
	return found
}
