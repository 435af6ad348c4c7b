package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"
)

// encode is the frame as a peer of ours writes it.
func (f *frame) encode() []byte {
	switch f.kind {
	case kindData:
		b := appendHeader(nil, f.kind, offsetSize+len(f.data))
		return append(binary.BigEndian.AppendUint64(b, f.offset), f.data...)
	case kindAck:
		return appendPair(nil, kindAck, f.offset, f.granted)
	case kindEOF:
		return appendNumber(nil, f.kind, f.offset)
	case kindBye:
		return appendBye(nil, f.offset, f.code, f.reason)
	}
	return appendPair(nil, f.kind, f.token, f.offset)
}

// ofThePeer fails the test unless err is one that foreign bytes may cause.
func ofThePeer(t *testing.T, err error) {
	t.Helper()
	var protocol *ProtocolError
	var version *VersionError
	if err != io.EOF && err != io.ErrUnexpectedEOF && err != ErrNoHello && !errors.As(err, &protocol) && !errors.As(err, &version) {
		t.Fatalf("got %T %v, want an error of the protocol or an end", err, err)
	}
}

func frameSeeds() [][]byte {
	large := bytes.Repeat([]byte("x"), maxChunk/2+1) // of the pool
	frames := []frame{
		{kind: kindData, offset: 1, data: []byte("a")},
		{kind: kindData, offset: 1<<64 - 1, data: large},
		{kind: kindAck, offset: 5, granted: 1 << 40},
		{kind: kindPing, token: 7}, {kind: kindPong, token: 7},
		{kind: kindEOF, offset: 12},
		{kind: kindBye, offset: 12, code: CodeTarget, reason: "gone"},
		{kind: kindBye, reason: string(large[:maxReason])},
	}
	seeds := [][]byte{
		{}, {1}, {1, 0, 0, 0}, {1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0}, {1, 255, 255, 255},
		{200, 0, 0, 3, 'a', 'b', 'c', 3, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1},
		{2, 0, 0, 15}, {6, 0, 0, 9}, {6, 0, 4, 11}, []byte("SSH-2.0-OpenSSH_9.2\r\n"),
	}
	var all []byte
	for _, f := range frames {
		seeds = append(seeds, f.encode())
		all = append(all, f.encode()...)
	}
	return append(seeds, all[len(large):], all[:len(all)-1])
}

// FuzzFrame: whatever arrives is frames of ours, byte for byte, or an error of a
// known type; and no frame holds more than the largest may.
func FuzzFrame(f *testing.F) {
	seeds := frameSeeds()
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bytes.NewReader(wire)
		for {
			got, err := readFrame(r)
			if err != nil {
				ofThePeer(t, err)
				return
			}
			text := got.encode()
			if end := len(wire) - r.Len(); !bytes.HasSuffix(wire[:end], text) {
				t.Fatalf("got %+v, want what ends %x", got, wire[:end])
			}
			if len(got.data) > maxData || cap(got.data) > maxChunk || len(got.reason) > maxReason {
				t.Fatalf("%d bytes in room for %d, %d of reason", len(got.data), cap(got.data), len(got.reason))
			}
			again, err := readFrame(bytes.NewReader(text))
			if err != nil || !bytes.Equal(again.encode(), text) {
				t.Fatalf("got %+v, %v back from %x", again, err, text)
			}
		}
	})
}

