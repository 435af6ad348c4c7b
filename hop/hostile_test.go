package hop

import (
	"bufio"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// Numbers of messages: RFC 4250, section 4.1.2.
const (
	msgDisconnect      = 1
	msgIgnore          = 2
	msgServiceAccept   = 6
	msgKexInit         = 20
	msgNewKeys         = 21
	msgKexReply        = 31
	msgAuthRequest     = 50
	msgAuthFailure     = 51
	msgAuthSuccess     = 52
	msgAuthBanner      = 53
	msgGlobalRequest   = 80
	msgRequestSuccess  = 81
	msgRequestFailure  = 82
	msgChannelOpen     = 90
	msgOpenConfirm     = 91
	msgOpenFailure     = 92
	msgWindowAdjust    = 93
	msgChannelData     = 94
	msgExtendedData    = 95
	msgChannelEOF      = 96
	msgChannelClose    = 97
	msgChannelRequest  = 98
	msgChannelSuccess  = 99
	msgChannelFailure  = 100
	kexStrict          = "kex-strict-s-v00@openssh.com"
	rawVersion         = "SSH-2.0-raw"
	hostileWithin      = 5 * time.Second
	hostileUnknownChan = 4711
)

// text is the string of the wire, RFC 4251 section 5.
func text(s string) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }

// number is its uint32.
func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// message is one packet's payload.
func message(kind byte, parts ...[]byte) []byte {
	return append([]byte{kind}, slices.Concat(parts...)...)
}

// raw is a server that speaks SSH by hand and so can send anything at any time:
// curve25519-sha256, ssh-ed25519, aes128-gcm@openssh.com. It lets all in.
type raw struct {
	end *end
	in  *bufio.Reader
	key ssh.Signer

	seal, open         cipher.AEAD // nil while in the clear
	sealNonce, nonceIn []byte

	before  []byte                  // sent ahead of the version
	early   func(r *raw)            // called in the clear, ahead of NEWKEYS
	auth    func(r *raw)            // called ahead of the answer to a login
	undecid func(r *raw, id uint32) // called ahead of the answer to an open
	opened  func(r *raw, id uint32) // called after it
	got     []byte                  // kinds of the messages after the login
	refused int                     // channels of ours that the client refused
}

func newRaw(t *testing.T) (*raw, *end) {
	near, far := pipe()
	return &raw{end: far, in: bufio.NewReader(far), key: newSigner(t, 1)}, near
}

// send sends one packet, RFC 4253 section 6 and RFC 5647 section 7.
func (r *raw) send(payload []byte) {
	head := 1 // what the padding does not align: with GCM the length is apart
	if r.seal == nil {
		head += 4
	}
	pad := 16 - (head+len(payload))%16
	if pad < 4 {
		pad += 16
	}
	body := append([]byte{byte(pad)}, payload...)
	body = append(body, make([]byte, pad)...)
	out := number(uint32(len(body)))
	if r.seal == nil {
		r.end.Write(append(out, body...))
		return
	}
	r.end.Write(r.seal.Seal(out, r.sealNonce, body, out))
	next(r.sealNonce)
}

// next counts up the second part of a nonce, RFC 5647 section 7.1.
func next(nonce []byte) {
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])+1)
}

func (r *raw) recv() ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r.in, length[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(length[:]))
	if r.open != nil {
		size += r.open.Overhead()
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r.in, body); err != nil {
		return nil, err
	}
	if r.open != nil {
		var err error
		if body, err = r.open.Open(body[:0], r.nonceIn, body, length[:]); err != nil {
			return nil, err
		}
		next(r.nonceIn)
	}
	return body[1 : len(body)-int(body[0])], nil
}

// serve is the whole life of a connection; it ends with the pipe.
func (r *raw) serve() {
	defer r.end.Close()
	if r.exchange() != nil {
		return
	}
	for {
		p, err := r.recv()
		if err != nil {
			return
		}
		r.answer(p)
	}
}

