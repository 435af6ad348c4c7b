package stream

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

const (
	magic      = "ssh-stay"
	version    = 1
	nonceSize  = 32
	secretSize = 32
	idSize     = 16
	proofSize  = sha256.Size
	maxHello   = 4 << 10
	maxTarget  = 1024
	helloSize  = len(magic) + 2 + nonceSize
)

type (
	nonce  [nonceSize]byte
	secret [secretSize]byte
	id     [idSize]byte
	proof  [proofSize]byte
)

// hello is the first word on a channel, the relay's.
type hello struct {
	version uint16
	nonce   nonce
}

// VersionError says that the far end speaks something else.
type VersionError struct{ Got string }

func (e *VersionError) Error() string { return "the relay speaks another protocol: " + e.Got }

// ErrNoHello says that the relay has closed a channel without a word: it has too many
// who shake hands at once, or died.
var ErrNoHello = errors.New("the relay closes at once")

func writeHello(w io.Writer, n nonce) error {
	b := binary.BigEndian.AppendUint16([]byte(magic), version)
	_, err := w.Write(append(b, n[:]...))
	return err
}

func readHello(r io.Reader) (hello, error) {
	var b [helloSize]byte
	if n, err := io.ReadFull(r, b[:]); err != nil {
		if n > 0 && !bytes.HasPrefix([]byte(magic), b[:min(n, len(magic))]) {
			return hello{}, &VersionError{fmt.Sprintf("%q", b[:n])}
		}
		if err == io.EOF {
			err = ErrNoHello
		}
		return hello{}, noEOF(err)
	}
	if string(b[:len(magic)]) != magic {
		return hello{}, &VersionError{fmt.Sprintf("%q", b[:len(magic)])}
	}
	h := hello{version: binary.BigEndian.Uint16(b[len(magic):]), nonce: nonce(b[len(magic)+2:])}
	if h.version != version {
		return h, &VersionError{fmt.Sprintf("version %d", h.version)}
	}
	return h, nil
}

// noEOF is for the middle of something.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// want is what a client wants of a channel.
type want byte

const (
	wantOpen   want = 1 // a new stream
	wantAttach want = 2 // a stream that exists, with this as its only channel
	wantJoin   want = 3 // one more channel for the link that the stream has
)

// request is the client's word on a channel.
type request struct {
	want       want
	id         id
	nonce      nonce
	generation uint64 // of the link, a new one for each attach
	received   uint64 // what has arrived, without gaps
	granted    uint64 // up to where the relay may send
	secret     secret // of wantOpen alone
	keep       time.Duration
	interval   time.Duration
	target     string
}

// answer is the relay's.
type answer struct {
	code     Code
	received uint64
	granted  uint64
	text     string // why not; or, of an accepted wantOpen, a warning

	took time.Duration // from the request to it; not sent
}

func (q *request) encode() []byte {
	b := append([]byte{byte(q.want)}, q.id[:]...)
	b = append(b, q.nonce[:]...)
	for _, n := range []uint64{q.generation, q.received, q.granted} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	if q.want == wantOpen {
		b = append(b, q.secret[:]...)
		b = binary.BigEndian.AppendUint32(b, seconds(q.keep))
		b = binary.BigEndian.AppendUint32(b, seconds(q.interval))
		b = append(b, q.target...)
	}
	return b
}

func seconds(d time.Duration) uint32 {
	return uint32(min(max((d+time.Second-1)/time.Second, 0), math.MaxUint32))
}

var errShort = errors.New("shorter than it must be")

func decodeRequest(b []byte) (q request, err error) {
	d := decoder{b: b}
	q.want = want(d.next(1)[0])
	q.id, q.nonce = id(d.next(idSize)), nonce(d.next(nonceSize))
	q.generation, q.received, q.granted = d.uint64(), d.uint64(), d.uint64()
	switch q.want {
	case wantOpen:
		q.secret = secret(d.next(secretSize))
		q.keep = time.Duration(d.uint32()) * time.Second
		q.interval = time.Duration(d.uint32()) * time.Second
		if len(d.b) > maxTarget {
			return q, violation("target of %d bytes", len(d.b))
		}
		q.target = string(d.b)
	case wantAttach, wantJoin:
	default:
		return q, violation("request of kind %d", q.want)
	}
	if d.short {
		return q, violation("request: %v", errShort)
	}
	return q, nil
}

func (a *answer) encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(a.code))
	b = binary.BigEndian.AppendUint64(b, a.received)
	b = binary.BigEndian.AppendUint64(b, a.granted)
	return append(b, a.text[:min(len(a.text), maxReason)]...)
}

func decodeAnswer(b []byte) (a answer, err error) {
	d := decoder{b: b}
	a.code = Code(binary.BigEndian.Uint16(d.next(2)))
	a.received, a.granted = d.uint64(), d.uint64()
	if d.short {
		return a, violation("answer: %v", errShort)
	}
	if len(d.b) > maxReason {
		return a, violation("answer with %d bytes of text", len(d.b))
	}
	a.text = string(d.b)
	return a, nil
}

// decoder takes fields from b; beyond its end they are zero and short is set.
type decoder struct {
	b     []byte
	short bool
}

func (d *decoder) next(n int) []byte {
	if len(d.b) < n {
		d.b, d.short = nil, true
		return make([]byte, n)
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.next(4)) }
func (d *decoder) uint64() uint64 { return binary.BigEndian.Uint64(d.next(8)) }

// writeMessage writes a message and its proof by s: a length in 16 bits, the
// message, the HMAC.
func writeMessage(w io.Writer, message []byte, p proof) error {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(message)))
	b = append(b, message...)
	_, err := w.Write(append(b, p[:]...))
	return err
}

func readMessage(r io.Reader) (message []byte, p proof, err error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, p, noEOF(err)
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > maxHello {
		return nil, p, violation("message of %d bytes", n)
	}
	message = make([]byte, n)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, p, noEOF(err)
	}
	_, err = io.ReadFull(r, p[:])
	return message, p, noEOF(err)
}

// prove binds a message to a stream's secret, to the role of who sends it and
// to this channel: its two nonces are new each time.
func (s *secret) prove(role string, relay, client nonce, message []byte) (p proof) {
	h := hmac.New(sha256.New, s[:])
	h.Write([]byte(role))
	h.Write(relay[:])
	h.Write(client[:])
	h.Write(message)
	h.Sum(p[:0])
	return p
}

const (
	roleClient = "ssh-stay stream 1 client"
	roleRelay  = "ssh-stay stream 1 relay"
)

// proven compares in constant time.
func (p proof) proven(want proof) bool { return hmac.Equal(p[:], want[:]) }
