package auth

import (
	"crypto/rand"
	"crypto/sha1"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// writable says whether new keys of this host can be recorded. A name that
// could be read as a pattern, a hash, a marker or another field is never
// written; ssh refuses a new key that it cannot record, without a question.
func (h *HostKeys) writable() bool {
	const special = "@?*#[]|'\"\\"
	name := h.hostName(true)
	return h.UserFile != "" && name != "" && !strings.ContainsAny(h.Host+name, special) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == ',' || r == '!' || r == 0x7f })
}

// add records a new key. A file that cannot be written is no reason to fail.
func (p *place) add(key ssh.PublicKey, addrWas standing) {
	names := []string{p.host}
	if p.addr != "" && addrWas == keyNew {
		names = append(names, p.addr)
	}
	if err := p.h.record(names, key); err != nil {
		p.h.info("Failed to add the host to the list of known hosts (%.500s).", p.h.UserFile)
		return
	}
	p.h.info("Warning: Permanently added '%.200s' (%s) to the list of known hosts.", strings.Join(names, ","), keyKind(key))
}

// addAddr records the address of a host that is known by name.
func (p *place) addAddr(key ssh.PublicKey, found *entry) {
	switch {
	case p.bare || !p.h.writable() || found.command:
		p.h.info("%s host key for IP address '%.128s' not in list of known hosts.", keyKind(key), p.addr)
	case p.h.record([]string{p.addr}, key) != nil:
		p.h.info("Failed to add the %s host key for IP address '%.128s' to the list of known hosts (%.500s).",
			keyKind(key), p.addr, p.h.UserFile)
	default:
		p.h.info("Warning: Permanently added the %s host key for IP address '%.128s' to the list of known hosts.",
			keyKind(key), p.addr)
	}
}

// record appends the key to UserFile: one line, or one a name where they are
// hashed.
func (h *HostKeys) record(names []string, key ssh.PublicKey) error {
	line := " " + string(ssh.MarshalAuthorizedKey(key))
	text := strings.Join(names, ",") + line
	if h.Hash {
		text = ""
		for _, name := range names {
			salt := make([]byte, sha1.Size)
			rand.Read(salt)
			text += hashName(salt, name) + line
		}
	}
	err := appendLines(h.UserFile, text)
	if err != nil {
		h.log().Warn("host key not recorded", "err", err)
	}
	return err
}

// appendLines appends whole lines to a file in one write, so that what others
// append meanwhile stays whole too, behind a newline where the last line has
// none. On failure the file is as before.
func appendLines(file, text string) error {
	makeUserDir(file)
	f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	open, err := endsOpen(f)
	if err == nil {
		if open {
			text = "\n" + text
		}
		var n int
		if n, err = io.WriteString(f, text); err != nil {
			err = errors.Join(err, takeBack(f, n))
		}
	}
	return errors.Join(err, f.Close())
}

// endsOpen says whether the last line of f has no newline.
func endsOpen(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false, err
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, info.Size()-1)
	return last[0] != '\n', err
}

// takeBack removes the n bytes just written, unless another process has
// appended behind them.
func takeBack(f *os.File, n int) error {
	if n == 0 {
		return nil
	}
	end, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil || info.Size() != end {
		return err
	}
	return f.Truncate(end - int64(n))
}

// makeUserDir makes ~/.ssh for a file in it. A failure shows when the file is
// opened.
func makeUserDir(file string) {
	home, err := os.UserHomeDir()
	if err != nil {
		return
	}
	dir := filepath.Join(home, ".ssh")
	if strings.HasPrefix(file, dir+string(filepath.Separator)) {
		os.Mkdir(dir, 0o700)
	}
}
