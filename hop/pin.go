package hop

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// PinnedKeyError says that a host showed another key than the one it must be
// known by: another machine stands behind the name. Both are fingerprints.
type PinnedKeyError struct{ Hop, Got, Want string }

func (e *PinnedKeyError) Error() string {
	return fmt.Sprintf("hop %s shows host key %s, not %s as before", e.Hop, e.Got, e.Want)
}

// HostKey is the key that the host showed; of a certificate, the certified one.
func (h *Hop) HostKey() ssh.PublicKey { return h.hostKey }

// plainKey is the key itself, without a certificate around it.
func plainKey(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

func (cfg *Config) checkPinned(key ssh.PublicKey) error {
	if cfg.Pinned == nil || bytes.Equal(key.Marshal(), cfg.Pinned.Marshal()) {
		return nil
	}
	return &PinnedKeyError{cfg.Name, ssh.FingerprintSHA256(key), ssh.FingerprintSHA256(cfg.Pinned)}
}

// pinnedFirst puts the algorithms of the pinned key first. A host has several
// keys, and known_hosts may have learned more of them since.
func (cfg *Config) pinnedFirst(algorithms []string) []string {
	if cfg.Pinned == nil {
		return algorithms
	}
	rank := func(algorithm string) int {
		kind := strings.TrimSuffix(algorithm, "-cert-v01@openssh.com")
		if kind == cfg.Pinned.Type() || strings.HasPrefix(kind, "rsa-sha2-") && cfg.Pinned.Type() == ssh.KeyAlgoRSA {
			return 0
		}
		return 1
	}
	sorted := slices.Clone(algorithms)
	slices.SortStableFunc(sorted, func(a, b string) int { return rank(a) - rank(b) })
	return sorted
}
