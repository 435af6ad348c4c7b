package hop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// OpenError says that the jump host did not connect us on: it forbids it, or
// it could not reach the target itself. Message is the host's own text, not
// yet fit for a terminal.
type OpenError struct {
	Hop, Target string
	Forbidden   bool
	Message     string
}

func (e *OpenError) Error() string {
	what := "could not connect to"
	if e.Forbidden {
		what = "forbids forwarding to"
	}
	return fmt.Sprintf("hop %s %s %s: %s", e.Hop, what, e.Target, strconv.QuoteToGraphic(e.Message))
}

// Dial opens a connection to host and port from the jump host, which resolves
// the name. When ctx ends first the whole hop is closed. The connection has no
// deadlines; CloseWrite half-closes it.
func (h *Hop) Dial(ctx context.Context, host string, port int) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { h.conn.Close() })
	defer stop()
	if h.rekeysSoon {
		h.noDelay.Do(h.clearNagle)
	} else {
		go h.noDelay.Do(h.clearNagle) // ends with the request or the hop
	}
	payload := ssh.Marshal(struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}{host, uint32(port), "127.0.0.1", 65535})
	start := time.Now()
	ch, reqs, err := h.open(ctx, "direct-tcpip", payload)
	if err != nil {
		return nil, h.openError(ctx, net.JoinHostPort(host, strconv.Itoa(port)), err)
	}
	h.log.Debug("channel opened", "hop", h.name, "to", host, "port", port, "after", time.Since(start))
	go ssh.DiscardRequests(reqs) // ends with the channel
	return &channel{Channel: ch, hop: h}, nil
}

// open opens a channel. The library leaves one unanswered that it opens while
// the connection ends, so its end and that of ctx are waited for as well.
func (h *Hop) open(ctx context.Context, kind string, payload []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	answer := make(chan opened, 1)
	go func() { // ends with the answer; without one it holds nothing but memory
		start := time.Now()
		ch, reqs, err := h.client.OpenChannel(kind, payload)
		if err == nil && kind == "session" { // which the host answers by itself
			h.timed(start)
		}
		answer <- opened{ch, reqs, err}
	}()
	select {
	case o := <-answer:
		return o.ch, o.reqs, o.err
	case <-h.over:
	case <-ctx.Done():
	}
	select { // both may be ready
	case o := <-answer:
		return o.ch, o.reqs, o.err
	default:
		return nil, nil, io.EOF
	}
}

func (h *Hop) openError(ctx context.Context, target string, err error) error {
	if refused := (*ssh.OpenChannelError)(nil); errors.As(err, &refused) {
		forbidden := refused.Reason == ssh.Prohibited || refused.Reason == ssh.UnknownChannelType
		return &OpenError{h.name, target, forbidden, refused.Message}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("hop %s: no answer on opening %s: %w", h.name, target, context.Cause(ctx))
	}
	<-h.done
	if lost := h.Err(); lost != nil {
		return lost
	}
	return net.ErrClosed
}

// soon is less than moves over a hop before its no-op session is closed, which
// takes two round trips: a channel moves 2 MiB in each at most.
const soon = 64 << 20

// clearNagle runs a no-op on the hop. sshd before OpenSSH 10.1 sets
// TCP_NODELAY only when a session starts, and without it holds back every
// small packet of a forwarded connection for a round trip: measured at 100 ms,
// half the upload and 60 ms more of echo. A refusal costs nothing else. The
// session must be closed before a key exchange of ours: x/crypto/ssh 0.58 reads
// no more while it waits with its answer to the host's close for the end of one.
func (h *Hop) clearNagle() {
	version := string(h.client.ServerVersion())
	if !holdsNagle(version) {
		return
	}
	ch, reqs, err := h.open(context.Background(), "session", nil)
	if err != nil {
		h.log.Debug("no-op session refused: Nagle's algorithm stays on", "hop", h.name, "why", err)
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(reqs) // ends with the channel
	ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"exit 0"}))
	h.log.Debug("no-op session against Nagle's algorithm", "hop", h.name, "server", version, "accepted", ok, "error", err)
}

// holdsNagle says whether a server is an OpenSSH before 10.1.
func holdsNagle(version string) bool {
	_, v, ok := strings.Cut(version, "OpenSSH_")
	if !ok {
		return false
	}
	v = strings.TrimPrefix(v, "for_Windows_")
	var major, minor int
	if n, _ := fmt.Sscanf(v, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major < 10 || major == 10 && minor < 1
}

// channel is a forwarded connection as a net.Conn.
type channel struct {
	ssh.Channel
	hop *Hop
}

// settle is how long a channel's end waits to learn whether its hop ended too:
// x/crypto ends all channels just before it says why the connection broke.
const settle = 20 * time.Millisecond

// Read returns io.EOF for the target's end alone. When it was the hop that
// ended, which x/crypto reports alike, it returns the hop's *LostError, or
// net.ErrClosed after Close.
func (c *channel) Read(p []byte) (int, error) {
	n, err := c.Channel.Read(p)
	return n, c.ended(err)
}

// Write fails as Read does, but tells in words that the channel has ended: an EOF
// of what is written would tell nobody why.
func (c *channel) Write(p []byte) (int, error) {
	n, err := c.Channel.Write(p)
	if err = c.ended(err); err == io.EOF {
		err = errChannelClosed
	}
	return n, err
}

// errChannelClosed is for what the far end, or a timeout of its sshd, does.
var errChannelClosed = errors.New("the host has closed the channel")

// ended tells the end of the hop from that of the channel.
func (c *channel) ended(err error) error {
	if err == nil {
		return nil
	}
	if c.hop.conn.err() != nil { // on its way
		<-c.hop.done
	}
	select {
	case <-c.hop.done:
	case <-time.After(settle):
		select {
		case <-c.hop.done: // both at once, on a machine that is short of time
		default:
			return err
		}
	}
	if lost := c.hop.Err(); lost != nil {
		return lost
	}
	return net.ErrClosed
}

func (c *channel) LocalAddr() net.Addr  { return addr(c.hop.name) }
func (c *channel) RemoteAddr() net.Addr { return addr(c.hop.name) }

func (c *channel) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (c *channel) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (c *channel) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// addr names the hop that a channel runs over.
type addr string

func (addr) Network() string  { return "ssh" }
func (a addr) String() string { return string(a) }
