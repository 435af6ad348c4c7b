package auth

import (
	"context"
	"crypto/rand"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestBefore: what a later connection of the same session makes of the key of the
// first one, and of what stands in the files by then. It asks and records
// nothing.
func TestBefore(t *testing.T) {
	first, other := newSigner(t, "ed25519"), newSigner(t, "ed25519")
	key, wrong := authorized(first.PublicKey()), authorized(other.PublicKey())
	revoked, err := ReadRevoked([]string{writeFile(t, "revoked", key)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		texts string
		key   ssh.PublicKey
		host  *HostKeys
		want  string // under ask and accept-new
	}{
		{"never recorded", "", first.PublicKey(), &HostKeys{}, "ok"},
		{"cannot be recorded", "", first.PublicKey(), &HostKeys{Host: "ju?mp"}, "ok"},
		{"recorded", "jump " + key, first.PublicKey(), &HostKeys{}, "ok"},
		{"known for the bare name", "jump " + key, first.PublicKey(), &HostKeys{Port: 2222}, "ok"},
		{"another key, not recorded", "", other.PublicKey(), &HostKeys{}, "unknown"},
		{"recorded as another by now", "jump " + wrong, first.PublicKey(), &HostKeys{}, "changed"},
		{"marked as revoked by now", "jump " + key + "\n@revoked * " + key, first.PublicKey(), &HostKeys{}, "revoked"},
		{"listed as revoked by now", "jump " + key, first.PublicKey(), &HostKeys{Revoked: revoked}, "revoked"},
		{"new address", "jump " + key, first.PublicKey(), &HostKeys{CheckIP: true, Addr: netip.MustParseAddr("192.0.2.1")}, "ok"},
	} {
		for _, strict := range []Strict{StrictAsk, StrictAcceptNew} {
			file := filepath.Join(t.TempDir(), "known_hosts")
			h := tt.host
			fresh := &HostKeys{Host: "jump", Port: h.Port, Known: known(t, tt.texts), Revoked: h.Revoked, CheckIP: h.CheckIP, Addr: h.Addr,
				Strict: strict, UserFile: file, Before: first.PublicKey()}
			if h.Host != "" {
				fresh.Host = h.Host
			}
			fresh.Ask = func(_ context.Context, text string) (string, error) {
				t.Errorf("%s: asked %q", tt.name, text)
				return "yes", nil
			}
			if got := verdict(fresh.Check(t.Context(), tt.key)); got != tt.want {
				t.Errorf("%s, strict %d: got %s, want %s", tt.name, strict, got, tt.want)
			}
			if text, err := os.ReadFile(file); err == nil {
				t.Errorf("%s, strict %d: recorded %q, want nothing", tt.name, strict, text)
			}
		}
	}
}

// An address that has another key is not asked about again.
func TestBeforeOtherAddress(t *testing.T) {
	key, other := newSigner(t, "ed25519").PublicKey(), newSigner(t, "ed25519").PublicKey()
	asked := 0
	fresh := func(before ssh.PublicKey) *HostKeys {
		return &HostKeys{Host: "jump", Port: 22, Known: known(t, "jump "+authorized(key)+"\n192.0.2.1 "+authorized(other)),
			CheckIP: true, Addr: netip.MustParseAddr("192.0.2.1"), Strict: StrictAsk, Before: before,
			Ask: func(context.Context, string) (string, error) { asked++; return "yes", nil }}
	}
	for range 3 {
		h := fresh(nil)
		if asked > 0 {
			h = fresh(key)
		}
		if err := h.Check(t.Context(), key); err != nil {
			t.Errorf("got %v, want the key accepted", err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
}

// A certified key is the same without its certificate, whatever became of that.
func TestBeforeCertificate(t *testing.T) {
	host, ca := newSigner(t, "ed25519"), newSigner(t, "ed25519")
	cert := &ssh.Certificate{Key: host.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"jump"}, ValidBefore: 1}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	h := &HostKeys{Host: "jump", Port: 22, Known: known(t, "@cert-authority jump "+authorized(ca.PublicKey())), Before: host.PublicKey()}
	if err := h.Check(t.Context(), cert); err != nil {
		t.Errorf("got %v, want the key accepted", err)
	}
}
