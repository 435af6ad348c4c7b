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

// entry is one line of a file that names the host asked for.
type entry struct {
	marker string // "", "@cert-authority" or "@revoked"
	key    ssh.PublicKey
	file   string
	line   int
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
		n := 0
		for raw := range bytes.Lines(f.text) {
			n++
			if e, ok := parseEntry(string(bytes.TrimSpace(raw)), name); ok {
				e.file, e.line = f.name, n
				found = append(found, e)
			}
		}
	}
	return found
}

// parseEntry parses a line if it names the host: [marker] names type base64
// [comment], sshd(8) SSH_KNOWN_HOSTS FILE FORMAT.
func parseEntry(text, name string) (entry, bool) {
	fields := strings.Fields(text)
	if len(fields) == 0 || fields[0][0] == '#' {
		return entry{}, false
	}
	var e entry
	if strings.HasPrefix(fields[0], "@") {
		e.marker, fields = fields[0], fields[1:]
		if e.marker != "@cert-authority" && e.marker != "@revoked" {
			return entry{}, false
		}
	}
	if len(fields) < 3 || !namesHost(fields[0], name) {
		return entry{}, false
	}
	blob, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil {
		return entry{}, false
	}
	e.key, err = ssh.ParsePublicKey(blob)
	if err != nil || e.key.Type() != fields[1] {
		return entry{}, false
	}
	return e, true
}

// namesHost matches the first field of a line: patterns, or one hashed name.
func namesHost(field, name string) bool {
	if hashed, ok := strings.CutPrefix(field, "|1|"); ok {
		salt64, hash64, _ := strings.Cut(hashed, "|")
		salt, err1 := base64.StdEncoding.DecodeString(salt64)
		hash, err2 := base64.StdEncoding.DecodeString(hash64)
		mac := hmac.New(sha1.New, salt)
		mac.Write([]byte(name))
		return err1 == nil && err2 == nil && len(salt) == sha1.Size && hmac.Equal(hash, mac.Sum(nil))
	}
	return pattern.MatchAny(name, strings.Split(field, ","))
}