// exchange is RFC 4253 section 7 with RFC 8731.
func (r *raw) exchange() error {
	r.end.Write(append(r.before, rawVersion+"\r\n"...))
	theirVersion, err := r.in.ReadString('\n')
	if err != nil {
		return err
	}
	lists := []string{"curve25519-sha256," + kexStrict, "ssh-ed25519", "aes128-gcm@openssh.com", "aes128-gcm@openssh.com",
		"hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""}
	ours := message(msgKexInit, make([]byte, 16))
	for _, l := range lists {
		ours = append(ours, text(l)...)
	}
	ours = append(ours, 0, 0, 0, 0, 0)
	r.send(ours)
	theirs, err := r.recv()
	if err != nil {
		return err
	}
	if r.early != nil {
		r.early(r)
	}
	init, err := r.recv()
	if err != nil {
		return err
	}
	share, err := ecdh.X25519().NewPublicKey(init[5:])
	if err != nil {
		return err
	}
	private, _ := ecdh.X25519().GenerateKey(rand.Reader)
	shared, err := private.ECDH(share)
	if err != nil {
		return err
	}
	secret := ssh.Marshal(struct{ K *big.Int }{new(big.Int).SetBytes(shared)})
	host, mine := text(string(r.key.PublicKey().Marshal())), text(string(private.PublicKey().Bytes()))
	hash := sha256.Sum256(slices.Concat(text(strings.TrimRight(theirVersion, "\r\n")), text(rawVersion),
		text(string(theirs)), text(string(ours)), host, init[1:], mine, secret))
	sig, err := r.key.Sign(rand.Reader, hash[:])
	if err != nil {
		return err
	}
	r.send(message(msgKexReply, host, mine, text(string(ssh.Marshal(sig)))))
	r.send([]byte{msgNewKeys})
	if _, err := r.recv(); err != nil { // their NEWKEYS
		return err
	}
	return r.keys(secret, hash[:])
}

// keys derives the keys of the first exchange, RFC 4253 section 7.2.
func (r *raw) keys(secret, hash []byte) error {
	derive := func(letter byte) []byte {
		sum := sha256.Sum256(slices.Concat(secret, hash, []byte{letter}, hash))
		return sum[:]
	}
	gcm := func(letter byte) (cipher.AEAD, error) {
		block, err := aes.NewCipher(derive(letter)[:16])
		if err != nil {
			return nil, err
		}
		return cipher.NewGCM(block)
	}
	var err error
	if r.open, err = gcm('C'); err != nil {
		return err
	}
	r.seal, err = gcm('D')
	r.nonceIn, r.sealNonce = derive('A')[:12], derive('B')[:12]
	return err
}

// answer does what an honest server would, and what the test added.
func (r *raw) answer(p []byte) {
	r.got = append(r.got, p[0])
	switch p[0] {
	case 5:
		r.send(message(msgServiceAccept, p[1:]))
	case msgAuthRequest:
		if r.auth != nil {
			r.auth(r)
		}
		r.send([]byte{msgAuthSuccess})
	case msgGlobalRequest:
		r.send([]byte{msgRequestFailure})
	case msgChannelOpen:
		kind := binary.BigEndian.Uint32(p[1:])
		id := binary.BigEndian.Uint32(p[5+kind:])
		if r.undecid != nil {
			r.undecid(r, id)
		}
		r.send(message(msgOpenConfirm, number(id), number(id), number(1<<20), number(1<<15)))
		if r.opened != nil {
			r.opened(r, id)
		}
	case msgOpenFailure:
		r.refused++
	case msgChannelData: // back to where it came from
		r.send(p)
	}
}

// attack sends what the test adds, about the client's channel id.
type attack = func(r *raw, id uint32)

// attacks are messages after the login.
func attacks() map[string]attack {
	many := func(n int, payload []byte) func(*raw, uint32) {
		return func(r *raw, _ uint32) {
			for range n {
				r.send(payload)
			}
		}
	}
	// on is for messages about the client's channel.
	on := func(n int, kind byte, rest ...[]byte) func(*raw, uint32) {
		return func(r *raw, id uint32) {
			many(n, message(kind, append([][]byte{number(id)}, rest...)...))(r, id)
		}
	}
	unknown := number(hostileUnknownChan)
	request := func(name string, reply byte, rest ...byte) []byte {
		return slices.Concat(text(name), []byte{reply}, rest)
	}
	return map[string]attack{
		"success that nobody asked for":             many(1000, []byte{msgRequestSuccess}),
		"failure that nobody asked for":             many(1000, []byte{msgRequestFailure}),
		"success of a request on a channel":         on(1000, msgChannelSuccess),
		"failure of a request on a channel":         on(1000, msgChannelFailure),
		"success on an unknown channel":             many(10, message(msgChannelSuccess, unknown)),
		"failure on an unknown channel":             many(10, message(msgChannelFailure, unknown)),
		"data on an unknown channel":                many(1, message(msgChannelData, unknown, text("x"))),
		"close of an unknown channel":               many(1, message(msgChannelClose, unknown)),
		"confirmation of an unknown channel":        many(1, message(msgOpenConfirm, unknown, number(0), number(1), number(1<<15))),
		"window of an unknown channel":              many(1, message(msgWindowAdjust, unknown, number(1))),
		"extended data":                             on(10, msgExtendedData, number(1), text("to stderr")),
		"extended data of no known kind":            on(10, msgExtendedData, number(77), text("x")),
		"extended data of all the window":           on(64, msgExtendedData, number(1), text(strings.Repeat("x", 1<<15))),
		"data beyond the window":                    on(70, msgChannelData, text(strings.Repeat("x", 1<<15))),
		"data of a length that lies":                on(1, msgChannelData, number(1<<31), []byte("x")),
		"data of no length":                         on(1, msgChannelData),
		"too much window":                           on(3, msgWindowAdjust, number(1<<32-1)),
		"exit-status of no bytes":                   on(1, msgChannelRequest, request("exit-status", 0)),
		"exit-signal of no bytes":                   on(1, msgChannelRequest, request("exit-signal", 1)),
		"many requests on a channel":                on(10000, msgChannelRequest, request("x", 1)),
		"many global requests":                      many(10000, message(msgGlobalRequest, request("x", 1))),
		"host keys that are none":                   many(1, message(msgGlobalRequest, request("hostkeys-00@openssh.com", 1, 255, 255, 255, 255))),
		"a second confirmation":                     on(1, msgOpenConfirm, number(0), number(1), number(1<<15)),
		"a second close":                            on(2, msgChannelClose),
		"data after EOF":                            func(r *raw, id uint32) { on(1, msgChannelEOF)(r, id); on(1, msgChannelData, text("x"))(r, id) },
		"a second answer to the login":              many(10, []byte{msgAuthSuccess}),
		"a banner after the login":                  many(10, message(msgAuthBanner, text("x"), text(""))),
		"a message of no known kind":                many(10, []byte{199}),
		"a message of kind 0":                       many(1, []byte{0}),
		"an empty message":                          many(1, nil),
		"a broken key exchange":                     many(1, []byte{msgKexInit}),
		"new keys out of nothing":                   many(1, []byte{msgNewKeys}),
		"a key exchange that stops in the middle":   func(r *raw, _ uint32) { many(1, []byte{msgKexReply})(r, 0); r.end.Close() },
		"a packet larger than any may be":           func(r *raw, _ uint32) { r.end.Write(append(number(1<<31), make([]byte, 1<<16)...)) },
		"a packet that was changed on the way":      func(r *raw, _ uint32) { r.end.Write(append(number(32), make([]byte, 48)...)) },
		"a disconnection with escape sequences":     many(1, message(msgDisconnect, number(2), text(evil), text(""))),
		"a failure to open with escape sequences":   on(1, msgOpenFailure, number(1), text(evil), text("")),
		"a disconnection cut short":                 many(1, []byte{msgDisconnect}),
		"channels that only servers of others open": openAll(10, "session", "x11", "direct-tcpip", "forwarded-tcpip", "auth-agent@openssh.com"),
	}
}

// TestR9HostileServer: whatever a host sends after the login, the hop goes on or
// ends with an error, at once. That nothing is left of it is for synctest to see.
func TestR9HostileServer(t *testing.T) {
	for name, send := range attacks() {
		for when, set := range map[string]func(*raw){
			"decided":   func(r *raw) { r.opened = send },
			"undecided": func(r *raw) { r.undecid = send },
		} {
			t.Run(name+"/"+when, func(t *testing.T) { provoke(t, set) })
		}
	}
}

// evil is text that acts on a terminal.
const evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\r\u202e\x00"

// openAll opens channels to the client.
func openAll(n int, kinds ...string) func(*raw, uint32) {
	return func(r *raw, _ uint32) {
		for i, kind := range slices.Repeat(kinds, n) {
			r.send(message(msgChannelOpen, text(kind), number(uint32(1000+i)), number(1<<20), number(1<<15)))
		}
	}
}

// provoke uses a hop of a server that set has prepared. It must work or fail, and
// neither panic nor hang: when the time has run out, the hop was stuck.
func provoke(t *testing.T, set func(*raw)) {
	synctest.Test(t, func(t *testing.T) {
		r, near := newRaw(t)
		set(r)
		go r.serve() // ends with the pipe
		ctx, cancel := context.WithTimeout(t.Context(), hostileWithin)
		defer cancel()
		h, err := Dial(ctx, newConfig(t), func(context.Context) (net.Conn, error) { return near, nil })
		if err != nil {
			t.Fatalf("got %v, want a hop: the attack comes later", err)
		}
		defer h.Close()
		stop := context.AfterFunc(ctx, func() { near.Close() })
		defer stop()
		err = pingPong(ctx, h)
		synctest.Wait() // until the attack has been read
		if h.Err() == nil {
			err = errors.Join(err, pingPong(ctx, h))
		}
		if ctx.Err() != nil {
			t.Errorf("stuck: %v", err)
		}
	})
}

// pingPong opens a connection, and has a word echoed, among what else comes.
func pingPong(ctx context.Context, h *Hop) error {
	ch, err := h.Dial(ctx, "target", 22)
	if err != nil {
		return err
	}
	defer ch.Close()
	if _, err := io.WriteString(ch, "ping"); err != nil {
		return err
	}
	buf := make([]byte, 4)
	for got := ""; !strings.HasSuffix(got, "ping"); {
		n, err := ch.Read(buf[:1])
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", len(got), err)
		}
		got += string(buf[:n])
		got = got[max(0, len(got)-4):]
	}
	return nil
}

