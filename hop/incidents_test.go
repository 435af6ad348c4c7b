//go:build linux

package hop

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"ssh-stay/auth"
	"ssh-stay/internal/sshtest"
)

// realHop is a config for a real sshd, and a dial that leads there.
func realHop(t *testing.T, s *sshtest.Sshd, c *sshtest.Client) (*Config, DialFunc) {
	t.Helper()
	known, err := auth.ReadKnownHosts([]string{c.KnownHosts})
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	return &Config{
			Name: "jump", Log: quiet, Interval: time.Second, GiveUp: time.Minute,
			HostKeys: &auth.HostKeys{Host: s.Addr, Port: s.Port, Known: known},
			Login: &auth.Login{
				User: s.User, IdentityFiles: []string{c.Key.Path}, Publickey: true,
				Accepted: []string{"ssh-ed25519"}, Log: quiet,
			},
		}, func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.HostPort())
		}
}

// middle is a man in the middle: he sees what is sent in the clear, and may put
// packets of his own between those of the server.
type middle struct {
	net.Conn // to the server
	in       *bufio.Reader

	insert func(kind byte) []byte // a payload to go ahead of a packet of that kind
	algs   func(kex []string)     // is told the key exchanges that the server offers
	sent   func(kex []string)     // and those of the client

	version, clear bool   // what has passed: the version; no NEWKEYS yet
	out            []byte // for the client, not yet read
	up             []byte // from the client, not yet looked at
}

func newMiddle(c net.Conn) *middle { return &middle{Conn: c, in: bufio.NewReader(c), clear: true} }

func (m *middle) Read(p []byte) (int, error) {
	if len(m.out) == 0 && m.clear {
		if err := m.pass(); err != nil {
			return 0, err
		}
	}
	if len(m.out) == 0 {
		return m.in.Read(p)
	}
	n := copy(p, m.out)
	m.out = m.out[n:]
	return n, nil
}

