package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
)

// decide says whether to accept key, and whether to do so in distrust.
func (h *HostKeys) decide(ctx context.Context, key ssh.PublicKey) (distrusted bool, err error) {
	if err := h.checkSize(key); err != nil {
		return false, err
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		if err := checkCertSignature(cert); err != nil {
			return false, err
		}
	}
	if file, ok := h.Revoked.find(key); ok {
		return false, &RevokedHostKeyError{h.hostName(false), key, file}
	}
	if h.TrustLocalhost && h.isLocal() && h.Alias == "" {
		return false, nil
	}
	p, err := h.place(ctx, key, false)
	if err != nil {
		return false, err
	}
	err = p.check(ctx, key)
	return p.distrusted, err
}

// checkSize applies RequiredRSASize.
func (h *HostKeys) checkSize(key ssh.PublicKey) error {
	want := max(h.MinRSABits, minRSABits)
	if bits := rsaBits(key); bits > 0 && bits < want {
		return fmt.Errorf("RSA host key of %d bits is too short: want %d", bits, want)
	}
	return nil
}

// place is one form of the host's name and all that is known under it.
type place struct {
	h    *HostKeys
	bare bool // the name without its port: never changes a file, nor says that a key has changed

	host    string
	entries []entry

	addr        string // "" where the address is not to be checked
	addrEntries []entry
	addrRead    bool // false for a certificate, which stands for its names alone

	distrusted bool // the key was accepted although changed or revoked
}

// place reads what is known of the host. Commands are run only for the name
// with its port.
func (h *HostKeys) place(ctx context.Context, key ssh.PublicKey, bare bool) (*place, error) {
	p := &place{h: h, bare: bare, host: h.hostName(bare), addr: h.addrName(bare)}
	var err error
	if p.entries, err = h.lookup(ctx, "HOSTNAME", p.host, key, bare); err != nil {
		return nil, err
	}
	if _, isCert := key.(*ssh.Certificate); isCert || p.addr == "" {
		return p, nil
	}
	p.addrRead = true
	p.addrEntries, err = h.lookup(ctx, "ADDRESS", p.addr, key, bare)
	return p, err
}

func (h *HostKeys) lookup(ctx context.Context, invocation, name string, key ssh.PublicKey, bare bool) ([]entry, error) {
	entries := h.Known.lookup(name)
	if bare || h.Command == nil {
		return entries, nil
	}
	more, err := h.runCommand(ctx, invocation, name, name, key)
	return append(entries, more...), err
}

// standing is what some entries say of a key.
type standing int

const (
	keyNew standing = iota
	keyKnown
	keyChanged
	keyRevoked
)

// stand compares key with entries and returns the one that decides: the one
// that knows it, or else the last that has another key. A CA counts for
// certificates alone, and any other key only for keys.
func stand(entries []entry, key ssh.PublicKey) (standing, *entry) {
	for i, e := range entries {
		for _, k := range withCA(key) {
			if e.marker == markRevoked && sameKey(plainKey(e.key), k) {
				return keyRevoked, &entries[i]
			}
		}
	}
	cert, isCert := key.(*ssh.Certificate)
	result, found := keyNew, (*entry)(nil)
	for i, e := range entries {
		switch {
		case isCert && e.marker == markCA && sameKey(plainKey(e.key), cert.SignatureKey):
			return keyKnown, &entries[i]
		case isCert || e.marker != "":
		case sameKey(e.key, key):
			return keyKnown, &entries[i]
		default:
			result, found = keyChanged, &entries[i]
		}
	}
	return result, found
}

// check decides on key. A certificate that does not count here is stripped, and
// its key checked instead.
func (p *place) check(ctx context.Context, key ssh.PublicKey) error {
	err := p.checkKey(ctx, key)
	cert, isCert := key.(*ssh.Certificate)
	if revoked := (*RevokedHostKeyError)(nil); err == nil || !isCert || errors.As(err, &revoked) {
		return err
	}
	bad := (*certError)(nil)
	if errors.As(err, &bad) {
		p.h.warn("%v", bad)
	}
	err = p.checkKey(ctx, cert.Key)
	if unknown := (*UnknownHostError)(nil); bad != nil && errors.As(err, &unknown) && unknown.Err == nil {
		unknown.Err = bad
	}
	return err
}

func (p *place) checkKey(ctx context.Context, key ssh.PublicKey) error {
	if !p.h.permits(key) {
		return fmt.Errorf("host key %s not permitted by HostkeyAlgorithms", key.Type())
	}
	_, isCert := key.(*ssh.Certificate)
	was, found := stand(p.entries, key)
	addrWas, addrFound := was, (*entry)(nil)
	if p.addrRead && !isCert {
		addrWas, addrFound = stand(p.addrEntries, key)
	}
	var err error
	switch was {
	case keyKnown:
		err = p.known(key, found, addrWas)
	case keyNew:
		err = p.unknown(ctx, key, addrWas)
	case keyRevoked:
		err = p.revoked(key, found)
	case keyChanged:
		return p.changed(key, found, addrWas, addrFound)
	}
	if err != nil || addrWas != keyChanged {
		return err
	}
	return p.addrChanged(ctx, key, was, found, addrFound)
}

// permits applies HostKeyAlgorithms to the key of a stripped certificate also.
func (h *HostKeys) permits(key ssh.PublicKey) bool {
	return h.Permitted == nil || slices.ContainsFunc(h.Permitted, func(alg string) bool {
		return keyTypeOf(alg) == key.Type()
	})
}