// TestR9HostileServerIsHonest: without an attack the server above is one that
// works, or the tests with it would show nothing.
func TestR9HostileServerIsHonest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, near := newRaw(t)
		go r.serve() // ends with the pipe
		h, err := Dial(t.Context(), newConfig(t), func(context.Context) (net.Conn, error) { return near, nil })
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := pingPong(t.Context(), h); err != nil {
			t.Errorf("got %v, want an echo", err)
		}
	})
}

// TestR10ChannelsFromTheHost: a hop opens nothing to us, no agent above all.
func TestR10ChannelsFromTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, near := newRaw(t)
		r.opened = openAll(1, "auth-agent@openssh.com", "x11", "forwarded-tcpip", "session")
		go r.serve() // ends with the pipe
		h, err := Dial(t.Context(), newConfig(t), func(context.Context) (net.Conn, error) { return near, nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := pingPong(t.Context(), h); err != nil {
			t.Errorf("got %v, want an echo", err)
		}
		synctest.Wait()
		if r.refused != 4 || slices.Contains(r.got, msgOpenConfirm) {
			t.Errorf("refused %d of 4 channels; got messages %v", r.refused, r.got)
		}
		h.Close()
	})
}

// TestR9HostileGreeting: what comes ahead of the login ends in a hop or in an
// error, and at once.
func TestR9HostileGreeting(t *testing.T) {
	banner := func(n, size int) func(*raw) {
		return func(r *raw) {
			r.auth = func(r *raw) {
				for range n {
					r.send(message(msgAuthBanner, text(strings.Repeat("x", size)), text("")))
				}
			}
		}
	}
	early := func(n int, payload []byte) func(*raw) {
		return func(r *raw) {
			r.early = func(r *raw) {
				for range n {
					r.send(payload)
				}
			}
		}
	}
	for name, tt := range map[string]struct {
		set  func(*raw)
		want bool // a hop
	}{
		"one line before the version":       {func(r *raw) { r.before = []byte("welcome\r\n") }, true},
		"100,000 lines before the version":  {func(r *raw) { r.before = []byte(strings.Repeat("x\r\n", 100_000)) }, false},
		"a line of 1 MB before the version": {func(r *raw) { r.before = []byte(strings.Repeat("x", 1<<20) + "\r\n") }, false},
		"a version of 1 MB":                 {func(r *raw) { r.before = []byte("SSH-2.0-" + strings.Repeat("x", 1<<20)) }, false},
		"NULs before the version":           {func(r *raw) { r.before = make([]byte, 1<<20) }, false},
		"a banner of 200 KB":                {banner(1, 200_000), true},
		"a banner of 1 MB":                  {banner(1, 1<<20), false},
		"ignored before the keys":           {early(1, message(msgIgnore, text("x"))), false},
		"a second KEXINIT":                  {early(1, message(msgKexInit, make([]byte, 61))), false},
		"a login before the keys":           {early(1, []byte{msgAuthSuccess}), false},
		"success before the keys":           {early(10, []byte{msgRequestSuccess}), false},
		"keys before the keys":              {early(1, []byte{msgNewKeys}), false},
		"questions without end": {func(r *raw) {
			r.auth = func(r *raw) { r.send(message(60, text(""), text(""), text(""), number(1<<32-1))) }
		}, false},
		"a failure cut short":        {func(r *raw) { r.auth = func(r *raw) { r.send([]byte{msgAuthFailure}) } }, false},
		"a channel before the login": {func(r *raw) { r.auth = func(r *raw) { openAll(1, "session")(r, 0) } }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, near := newRaw(t)
				tt.set(r)
				go r.serve() // ends with the pipe
				ctx, cancel := context.WithTimeout(t.Context(), hostileWithin)
				defer cancel()
				h, err := Dial(ctx, newConfig(t), func(context.Context) (net.Conn, error) { return near, nil })
				if err == nil {
					h.Close()
				}
				if (err == nil) != tt.want || ctx.Err() != nil {
					t.Errorf("got %.200v, context %v; want a hop: %v", err, ctx.Err(), tt.want)
				}
				near.Close()
			})
		})
	}
}
