package doctor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Offer is what a server says before keys are exchanged: what it is, and what it
// can do. x/crypto v0.58 tells neither. Its texts are the server's own, not yet
// fit for a terminal.
type Offer struct {
	Version  string   // "SSH-2.0-OpenSSH_9.2p1", "" until it came
	Said     string   // the first line of another kind before it, perhaps not whole; cut at maxSaid
	Kex      []string // nil until its KEXINIT came
	HostKeys []string
	Ciphers  []string // from server to client
	MACs     []string
}

// Strict says whether the server counts packets from the first one on, without
// which an attacker in the middle can cut out some (Terrapin, CVE-2023-48795).
// OpenSSH does from 9.6 on, and what distributions have mended before.
func (o *Offer) Strict() bool { return slices.Contains(o.Kex, "kex-strict-s-v00@openssh.com") }

// ErrNotSSH says that a server speaks another protocol than SSH 2.
var ErrNotSSH = errors.New("not an SSH server")

const (
	maxSaid     = 80
	maxGreeting = 16 << 10 // of lines before and with the version; RFC 4253, 4.2 wants less
	maxPacket   = 35000    // RFC 4253, 6.1
	msgKexInit  = 20
)

// ParseOffer reads the first bytes of a server. What has not come yet is left
// empty, which is no error; rest is what stands behind the KEXINIT.
func ParseOffer(b []byte) (o Offer, rest []byte, err error) {
	b, err = o.version(b)
	if err != nil || o.Version == "" || len(b) < 5 {
		return o, nil, err
	}
	length, padding := binary.BigEndian.Uint32(b), uint32(b[4])
	if length > maxPacket || length < padding+2 {
		return o, nil, ErrNotSSH
	}
	if uint32(len(b)-4) < length {
		return o, nil, nil
	}
	var k struct {
		Cookie                      [16]byte `sshtype:"20"`
		Kex, HostKeys               []string
		CiphersUp, CiphersDown      []string
		MACsUp, MACsDown            []string
		CompressionUp, CompressDown []string
		LanguagesUp, LanguagesDown  []string
		FirstKexFollows             bool
		Reserved                    uint32
	}
	payload := b[5 : 4+length-padding]
	if payload[0] != msgKexInit || ssh.Unmarshal(payload, &k) != nil {
		return o, nil, ErrNotSSH
	}
	o.Kex, o.HostKeys, o.Ciphers, o.MACs = k.Kex, k.HostKeys, k.CiphersDown, k.MACsDown
	return o, b[4+length:], nil
}

// version reads the line that begins with "SSH-", and what a server may say
// before it.
func (o *Offer) version(b []byte) ([]byte, error) {
	for read := 0; ; {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if text := bytes.TrimSpace(line); o.Said == "" && !bytes.HasPrefix(line, []byte("SSH-")) {
			o.Said = string(text[:min(len(text), maxSaid)])
		}
		if read += len(line); read > maxGreeting {
			return nil, ErrNotSSH
		}
		if !whole {
			return nil, nil
		}
		if bytes.HasPrefix(line, []byte("SSH-")) {
			if !bytes.HasPrefix(line, []byte("SSH-2.0-")) && !bytes.HasPrefix(line, []byte("SSH-1.99-")) {
				return nil, ErrNotSSH
			}
			o.Version = string(bytes.TrimRight(line, "\r"))
			return rest, nil
		}
		b = rest
	}
}

// Tap is a connection to an SSH server that remembers how it began. Make it with
// NewTap.
type Tap struct {
	net.Conn

	mu    sync.Mutex // guards what follows
	heard []byte     // of the server, no more than maxHeard
	sent  int
}

// maxHeard has room for a KEXINIT, and one byte behind it.
const maxHeard = maxGreeting + 4 + maxPacket + 1

// NewTap taps c, which it closes when it is closed.
func NewTap(c net.Conn) *Tap { return &Tap{Conn: c} }

func (t *Tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = append(t.heard, p[:min(n, maxHeard-len(t.heard))]...)
	return n, err
}

func (t *Tap) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent += n
	return n, err
}

// Offer is what the server has said so far.
func (t *Tap) Offer() (Offer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, _, err := ParseOffer(t.heard)
	return o, err
}

// largePacket is the size that a broken path MTU does not pass: below what
// Ethernet takes and tunnels leave.
const largePacket = 1200

// Stuck says that the server has told its version and nothing after it, or
// nothing after its offer although we had sent more than a small packet holds:
// the sign of a path that drops large packets in silence.
func (t *Tap) Stuck() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, rest, err := ParseOffer(t.heard)
	if err != nil || o.Version == "" {
		return false
	}
	return o.Kex == nil || len(rest) == 0 && t.sent > largePacket
}