func handshakeSeeds(f *testing.F) [][]byte {
	var hello, messages bytes.Buffer
	if err := writeHello(&hello, nonce{1}); err != nil {
		f.Fatal(err)
	}
	seeds := [][]byte{
		{}, []byte("SSH-2.0-OpenSSH_9.2\r\n"), []byte("ssh-stay"), []byte("ssh-stay\x00\x02"), []byte("ssh-stay-relay 1 ready\n"),
		append([]byte{maxHello >> 8, 1}, make([]byte, maxHello+1+proofSize)...),
		{0, 0}, {0, 1, 9}, {16, 1}, {255, 255}, hello.Bytes(), hello.Bytes()[:helloSize-1],
	}
	var s secret
	for _, q := range []request{
		{want: wantOpen, id: id{1}, nonce: nonce{2}, generation: 1, granted: 1 << 20, secret: secret{3}, keep: 24 * time.Hour, interval: time.Second, target: "localhost:22"},
		{want: wantOpen, target: string(bytes.Repeat([]byte("x"), maxTarget))},
		{want: wantOpen, target: string(bytes.Repeat([]byte("x"), maxTarget+1))},
		{want: wantAttach, generation: 2, received: 1<<64 - 1, granted: 1},
		{want: wantJoin, generation: 2}, {want: 9},
	} {
		writeMessage(&messages, q.encode(), s.prove(roleClient, nonce{}, q.nonce, q.encode()))
		seeds = append(seeds, slices.Clone(messages.Bytes()))
		messages.Reset()
		writeMessage(&messages, q.encode()[:len(q.encode())-3], proof{})
	}
	for _, a := range []answer{{}, {code: CodeDenied, text: "no"}, {received: 1, granted: 2, text: string(bytes.Repeat([]byte("x"), maxReason))}} {
		writeMessage(&messages, a.encode(), proof{})
	}
	return append(seeds, messages.Bytes())
}

// FuzzHandshake: the words before the frames, read as each side reads them.
func FuzzHandshake(f *testing.F) {
	seeds := handshakeSeeds(f)
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		fuzzHello(t, wire)
		r := bytes.NewReader(wire)
		for {
			message, proof, err := readMessage(r)
			if err != nil {
				ofThePeer(t, err)
				return
			}
			var text bytes.Buffer
			if writeMessage(&text, message, proof); len(message) > maxHello || !bytes.HasSuffix(wire[:len(wire)-r.Len()], text.Bytes()) {
				t.Fatalf("message of %d bytes: got %x", len(message), text.Bytes())
			}
			fuzzMessage(t, message)
		}
	})
}

func fuzzHello(t *testing.T, wire []byte) {
	h, err := readHello(bytes.NewReader(wire))
	if err != nil {
		ofThePeer(t, err)
		return
	}
	var text bytes.Buffer
	if writeHello(&text, h.nonce); !bytes.HasPrefix(wire, text.Bytes()) {
		t.Fatalf("got %x from %x", text.Bytes(), wire)
	}
}

// fuzzMessage: what is beyond the last field is for versions to come.
func fuzzMessage(t *testing.T, message []byte) {
	if q, err := decodeRequest(message); err != nil {
		ofThePeer(t, err)
	} else if text := q.encode(); !bytes.HasPrefix(message, text) || len(q.target) > maxTarget {
		t.Fatalf("got %+v from %x", q, message)
	}
	if a, err := decodeAnswer(message); err != nil {
		ofThePeer(t, err)
	} else if text := a.encode(); !bytes.Equal(message, text) {
		t.Fatalf("got %+v from %x", a, message)
	}
}

// endless is a peer that never stops.
type endless struct{ b byte }

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.b
	}
	return len(p), nil
}

// TestParsersAreBounded: a peer that says it will send much makes us keep little.
func TestParsersAreBounded(t *testing.T) {
	for b := range 256 {
		most := func(what string, parse func(io.Reader) error) {
			r := bytes.NewReader(append([]byte{byte(b)}, bytes.Repeat([]byte{255}, 300)...))
			grown := allocated(func() { parse(io.LimitReader(io.MultiReader(r, endless{byte(b)}), 1<<26)) })
			if grown > 1<<20 {
				t.Errorf("%s: first byte %d: %d bytes allocated", what, b, grown)
			}
		}
		most("frame", func(r io.Reader) error { _, err := readFrame(r); return err })
		most("hello", func(r io.Reader) error { _, err := readHello(r); return err })
		most("message", func(r io.Reader) error { _, _, err := readMessage(r); return err })
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