// pass takes the next line or packet of the server.
func (m *middle) pass() error {
	if !m.version {
		line, err := m.in.ReadBytes('\n')
		m.out, m.version = line, true
		return err
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(m.in, head); err != nil {
		return err
	}
	body := make([]byte, binary.BigEndian.Uint32(head))
	if _, err := io.ReadFull(m.in, body); err != nil {
		return err
	}
	kind := body[1]
	if m.insert != nil {
		if payload := m.insert(kind); payload != nil {
			m.out = append(m.out, cleartext(payload)...)
		}
	}
	if kind == msgKexInit && m.algs != nil {
		m.algs(keyExchanges(body[1:]))
	}
	m.clear = kind != msgNewKeys
	m.out = append(append(m.out, head...), body...)
	return nil
}

// Write looks for the client's KEXINIT.
func (m *middle) Write(p []byte) (int, error) {
	if m.sent != nil {
		m.up = append(m.up, p...)
		if i := slices.Index(m.up, '\n'); i >= 0 && len(m.up) >= i+5 {
			packet := m.up[i+5:]
			if size := int(binary.BigEndian.Uint32(m.up[i+1:])); len(packet) >= size {
				m.sent(keyExchanges(packet[1:]))
				m.sent = nil
			}
		}
	}
	return m.Conn.Write(p)
}

// cleartext is a packet as before the first NEWKEYS.
func cleartext(payload []byte) []byte {
	pad := 8 - (5+len(payload))%8 + 8
	out := number(uint32(1 + len(payload) + pad))
	return append(append(append(out, byte(pad)), payload...), make([]byte, pad)...)
}

// keyExchanges are the names in the first list of a KEXINIT, RFC 4253 section 7.1.
func keyExchanges(payload []byte) []string {
	size := binary.BigEndian.Uint32(payload[17:])
	return strings.Split(string(payload[21:21+size]), ",")
}

// TestR2Terrapin: strict key exchange is agreed upon, so a man in the middle can
// put in nothing by which the sequence numbers would shift (CVE-2023-48795).
func TestR2Terrapin(t *testing.T) {
	rig := sshtest.For(t)
	client := rig.Client()
	s := rig.Host(client, "jump")
	ignore := message(msgIgnore, text("x"))
	before := func(at byte, payload []byte) func(byte) []byte {
		return func(kind byte) []byte {
			if kind == at {
				return payload
			}
			return nil
		}
	}
	for name, tt := range map[string]struct {
		insert func(byte) []byte
		want   bool
	}{
		"nothing":                   {nil, true},
		"IGNORE before KEXINIT":     {before(msgKexInit, ignore), false},
		"IGNORE before KEX_REPLY":   {before(msgKexReply, ignore), false},
		"IGNORE before NEWKEYS":     {before(msgNewKeys, ignore), false},
		"DEBUG before NEWKEYS":      {before(msgNewKeys, message(4, []byte{0}, text("x"), text(""))), false},
		"EXT_INFO before NEWKEYS":   {before(msgNewKeys, message(7, number(0))), false},
		"UNIMPLEMENTED, no one did": {before(msgNewKeys, message(3, number(0))), false},
	} {
		for _, cipher := range []string{"chacha20-poly1305@openssh.com", "aes128-ctr", "aes128-gcm@openssh.com"} {
			t.Run(name+"/"+cipher, func(t *testing.T) {
				sshtest.Leaks(t)
				cfg, dial := realHop(t, s, client)
				cfg.Ciphers = []string{cipher}
				var theirs, ours []string
				h, err := Dial(t.Context(), cfg, func(ctx context.Context) (net.Conn, error) {
					c, err := dial(ctx)
					if err != nil {
						return nil, err
					}
					m := newMiddle(c)
					m.insert = tt.insert
					m.algs, m.sent = func(k []string) { theirs = k }, func(k []string) { ours = k }
					return m, nil
				})
				if err == nil {
					err = h.Close()
				}
				if (err == nil) != tt.want {
					t.Errorf("got %v, want a hop: %v", err, tt.want)
				}
				if !slices.Contains(ours, "kex-strict-c-v00@openssh.com") {
					t.Errorf("we offer %v, want strict key exchange too", ours)
				}
				if tt.want && !slices.Contains(theirs, kexStrict) {
					t.Errorf("not a test: the server offers %v", theirs)
				}
			})
		}
	}
}

// echoAddr is a server that sends back what it gets, until the test ends.
func echoAddr(t *testing.T) (host string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	at := l.Addr().(*net.TCPAddr)
	return at.IP.String(), at.Port
}

// TestR8RekeyStorm: key exchanges that both sides begin, in the midst of data of
// several channels both ways and of probes, change no byte and lose no channel. The
// channels close when all are done: the library may stand still where one closes
// while others wait for the end of a key exchange, and a hop of ours carries one.
func TestR8RekeyStorm(t *testing.T) {
	const channels, size = 8, 4 << 20
	sshtest.Leaks(t)
	rig := sshtest.For(t)
	client := rig.Client()
	s := rig.Sshd(sshtest.SshdConfig{Lines: []string{"RekeyLimit 256K", "LogLevel DEBUG1"}})
	if err := client.AddHost("jump", s); err != nil {
		t.Fatal(err)
	}
	cfg, dial := realHop(t, s, client)
	cfg.RekeyBytes, cfg.Interval = 256<<10, 2*time.Millisecond
	h, err := Dial(t.Context(), cfg, dial)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	probing, stop := context.WithCancel(t.Context())
	probes := make(chan error, 1)
	go func() { probes <- probe(probing, h) }() // ends with the context
	host, port := echoAddr(t)
	results := make(chan error, channels)
	for i := range channels {
		ch, err := h.Dial(t.Context(), host, port)
		if err != nil {
			t.Fatal(err)
		}
		defer ch.Close()
		go func() { results <- thereAndBack(ch, uint64(i), size) }() // ends with its data
	}
	for range channels {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	stop()
	if err := <-probes; err != nil {
		t.Error(err)
	}
	if got := strings.Count(s.Log(), "SSH2_MSG_NEWKEYS received"); got < 50 {
		t.Errorf("got %d key exchanges, want a storm", got)
	}
}

// probe sends keepalives every 2 ms; the hop's own keep silent while data flows.
func probe(ctx context.Context, h *Hop) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, _, err := h.client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
			return err
		}
	}
}

// thereAndBack sends random bytes, and compares the echo.
func thereAndBack(ch net.Conn, seed uint64, size int64) error {
	noise := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{byte(seed)}), size) }
	sent := make(chan error, 1)
	go func() { // ends when all is sent, or with ch
		_, err := io.Copy(ch, noise())
		sent <- err
	}()
	got, err := sum(io.LimitReader(ch, size))
	want, _ := sum(noise())
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if got != want {
		return errors.New("the echo is of other bytes")
	}
	return nil
}

func sum(r io.Reader) (out [sha256.Size]byte, err error) {
	h := sha256.New()
	_, err = io.Copy(h, r)
	return [sha256.Size]byte(h.Sum(nil)), err
}
