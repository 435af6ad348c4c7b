package config

import (
	"fmt"
	"slices"
	"strings"

	"ssh-stay/pattern"
)

// The default proposals of OpenSSH 9.2, the base of +, - and ^ lists.
const (
	defaultCiphers = "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com"
	defaultMACs    = "umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,umac-64@openssh.com,umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1"
	defaultKex     = "sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group14-sha256"
	defaultHostKey = "ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com,ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp521-cert-v01@openssh.com,sk-ssh-ed25519-cert-v01@openssh.com,sk-ecdsa-sha2-nistp256-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256"
	defaultCA      = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256"

	// allHostKey is what OpenSSH 9.2 knows, in the order of `ssh -Q
	// HostKeyAlgorithms`: lists of key types alone may hold wildcards.
	allHostKey = "ssh-ed25519,ssh-ed25519-cert-v01@openssh.com,sk-ssh-ed25519@openssh.com,sk-ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256,ecdsa-sha2-nistp256-cert-v01@openssh.com,ecdsa-sha2-nistp384,ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp521,ecdsa-sha2-nistp521-cert-v01@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,sk-ecdsa-sha2-nistp256-cert-v01@openssh.com,webauthn-sk-ecdsa-sha2-nistp256@openssh.com,ssh-dss,ssh-dss-cert-v01@openssh.com,ssh-rsa,ssh-rsa-cert-v01@openssh.com,rsa-sha2-256,rsa-sha2-256-cert-v01@openssh.com,rsa-sha2-512,rsa-sha2-512-cert-v01@openssh.com"
)

// algorithmList resolves a list that may begin with + (append), - (remove,
// with wildcards) or ^ (put first) against the default proposal.
func algorithmList(value, defaults string) ([]string, error) {
	base := strings.Split(defaults, ",")
	if value == "" {
		return base, nil
	}
	text := value
	if strings.ContainsRune("+-^", rune(text[0])) {
		text = text[1:]
	}
	names := strings.Split(text, ",")
	if slices.Contains(names, "") {
		return nil, fmt.Errorf("bad algorithm list %q", value)
	}
	if value[0] != '-' && strings.ContainsAny(text, "*?!") {
		if defaults != defaultHostKey && defaults != defaultCA {
			return nil, fmt.Errorf("bad algorithm list %q: no wildcards here", value)
		}
		names = slices.DeleteFunc(strings.Split(allHostKey, ","), func(a string) bool { return !pattern.MatchList(a, names) })
	}
	switch value[0] {
	case '-':
		return slices.DeleteFunc(base, func(a string) bool { return pattern.MatchList(a, names) }), nil
	case '+':
		for _, n := range names {
			if !slices.Contains(base, n) {
				base = append(base, n)
			}
		}
		return base, nil
	case '^':
		return append(names, slices.DeleteFunc(base, func(a string) bool { return pattern.MatchList(a, names) })...), nil
	}
	return names, nil
}
