package stream

import (
	"encoding/binary"
	"fmt"
	"io"
)

// kind is the type of a frame. Numbers that are not listed are skipped.
type kind byte

const (
	kindData kind = 1 // offset, bytes
	kindAck  kind = 2 // offset taken, offset granted
	kindPing kind = 3 // token, offset sent
	kindPong kind = 4 // token, offset sent
	kindEOF  kind = 5 // final offset
	kindBye  kind = 6 // final offset, code, reason
)

const (
	headerSize = 4 // kind, length of what follows in 24 bits
	offsetSize = 8 // first in every frame but PING and PONG
	maxFrame   = 64 << 10
	maxData    = maxFrame - headerSize - offsetSize
	maxReason  = 1024
	byeSize    = offsetSize + 2
)

// Code says why a stream ended, or why a channel was refused.
type Code uint16

const (
	CodeClosed   Code = 0 // an orderly end
	CodeTarget   Code = 1 // the connection to the target broke
	CodeProtocol Code = 2 // the other end broke the protocol
	CodeExpired  Code = 3 // detached for too long
	CodeShutdown Code = 4 // the relay was told to end

	CodeUnknown Code = 16 // no such stream
	CodeDenied  Code = 17 // the secret was not proven
	CodeRewind  Code = 18 // an offset that cannot be gone back to
	CodeInUse   Code = 19 // another attach is under way, or was newer: try again
	CodeFull    Code = 20 // a limit of the relay
	CodeDial    Code = 21 // the target could not be connected to
	CodeVersion Code = 22 // no common version
)

func (c Code) String() string {
	switch c {
	case CodeClosed:
		return "closed"
	case CodeTarget:
		return "connection to the target lost"
	case CodeProtocol:
		return "protocol error"
	case CodeExpired:
		return "session expired"
	case CodeShutdown:
		return "the relay was ended: its host shuts down, or ended it at logout (KillUserProcesses)"
	case CodeUnknown:
		return "the relay does not know this session"
	case CodeDenied:
		return "the relay denied access to this session"
	case CodeRewind:
		return "cannot rewind the session to where it was cut"
	case CodeInUse:
		return "session in use"
	case CodeFull:
		return "the relay has too many sessions"
	case CodeDial:
		return "could not connect to the target"
	case CodeVersion:
		return "the relay speaks another version"
	}
	return fmt.Sprintf("code %d", uint16(c))
}

// frame is one that was parsed. Which fields count depends on its kind.
type frame struct {
	kind    kind
	offset  uint64 // DATA, ACK (taken), PING and PONG (sent), EOF and BYE (final)
	granted uint64 // ACK
	token   uint64 // PING, PONG
	code    Code   // BYE
	reason  string // BYE
	data    []byte // DATA; the receiver's to keep
}

func appendHeader(b []byte, k kind, length int) []byte {
	return append(b, byte(k), byte(length>>16), byte(length>>8), byte(length))
}

// appendPair appends an ACK (taken, granted), PING or PONG (token, sent).
func appendPair(b []byte, k kind, first, second uint64) []byte {
	b = appendHeader(b, k, 16)
	b = binary.BigEndian.AppendUint64(b, first)
	return binary.BigEndian.AppendUint64(b, second)
}

func appendNumber(b []byte, k kind, n uint64) []byte {
	return binary.BigEndian.AppendUint64(appendHeader(b, k, 8), n)
}

func appendBye(b []byte, final uint64, code Code, reason string) []byte {
	reason = reason[:min(len(reason), maxReason)]
	b = appendHeader(b, kindBye, byeSize+len(reason))
	b = binary.BigEndian.AppendUint64(b, final)
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}

// ProtocolError says that the peer broke the protocol of streams.
type ProtocolError struct{ What string }

func (e *ProtocolError) Error() string { return "protocol error: " + e.What }

func violation(format string, args ...any) error {
	return &ProtocolError{fmt.Sprintf(format, args...)}
}

// readFrame reads the next frame of a kind that we know. Errors are those of
// r, and *ProtocolError for what no peer of ours sends.
func readFrame(r io.Reader) (frame, error) {
	for {
		var h [headerSize]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return frame{}, err
		}
		f := frame{kind: kind(h[0])}
		length := int(h[1])<<16 | int(h[2])<<8 | int(h[3])
		if length > maxFrame {
			return frame{}, violation("frame of %d bytes", length)
		}
		known, err := f.read(r, length)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if known || err != nil {
			return f, err
		}
	}
}

// read reads what follows the header.
func (f *frame) read(r io.Reader, length int) (known bool, err error) {
	switch f.kind {
	case kindData:
		return true, f.readData(r, length)
	case kindAck, kindPing, kindPong, kindEOF, kindBye:
		var small [byeSize + maxReason]byte
		if length > len(small) {
			return true, violation("frame of kind %d with %d bytes", f.kind, length)
		}
		if _, err := io.ReadFull(r, small[:length]); err != nil {
			return true, err
		}
		return true, f.parse(small[:length])
	}
	_, err = io.CopyN(io.Discard, r, int64(length))
	return false, err
}

func (f *frame) readData(r io.Reader, length int) error {
	if length <= offsetSize {
		return violation("DATA of %d bytes", length)
	}
	var offset [offsetSize]byte
	if _, err := io.ReadFull(r, offset[:]); err != nil {
		return err
	}
	f.offset = binary.BigEndian.Uint64(offset[:])
	f.data = newChunk(length - offsetSize)[:length-offsetSize]
	_, err := io.ReadFull(r, f.data)
	return err
}

// parse reads the frames that are not DATA.
func (f *frame) parse(p []byte) error {
	want := map[kind]int{kindAck: 16, kindPing: 16, kindPong: 16, kindEOF: 8}[f.kind]
	if f.kind == kindBye && len(p) < byeSize || f.kind != kindBye && len(p) != want {
		return violation("frame of kind %d with %d bytes", f.kind, len(p))
	}
	n := binary.BigEndian.Uint64(p)
	switch f.kind {
	case kindAck:
		f.offset, f.granted = n, binary.BigEndian.Uint64(p[8:])
	case kindPing, kindPong:
		f.token, f.offset = n, binary.BigEndian.Uint64(p[8:])
	case kindEOF:
		f.offset = n
	case kindBye:
		f.offset, f.code, f.reason = n, Code(binary.BigEndian.Uint16(p[8:])), string(p[byeSize:])
	}
	return nil
}
