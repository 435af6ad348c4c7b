package remote

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"testing"
)

func TestFrame(t *testing.T) {
	for _, tt := range []struct {
		frame frame
		wire  string
	}{
		{frame{kind: kindRegular, id: 1, data: []byte("hi")}, "01 00000001 00000000 00000002 6869"},
		{frame{kind: kindControl, data: []byte("{}")}, "02 00000000 00000000 00000002 7b7d"},
		{frame{kind: kindAck, ack: 0x01020304}, "03 00000000 01020304 00000000"},
		{frame{kind: kindDisconnect}, "05 00000000 00000000 00000000"},
		{frame{kind: kindKeepAlive, ack: 7}, "09 00000000 00000007 00000000"},
	} {
		wire, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(tt.wire), []byte(" "), nil)))
		if err != nil {
			t.Fatal(err)
		}
		if got := tt.frame.append(nil); !bytes.Equal(got, wire) {
			t.Errorf("%+v: got %x, want %x", tt.frame, got, wire)
		}
		if got, err := readFrame(bytes.NewReader(wire)); err != nil || !reflect.DeepEqual(got, tt.frame) {
			t.Errorf("%x: got %+v, %v, want %+v", wire, got, err, tt.frame)
		}
		for n := 1; n < len(wire); n++ {
			if _, err := readFrame(bytes.NewReader(wire[:n])); err != io.ErrUnexpectedEOF {
				t.Errorf("%x: got %v, want %v", wire[:n], err, io.ErrUnexpectedEOF)
			}
		}
	}
}

func TestFrameBad(t *testing.T) {
	for _, wire := range []string{
		"00000000000000000000000000",
		"04000000000000000000000000",
		"0a000000000000000000000000",
		"48545450202020202020202020", // HTTP
		"01000000010000000010000001", // longer than any
	} {
		b, err := hex.DecodeString(wire)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readFrame(bytes.NewReader(b)); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: got %v, want %v", wire, err, ErrFrame)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add(frame{kind: kindRegular, id: 1, ack: 2, data: []byte("data")}.append(nil))
	f.Add(frame{kind: kindKeepAlive}.append(frame{kind: kindAck, ack: 3}.append(nil)))
	f.Add([]byte("HTTP/1.1 400 Bad Request"))
	f.Add([]byte{1, 0, 0, 0, 1, 0, 0, 0, 0, 0x0f, 0xff, 0xff, 0xff, 'x'})
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bytes.NewReader(wire)
		var again []byte
		for {
			fr, err := readFrame(r)
			if err != nil {
				if err != io.EOF && err != io.ErrUnexpectedEOF && !errors.Is(err, ErrFrame) {
					t.Fatalf("got %v", err)
				}
				break
			}
			again = fr.append(again)
		}
		if !bytes.HasPrefix(wire, again) {
			t.Fatalf("got %x of %x", again, wire)
		}
	})
}
