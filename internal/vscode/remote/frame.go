package remote

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// kind is the first byte of a frame.
type kind byte

const (
	kindRegular       kind = 1 // numbered, kept by its sender until acked
	kindControl       kind = 2 // a step of the handshake, as JSON
	kindAck           kind = 3
	kindDisconnect    kind = 5 // the sender is gone for good: forget its state
	kindReplayRequest kind = 6 // a number was skipped: send all that is not acked again
	kindPause         kind = 7
	kindResume        kind = 8
	kindKeepAlive     kind = 9
)

const (
	headerLen = 13      // kind, u32be id, u32be ack, u32be length
	maxData   = 1 << 28 // VS Code knows no limit; no message of its own comes near this one
)

// ErrFrame is what bytes that are no frame make of a connection.
var ErrFrame = errors.New("not a frame")

// frame is one message on the wire. The id is 0 but for Regular ones, whose first id is 1;
// ack is the highest id that the sender has seen from its peer.
type frame struct {
	kind    kind
	id, ack uint32
	data    []byte
}

func (f frame) append(b []byte) []byte {
	b = append(b, byte(f.kind))
	b = binary.BigEndian.AppendUint32(b, f.id)
	b = binary.BigEndian.AppendUint32(b, f.ack)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.data)))
	return append(b, f.data...)
}

// readFrame reads one frame. It returns io.EOF between frames, io.ErrUnexpectedEOF within one,
// ErrFrame for bytes that no VS Code sends, and the reader's own errors.
func readFrame(r io.Reader) (frame, error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: kind(h[0]), id: binary.BigEndian.Uint32(h[1:]), ack: binary.BigEndian.Uint32(h[5:])}
	n := binary.BigEndian.Uint32(h[9:])
	if f.kind < kindRegular || f.kind > kindKeepAlive || f.kind == 4 {
		return frame{}, fmt.Errorf("%w: type %d", ErrFrame, f.kind)
	}
	if n > maxData {
		return frame{}, fmt.Errorf("%w: %d bytes of data", ErrFrame, n)
	}
	if n == 0 {
		return f, nil
	}
	// Grown by what comes, not by what the header says.
	var data bytes.Buffer
	if _, err := io.CopyN(&data, r, int64(n)); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	f.data = data.Bytes()
	return f, nil
}
