package config

import (
	"fmt"
	"slices"
	"strings"

	"ssh-stay/pattern"
)

// family is a kind of algorithm, with a name space and defaults of its own.
type family int

const (
	ciphers family = iota + 1
	macs
	kexes
	hostKeys   // host keys and user keys
	signatures // of certificates
)

const (
	knownCiphers = "3des-cbc,aes128-cbc,aes192-cbc,aes256-cbc,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com"
	knownMACs    = "hmac-sha1,hmac-sha1-96,hmac-sha2-256,hmac-sha2-512,hmac-md5,hmac-md5-96,umac-64@openssh.com,umac-128@openssh.com,hmac-sha1-etm@openssh.com,hmac-sha1-96-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-md5-etm@openssh.com,hmac-md5-96-etm@openssh.com,umac-64-etm@openssh.com,umac-128-etm@openssh.com"
	knownKex     = "diffie-hellman-group1-sha1,diffie-hellman-group14-sha1,diffie-hellman-group14-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group-exchange-sha1,diffie-hellman-group-exchange-sha256,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,curve25519-sha256,curve25519-sha256@libssh.org,sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,mlkem768x25519-sha256"
	knownKeys    = "ssh-ed25519,ssh-ed25519-cert-v01@openssh.com,sk-ssh-ed25519@openssh.com,sk-ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256,ecdsa-sha2-nistp256-cert-v01@openssh.com,ecdsa-sha2-nistp384,ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp521,ecdsa-sha2-nistp521-cert-v01@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,sk-ecdsa-sha2-nistp256-cert-v01@openssh.com,webauthn-sk-ecdsa-sha2-nistp256@openssh.com,webauthn-sk-ecdsa-sha2-nistp256-cert-v01@openssh.com,ssh-dss,ssh-dss-cert-v01@openssh.com,ssh-rsa,ssh-rsa-cert-v01@openssh.com,rsa-sha2-256,rsa-sha2-256-cert-v01@openssh.com,rsa-sha2-512,rsa-sha2-512-cert-v01@openssh.com"

	// shortKeys are names that OpenSSH lets pass for key types, though nothing
	// matches them.
	shortKeys = "ed25519,ed25519-sk,ecdsa,ecdsa-sk,dsa,rsa"

	// The default proposals of OpenSSH 10.3; defaults takes out what an older
	// one does not know.
	defaultCiphers  = "chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr"
	defaultMACs     = "umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,umac-64@openssh.com,umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1"
	defaultKex      = "mlkem768x25519-sha256,sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group14-sha256"
	defaultHostKeys = "ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com,ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp521-cert-v01@openssh.com,sk-ssh-ed25519-cert-v01@openssh.com,sk-ecdsa-sha2-nistp256-cert-v01@openssh.com,webauthn-sk-ecdsa-sha2-nistp256-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,webauthn-sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256"
	defaultCA       = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,webauthn-sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256"
	defaultGSSKex   = "gss-group14-sha256-,gss-group16-sha512-,gss-nistp256-sha256-,gss-curve25519-sha256-,gss-group14-sha1-,gss-gex-sha1-"
)

// known are all algorithms of a family that OpenSSH 9.2 to 10.3 know, in the
// order of `ssh -Q`.
func (f family) known() []string {
	list := map[family]string{ciphers: knownCiphers, macs: knownMACs, kexes: knownKex, hostKeys: knownKeys, signatures: knownKeys}[f]
	names := strings.Split(list, ",")
	if f == signatures {
		names = slices.DeleteFunc(names, func(a string) bool { return strings.Contains(a, "-cert-") })
	}
	return names
}

// versioned says whether OpenSSH versions differ over an algorithm.
func versioned(name string) bool {
	return name == "mlkem768x25519-sha256" || name == "sntrup761x25519-sha512" ||
		strings.HasPrefix(name, "webauthn-") || strings.HasPrefix(name, "ssh-dss")
}

