package remote

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrUnknownToken is the refusal of a server that has no state for the reconnection token:
// the window can only be reloaded.
var ErrUnknownToken = errors.New("unknown reconnection token")

// RefusedError is a server's refusal during the handshake, in its own words.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "refused by the VS Code server: " + e.Reason }

// Is reports ErrUnknownToken by the reason's first words: the protocol has no code for it.
func (e *RefusedError) Is(target error) bool {
	return target == ErrUnknownToken && strings.HasPrefix(e.Reason, unknownToken)
}

// The texts of VS Code 1.100's server.
const (
	unknownToken   = "Unknown reconnection token"
	neverSeen      = unknownToken + " (never seen)"
	seenBefore     = unknownToken + " (seen before)"
	duplicateToken = "Duplicate reconnection token"
	authMismatch   = "Unauthorized client refused: auth mismatch"
)

// handshakeTime is how long a window waits for the server's `sign`, and then for its `ok`.
const handshakeTime = 10 * time.Second

// control is any of the JSON messages of the handshake.
type control struct {
	Type   string `json:"type"`
	Auth   string `json:"auth,omitempty"`
	Data   string `json:"data,omitempty"`
	Signed string `json:"signedData,omitempty"`
	Wants  int    `json:"desiredConnectionType,omitempty"`
	Reason string `json:"reason,omitempty"`
}

const wantsManagement = 1

// upgrade makes of c a connection whose next frame follows `ok`; it may have been read already.
// It leaves c open on errors.
func upgrade(ctx context.Context, c net.Conn, auth, token string, again bool) (*bufio.Reader, error) {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	r, err := clientHandshake(c, auth, token, again)
	if !stop() {
		return nil, fmt.Errorf("handshake: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return r, c.SetDeadline(time.Time{})
}

func clientHandshake(c net.Conn, auth, token string, again bool) (*bufio.Reader, error) {
	if auth == "" {
		auth = "00000000000000000000" // what a window says where it has no token
	}
	var nonce [16]byte
	rand.Read(nonce[:])
	query := url.Values{
		"reconnectionToken":   {token},
		"reconnection":        {fmt.Sprint(again)},
		"skipWebSocketFrames": {"true"},
	}
	c.SetDeadline(time.Now().Add(handshakeTime))
	if _, err := fmt.Fprintf(c, "GET /?%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Key: %s\r\n\r\n", query.Encode(), base64.StdEncoding.EncodeToString(nonce[:])); err != nil {
		return nil, err
	}
	r := bufio.NewReader(c)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, &RefusedError{Reason: answer.Status}
	}
	if err := writeControl(c, control{Type: "auth", Auth: auth, Data: token}); err != nil {
		return nil, err
	}
	// No vsda module here, nor in the open source server: any signature passes.
	sign, err := readControl(r, "sign")
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(handshakeTime))
	if err := writeControl(c, control{Type: "connectionType", Signed: sign.Data, Wants: wantsManagement}); err != nil {
		return nil, err
	}
	_, err = readControl(r, "ok")
	return r, err
}

func writeControl(w io.Writer, m control) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = w.Write(frame{kind: kindControl, data: data}.append(nil))
	return err
}

// readControl reads the next step of the handshake, past keepalives: a server's clock runs already.
func readControl(r io.Reader, want string) (control, error) {
	for {
		f, err := readFrame(r)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return control{}, err
		}
		switch f.kind {
		case kindKeepAlive, kindAck:
			continue
		case kindControl:
		default:
			return control{}, fmt.Errorf("%w of the handshake: type %d", ErrFrame, f.kind)
		}
		var m control
		if err := json.Unmarshal(f.data, &m); err != nil {
			return control{}, fmt.Errorf("control message: %w", err)
		}
		if m.Type == "error" {
			return m, &RefusedError{Reason: m.Reason}
		}
		if m.Type != want {
			return m, fmt.Errorf("control message: got %q, want %q", m.Type, want)
		}
		return m, nil
	}
}

// newToken makes a random UUID.
func newToken() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Probe asks the server behind c for its version, as the first connection of a window does to see
// whether anything answers there. It closes c.
func Probe(ctx context.Context, c net.Conn) (string, error) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	version, err := version(c)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("probe: %w", err)
	}
	return version, nil
}

func version(c net.Conn) (string, error) {
	if _, err := io.WriteString(c, "GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", &RefusedError{Reason: answer.Status}
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1024))
	return string(body), err
}
