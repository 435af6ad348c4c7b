package auth

import (
	"context"
	"crypto"
	_ "crypto/md5" // FingerprintHash MD5
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"ssh-stay/pattern"
)

// What the user reads here is worded as OpenSSH words it (check_host_key,
// sshconnect.c), for tools match on it. Its form "but keys of different type are
// already known for this host" cannot come up: any other key known for the name
// makes the host a changed one, which is not asked about.

var errNobody = errors.New("nobody to ask")

// noAddr stands in the question where there is no address to show.
const noAddr = "<no hostip for proxy command>"

// askNew asks whether to trust a new key.
func (h *HostKeys) askNew(ctx context.Context, p *place, key ssh.PublicKey) error {
	addr := noAddr
	if h.Addr.IsValid() {
		addr = h.withPort(h.Addr.String(), p.bare)
	}
	fingerprint := h.fingerprint(key)
	line := " " + fingerprint + "."
	if h.FingerprintAsIn10 != nil && h.FingerprintAsIn10() {
		line = ": " + fingerprint
	}
	text := fmt.Sprintf("The authenticity of host '%.200s (%s)' can't be established.\n%s key fingerprint is%s\n%s\n%s",
		p.host, addr, keyKind(key), line, h.otherNames(p.host, key),
		"Are you sure you want to continue connecting (yes/no/[fingerprint])? ")
	return h.confirm(ctx, text, fingerprint)
}

// confirm asks until it has an answer: yes, no, nothing at all, or the
// fingerprint if there is one.
func (h *HostKeys) confirm(ctx context.Context, text, fingerprint string) error {
	if h.Ask == nil {
		return errNobody
	}
	again := "Please type 'yes' or 'no': "
	if fingerprint != "" {
		again = "Please type 'yes', 'no' or the fingerprint: "
	}
	for ; ; text = again {
		answer, err := h.Ask(ctx, text)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		answer = strings.TrimLeft(answer, blanks)
		if end := strings.IndexAny(answer, blanks+"\n"); end >= 0 {
			answer = answer[:end]
		}
		switch word := pattern.Lower(answer); {
		case word == "" || word == "no":
			return ErrNotConfirmed
		case word == "yes" || fingerprint != "" && answer == fingerprint:
			return nil
		}
	}
}

// fingerprint is a key's, by FingerprintHash.
func (h *HostKeys) fingerprint(key ssh.PublicKey) string {
	name := strings.ToUpper(h.FingerprintHash)
	hash, ok := map[string]crypto.Hash{
		"MD5": crypto.MD5, "SHA1": crypto.SHA1, "SHA384": crypto.SHA384, "SHA512": crypto.SHA512,
	}[name]
	if !ok {
		return ssh.FingerprintSHA256(key)
	}
	sum := hash.New()
	sum.Write(plainKey(key).Marshal())
	if name != "MD5" {
		return name + ":" + base64.RawStdEncoding.EncodeToString(sum.Sum(nil))
	}
	var parts []string
	for _, b := range sum.Sum(nil) {
		parts = append(parts, hex.EncodeToString([]byte{b}))
	}
	return name + ":" + strings.Join(parts, ":")
}

// maxOtherNames is how many other names of a key are shown.
const maxOtherNames = 8

// otherNames says under what other names key is known.
func (h *HostKeys) otherNames(host string, key ssh.PublicKey) string {
	found := h.Known.otherNames(host, key)
	if len(found) == 0 {
		return "This key is not known by any other names."
	}
	var b strings.Builder
	b.WriteString("This host key is known by the following other names/addresses:")
	for _, n := range found[:min(len(found), maxOtherNames)] {
		hosts := n.hosts
		if strings.HasPrefix(hosts, hashMagic) {
			hosts = "[hashed name]"
		}
		fmt.Fprintf(&b, "\n    %s:%d: %s", shortPath(n.file), n.line, hosts)
	}
	if more := len(found) - maxOtherNames; more > 0 {
		fmt.Fprintf(&b, "\n    (%d additional names omitted)", more)
	}
	return b.String()
}

// shortPath writes a file in the home folder with ~/.
func shortPath(file string) string {
	home := os.Getenv("HOME")
	rest, inHome := strings.CutPrefix(file, home)
	if home == "" || !strings.HasPrefix(file, "/") || !inHome ||
		!strings.HasSuffix(home, "/") && !strings.HasPrefix(rest, "/") {
		return file
	}
	return "~/" + strings.TrimPrefix(rest, "/")
}

const rule = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@"

func (p *place) warnRevoked(key ssh.PublicKey) {
	p.h.warn("%s\n@       WARNING: REVOKED HOST KEY DETECTED!               @\n%s", rule, rule)
	p.h.warn("The %s host key for %s is marked as revoked.", keyKind(key), p.host)
	p.h.warn("This could mean that a stolen key is being used to\nimpersonate this host.")
}

func (p *place) warnSpoofed(key ssh.PublicKey, addrWas standing, addrFound *entry) {
	state := "has a different value"
	switch addrWas {
	case keyNew:
		state = "is unknown"
	case keyKnown:
		state = "is unchanged"
	}
	p.h.warn("%s\n@       WARNING: POSSIBLE DNS SPOOFING DETECTED!          @\n%s", rule, rule)
	p.h.warn("The %s host key for %s has changed,", keyKind(key), p.host)
	p.h.warn("and the key for the corresponding IP address %s\n%s. This could either mean that", p.addr, state)
	p.h.warn("DNS SPOOFING is happening or the IP address for the host\nand its host key have changed at the same time.")
	if addrFound != nil {
		p.h.warn("Offending key for IP in %s:%d", addrFound.file, addrFound.line)
	}
}

func (p *place) warnChanged(key ssh.PublicKey, found *entry) {
	p.h.warn("%s\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n%s", rule, rule)
	p.h.warn("IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!")
	p.h.warn("Someone could be eavesdropping on you right now (man-in-the-middle attack)!")
	p.h.warn("It is also possible that a host key has just been changed.")
	p.h.warn("The fingerprint for the %s key sent by the remote host is\n%s.", keyKind(key), p.h.fingerprint(key))
	p.h.warn("Please contact your system administrator.")
	file := p.h.UserFile
	if file == "" && len(p.h.Known.files) > 0 {
		file = p.h.Known.files[0].name
	}
	if file != "" {
		p.h.warn("Add correct host key in %.100s to get rid of this message.", file)
	}
	p.h.warn("Offending %s key in %s:%d", keyKind(found.key), found.file, found.line)
}

// distrust lets the connection go on without what a man in the middle could
// use.
func (p *place) distrust() {
	p.distrusted = true
	p.h.warn("Password authentication is disabled to avoid man-in-the-middle attacks.")
	p.h.warn("Keyboard-interactive authentication is disabled to avoid man-in-the-middle attacks.")
}

// addrText tells that the address has another key than the name.
func (p *place) addrText(key ssh.PublicKey, was standing, found, addrFound *entry) string {
	text := fmt.Sprintf("Warning: the %s host key for '%.200s' differs from the key for the IP address '%.128s'\nOffending key for IP in %s:%d",
		keyKind(key), p.host, p.addr, addrFound.file, addrFound.line)
	if was == keyKnown {
		text += fmt.Sprintf("\nMatching host key in %s:%d", found.file, found.line)
	}
	return text
}