func (d dialect) knows(name string) bool {
	switch {
	case name == "mlkem768x25519-sha256":
		return d.version >= v9_9
	case name == "sntrup761x25519-sha512": // Debian has it in 9.2 as well
		return d.version >= v9_9 || d.debian
	case name == "webauthn-sk-ecdsa-sha2-nistp256-cert-v01@openssh.com":
		return d.version >= v10_3
	case strings.HasPrefix(name, "ssh-dss"):
		return d.version < v10_0
	}
	return true
}

func (d dialect) all(f family) []string {
	return slices.DeleteFunc(f.known(), func(a string) bool { return !d.knows(a) })
}

func (d dialect) defaults(f family) []string {
	list := map[family]string{ciphers: defaultCiphers, macs: defaultMACs, kexes: defaultKex, hostKeys: defaultHostKeys, signatures: defaultCA}[f]
	if f == ciphers && d.version < v9_9 {
		list = "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com"
	}
	return slices.DeleteFunc(strings.Split(list, ","), func(a string) bool {
		return !d.knows(a) || strings.HasPrefix(a, "webauthn-") && d.version < v10_3
	})
}

// checkNames refuses a list with a name that ssh does not know. dialect is asked
// only where it matters.
func (f family) checkNames(list string, dialect func() dialect) error {
	if strings.HasPrefix(list, "-") {
		return nil
	}
	if strings.HasPrefix(list, "+") || strings.HasPrefix(list, "^") {
		list = list[1:]
	}
	if list == "" {
		return fmt.Errorf("bad algorithm list %q", list)
	}
	keys := f == hostKeys || f == signatures
	known := f.known()
	if keys {
		known = hostKeys.known()
	}
	for name := range strings.SplitSeq(list, ",") {
		if name == "" { // OpenSSH checks no further
			return nil
		}
		if slices.Contains(known, name) {
			if versioned(name) && !dialect().knows(name) {
				return fmt.Errorf("unknown algorithm %q", name)
			}
			continue
		}
		short := slices.Contains(strings.Split(shortKeys, ","), strings.ToLower(name))
		if keys && (short || slices.ContainsFunc(known, func(a string) bool { return pattern.Match(a, strings.TrimPrefix(name, "!")) })) {
			continue
		}
		return &UnsupportedError{what: fmt.Sprintf("unknown algorithm %q", name)}
	}
	return nil
}

// list resolves a value of f: names, or + (append), - (remove) or ^ (put first)
// against the defaults; the names may be patterns (kex_assemble_names).
func (d dialect) list(f family, value string) ([]string, error) {
	base := d.defaults(f)
	if value == "" {
		return base, nil
	}
	names := strings.Split(strings.TrimLeft(value[:1], "+-^")+value[1:], ",")
	switch value[0] {
	case '-':
		return slices.DeleteFunc(base, func(a string) bool { return pattern.MatchList(a, names) }), nil
	case '+':
		names = concatNames(base, names)
	case '^':
		names = concatNames(names, base)
	}
	var out []string
	all := d.all(f)
	for _, name := range names {
		if strings.HasPrefix(name, "!") {
			return nil, fmt.Errorf("bad algorithm list %q", value)
		}
		for _, a := range all {
			if pattern.Match(a, name) && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("algorithm list %q comes out empty", value)
	}
	return out, nil
}

// concatNames is a and what b adds, up to an empty name (kex_names_cat).
func concatNames(a, b []string) []string {
	out := slices.Clone(a)
	for _, name := range b {
		if name == "" {
			break
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func gssKex(s string) (string, error) {
	known := strings.Split(defaultGSSKex+",gss-group1-sha1-", ",")
	for name := range strings.SplitSeq(s, ",") {
		if name == "" {
			break
		}
		if !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(name, k) }) {
			return "", fmt.Errorf("unsupported key exchange %q", name)
		}
	}
	return s, nil
}
