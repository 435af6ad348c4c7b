package hop

import (
	"bytes"
	"context"
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

// forOne is cfg for one connection, with HostKeys of its own.
func (cfg *Config) forOne() (*Config, error) {
	one := *cfg
	if one.LoadHostKeys != nil {
		var err error
		if one.HostKeys, err = one.LoadHostKeys(); err != nil {
			return &one, err
		}
	}
	one.HostKeys.Before = one.Pinned
	return &one, nil
}

// checkHostKey decides on the key of a key exchange: of the first one, and of
// all rekeys, which must show the same.
func (h *Hop) checkHostKey(ctx context.Context, cfg *Config, key ssh.PublicKey) error {
	plain := plainKey(key)
	if h.hostKey != nil && !bytes.Equal(plain.Marshal(), h.hostKey.Marshal()) {
		return fmt.Errorf("host key changed within the connection: %s", ssh.FingerprintSHA256(plain))
	}
	if err := cfg.checkPinned(plain); err != nil {
		return err
	}
	if err := cfg.HostKeys.Check(ctx, key); err != nil {
		return err
	}
	if h.hostKey == nil {
		h.hostKey = plain
	}
	return nil
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
