//go:build linux

package doctor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"ssh-stay/internal/sshtest"
)

// kexInit is a packet with such an offer.
func kexInit(o Offer) []byte {
	payload := ssh.Marshal(struct {
		Cookie [16]byte `sshtype:"20"`
		Lists  []byte   `ssh:"rest"`
	}{Lists: ssh.Marshal(struct {
		Kex, HostKeys, CiphersUp, Ciphers, MACsUp, MACs, C1, C2, L1, L2 []string
		Follows                                                         bool
		Reserved                                                        uint32
	}{Kex: o.Kex, HostKeys: o.HostKeys, Ciphers: o.Ciphers, MACs: o.MACs})})
	const padding = 7
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload)+padding+1))
	b = append(b, padding)
	b = append(b, payload...)
	return append(b, make([]byte, padding)...)
}

var offer = Offer{
	Version: "SSH-2.0-Test_1 with words", Kex: []string{"curve25519-sha256", "kex-strict-s-v00@openssh.com"},
	HostKeys: []string{"ssh-ed25519"}, Ciphers: []string{"aes128-ctr"}, MACs: []string{"hmac-sha2-256"},
}

func TestParseOffer(t *testing.T) {
	whole := append([]byte("Hello,\r\nyou\r\n"+offer.Version+"\r\n"), kexInit(offer)...)
	greeted := offer
	greeted.Said = "Hello,"
	got, rest, err := ParseOffer(append(slices.Clone(whole), 42))
	if err != nil || !reflect.DeepEqual(got, greeted) || !bytes.Equal(rest, []byte{42}) || !got.Strict() {
		t.Errorf("got %+v, %q, %v; want %+v", got, rest, err, greeted)
	}
	for n := range whole { // a part is no error
		got, rest, err := ParseOffer(whole[:n])
		if err != nil || got.Kex != nil || rest != nil || got.Version != "" && got.Version != offer.Version {
			t.Fatalf("%d bytes: got %+v, %q, %v", n, got, rest, err)
		}
	}
	if got, _, err := ParseOffer([]byte("\r\n220 mail " + strings.Repeat("x", 200))); err != nil || len(got.Said) != maxSaid || !strings.HasPrefix(got.Said, "220 mail x") {
		t.Errorf("another protocol: got %+v, %v", got, err)
	}
	lax := offer
	lax.Kex = lax.Kex[:1]
	if lax.Strict() {
		t.Error("an offer without the extension counts as strict")
	}
	for _, bad := range []string{
		"SSH-1.5-old\n", "SSH-3.0-new\n", strings.Repeat("x", maxGreeting+1),
		"SSH-2.0-a\n\xff\xff\xff\xff\x00", "SSH-2.0-a\n\x00\x00\x00\x05\x04xxxx", "SSH-2.0-a\n\x00\x00\x00\x08\x04abcdefghij",
	} {
		if _, _, err := ParseOffer([]byte(bad)); err != ErrNotSSH {
			t.Errorf("%.40q: got %v, want ErrNotSSH", bad, err)
		}
	}
}

func FuzzParseOffer(f *testing.F) {
	f.Add(append([]byte("x\n"+offer.Version+"\n"), kexInit(offer)...))
	f.Add([]byte("SSH-2.0-a\n\x00\x00\x00\x08\x04\x14bcdefghij"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, rest, err := ParseOffer(b)
		if err != nil && !errors.Is(err, ErrNotSSH) {
			t.Fatalf("error %v", err)
		}
		if err != nil || got.Kex == nil {
			return
		}
		if !bytes.HasSuffix(b, rest) || !strings.HasPrefix(got.Version, "SSH-") {
			t.Fatalf("got %+v, %q", got, rest)
		}
		again, _, err := ParseOffer(append([]byte(got.Version+"\n"), kexInit(got)...))
		got.Said = ""
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("got %+v again, %v; want %+v", again, err, got)
		}
	})
}

// TestTap: the offer of a real server, and of one that falls silent.
func TestTap(t *testing.T) {
	s := sshtest.For(t).Sshd(sshtest.SshdConfig{})
	c, err := net.Dial("tcp", s.HostPort())
	if err != nil {
		t.Fatal(err)
	}
	tap := NewTap(c)
	defer tap.Close()
	if o, err := tap.Offer(); err != nil || o.Version != "" || tap.Stuck() {
		t.Errorf("before a byte: got %+v, %v, stuck %v", o, err, tap.Stuck())
	}
	readUntil(t, tap, func(o Offer) bool { return o.Version != "" })
	if !tap.Stuck() {
		t.Error("a version and no more is not stuck")
	}
	io.WriteString(tap, "SSH-2.0-tap\r\n")
	readUntil(t, tap, func(o Offer) bool { return o.Kex != nil })
	o, err := tap.Offer()
	if err != nil || !strings.HasPrefix(o.Version, "SSH-2.0-OpenSSH_") || !slices.Contains(o.Kex, "curve25519-sha256") ||
		!slices.Contains(o.HostKeys, "ssh-ed25519") || !slices.Contains(o.Ciphers, "aes256-ctr") || !slices.Contains(o.MACs, "hmac-sha2-256") {
		t.Errorf("got %+v, %v", o, err)
	}
	if tap.Stuck() {
		t.Error("stuck, although nothing large was sent")
	}
	tap.Write(make([]byte, largePacket))
	if !tap.Stuck() {
		t.Error("not stuck, although a large packet has no answer")
	}
}

func readUntil(t *testing.T, tap *Tap, done func(Offer) bool) {
	t.Helper()
	b := make([]byte, 1)
	for o, _ := tap.Offer(); !done(o); o, _ = tap.Offer() {
		if _, err := io.ReadFull(tap, b); err != nil {
			t.Fatal(err)
		}
	}
}