func (p *place) known(key ssh.PublicKey, found *entry, addrWas standing) error {
	if cert, ok := key.(*ssh.Certificate); ok {
		return p.h.checkCert(cert)
	}
	if addrWas == keyNew && p.h.Before == nil {
		p.addAddr(key, found)
	}
	return nil
}

func (p *place) unknown(ctx context.Context, key ssh.PublicKey, addrWas standing) error {
	h := p.h
	err := p.unknownError(key)
	_, isCert := key.(*ssh.Certificate)
	if !p.bare && h.hostName(true) != p.host {
		// Accepted by the bare name, as if it was known.
		bare, failed := h.place(ctx, key, true)
		if failed != nil {
			return failed
		}
		revoked := (*RevokedHostKeyError)(nil)
		switch why := bare.check(ctx, key); {
		case why == nil:
			p.distrusted = bare.distrusted
			return nil
		case !isCert && errors.As(why, &revoked):
			return why // where ssh would go on to ask
		}
	}
	if !p.bare && !isCert && h.isBefore(key) {
		return nil
	}
	if p.bare || isCert || !h.writable() || h.Strict == StrictYes || h.Before != nil {
		return err
	}
	if h.Strict == StrictAsk {
		if err.Err = h.askNew(ctx, p, key); err.Err != nil {
			return err.orNobody()
		}
	}
	p.add(key, addrWas)
	return nil
}

func (p *place) unknownError(key ssh.PublicKey) *UnknownHostError {
	e := &UnknownHostError{Name: p.host, Key: key}
	for _, f := range p.h.Known.files {
		e.Files = append(e.Files, f.name)
	}
	return e
}

// orNobody leaves out the cause that is none: there was nobody to ask.
func (e *UnknownHostError) orNobody() error {
	if errors.Is(e.Err, errNobody) {
		e.Err = nil
	}
	return e
}

func (p *place) revoked(key ssh.PublicKey, found *entry) error {
	if p.h.Strict != StrictNo {
		return &RevokedHostKeyError{p.host, key, fmt.Sprintf("%s:%d", found.file, found.line)}
	}
	p.warnRevoked(key)
	p.distrust()
	return nil
}

func (p *place) changed(key ssh.PublicKey, found *entry, addrWas standing, addrFound *entry) error {
	err := &ChangedHostKeyError{p.host, key, found.file, found.line}
	if p.bare {
		return err
	}
	if p.addrRead && (addrWas != keyChanged || !sameKey(addrFound.key, found.key)) {
		p.warnSpoofed(key, addrWas, addrFound)
	}
	if p.h.Strict != StrictNo {
		return err
	}
	p.warnChanged(key, found)
	p.distrust()
	return nil
}

// addrChanged is asked where the address has another key than the name.
func (p *place) addrChanged(ctx context.Context, key ssh.PublicKey, was standing, found, addrFound *entry) error {
	if p.h.Strict == StrictAsk && p.h.isBefore(key) {
		return nil // known by its name, or confirmed then
	}
	text := p.addrText(key, was, found, addrFound)
	err := &ChangedHostKeyError{p.addr, key, addrFound.file, addrFound.line}
	switch p.h.Strict {
	case StrictAsk:
		if p.h.confirm(ctx, text+"\nAre you sure you want to continue connecting (yes/no)? ", "") != nil {
			return err
		}
	case StrictNo:
		p.h.info("%s", text)
	default:
		p.h.info("%s", text)
		return err
	}
	return nil
}

// certError says why a certificate whose CA is known is not good for the host.
type certError struct{ text string }

func (e *certError) Error() string { return e.text }

// checkCert says whether cert, signed by a CA of ours, is good for the host, in
// OpenSSH's words. A certificate for no name in particular is good for none, as
// since OpenSSH 10.3, and one for a wildcard neither, as before it: so that none
// is accepted that the installed ssh would not take.
func (h *HostKeys) checkCert(cert *ssh.Certificate) error {
	now, principal := uint64(time.Now().Unix()), h.host()
	if h.Alias != "" {
		principal = h.hostName(true)
	}
	format := cert.Signature.Format
	switch {
	case cert.CertType != ssh.HostCert:
		return &certError{"Certificate invalid: not a host certificate"}
	case now < cert.ValidAfter:
		return &certError{"Certificate invalid: not yet valid"}
	case now >= cert.ValidBefore:
		return &certError{"Certificate invalid: expired"}
	case len(cert.ValidPrincipals) == 0:
		return &certError{"Certificate lacks principal list"}
	case !slices.Contains(cert.ValidPrincipals, principal):
		return &certError{"Certificate invalid: name is not a listed principal"}
	case len(cert.CriticalOptions) > 0:
		return &certError{"Certificate contains unsupported critical options"}
	case format == ssh.KeyAlgoRSA || h.CAAlgorithms != nil && !slices.Contains(h.CAAlgorithms, format):
		return &certError{"Certificate signed with disallowed algorithm"}
	}
	return nil
}

// checkCertSignature refuses a certificate that its CA did not sign, whoever
// that is: OpenSSH does not even read one. The library's CertChecker would apply
// rules that count only where the CA is ours.
func checkCertSignature(cert *ssh.Certificate) error {
	if cert.CertType != ssh.HostCert && cert.CertType != ssh.UserCert {
		return fmt.Errorf("host certificate of type %d", cert.CertType)
	}
	unsigned := *cert
	unsigned.Signature = nil
	blob := unsigned.Marshal()
	signed := blob[:len(blob)-4] // without the length of no signature
	if cert.Signature == nil || cert.SignatureKey.Verify(signed, cert.Signature) != nil {
		return errors.New("host certificate: the CA's signature is wrong")
	}
	return nil
}
