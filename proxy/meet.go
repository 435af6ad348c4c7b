package proxy

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"ssh-stay/hop"
)

const (
	// maxSaid bounds what is remembered of what ssh says before its host does: its
	// version (OpenSSH), or that and its first key exchange message (others), 2 KiB.
	// A pipe takes so much, and any socket: to write it waits for nobody.
	maxSaid = 16 << 10
	// aheadSize is read at once before it is known who copies.
	aheadSize = 4 << 10
)

// readAhead is one read that goes on though nobody may wait for it any more. nil
// is none.
type readAhead chan piece

type piece struct {
	b   []byte
	err error
}

// startRead lends r to one read, which ends with r's next bytes or its end.
func startRead(r io.Reader) readAhead {
	a := make(readAhead, 1)
	go func() { // ends with the read
		b := make([]byte, aheadSize)
		n, err := r.Read(b)
		a <- piece{b[:n], err}
	}()
	return a
}

// read is r.Read after what was read ahead. buf holds aheadSize at least.
func (a *readAhead) read(r io.Reader, buf []byte) (int, error) {
	if *a == nil {
		return r.Read(buf)
	}
	p := <-*a
	*a = nil
	return copy(buf, p.b), p.err
}

// meeting is what goes on between the first dial and the first word of a host
// that stays: the client is there all the time, the hosts come and go.
type meeting struct {
	route  *Route
	client *Client

	path    *Path    // the hops, which outlive a host's refusal; nil: to be made
	dial    DialFunc // from their far end
	refusal []byte   // as the last host has said it
}

// Meet is Dial with somebody there who speaks: what client says goes to the host
// that was dialed. Where that drops the connection before it has named its
// version, as sshd does by MaxStartups and PerSourcePenalties, it is dialed again
// as hop hosts are, over the same hops, and told the same from the start. It ends
// as soon as the host says anything else, or client what ssh would not say; Splice
// goes on from there. Where it has refused for the last time, a *hop.DroppedError,
// its words are passed to client, and the end is left to the caller.
func (r *Route) Meet(ctx context.Context, client *Client) (conn *Conn, err error) {
	held, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with the client or with Meet
		select {
		case <-client.Gone():
			cancel(ErrClientGone)
		case <-held.Done():
		}
	}()
	m := &meeting{route: r, client: client}
	err = r.hold(held, func(dialing context.Context) error {
		conn, err = m.try(dialing, ctx)
		return err
	})
	if err == nil {
		return conn, nil
	}
	m.path.Close()
	if dropped := (*hop.DroppedError)(nil); errors.As(err, &dropped) && len(m.refusal) > 0 {
		to(client.out).Write(m.refusal) // if it is still there
	}
	return nil, err
}

// try dials, within dialing, and listens for as long as the host takes.
func (m *meeting) try(dialing, ctx context.Context) (conn *Conn, err error) {
	if m.path == nil {
		if m.path, m.dial, err = m.route.connectOnce(dialing); err != nil {
			return nil, err
		}
	}
	host, err := m.dial(dialing, m.route.Host, m.route.Port)
	if err != nil {
		m.path.Close()
		m.path = nil
		return nil, err
	}
	conn = &Conn{Conn: host, path: m.path}
	if m.route.Listening != nil {
		m.route.Listening()
	}
	if err := m.listen(ctx, conn); err != nil {
		conn.Conn.Close()
		return nil, err
	}
	return conn, nil
}

// listen returns nil once nothing is to be tried again. Errors of conn are left to
// who reads it.
func (m *meeting) listen(ctx context.Context, conn *Conn) error {
	tell(conn, m.client.said)
	conn.ahead = startRead(conn.Conn)
	for {
		if m.client.ahead == nil {
			m.client.ahead = startRead(m.client.in)
		}
		select {
		case p := <-m.client.ahead:
			if !m.client.remember(p) {
				m.client.ahead <- p // for Splice
				return nil
			}
			m.client.ahead = nil
			tell(conn, p.b)
		case p := <-conn.ahead:
			switch heard := slices.Concat(conn.heard, p.b); {
			case !refuses(heard) || p.err != nil && !hungUp(p.err):
				conn.ahead <- p // for Splice
				return nil
			case p.err != nil:
				m.refusal = heard
				said := strings.TrimSpace(string(heard))
				return &ConnectError{m.route.Host, m.route.Port, &hop.DroppedError{Said: said}}
			default:
				conn.heard, conn.ahead = heard, startRead(conn.Conn)
			}
		case <-m.client.Gone():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tell writes what a host that stays has from us. One that has gone is known by
// reading.
func tell(conn *Conn, p []byte) {
	if len(p) > 0 {
		n, _ := conn.Conn.Write(p)
		conn.up.Add(int64(n))
	}
}

// remember keeps what the client says. It reports false for what another host is
// not to be told: the end, too much, or what no ssh begins with, since who knows
// what a host did before it closed.
func (c *Client) remember(p piece) bool {
	said := slices.Concat(c.said, p.b)
	if p.err != nil || len(said) > maxSaid || !agree(string(said), "SSH-") {
		return false
	}
	c.said = said
	return true
}

// refuses says whether that may be all, or the beginning, of what sshd says to
// one that it drops (sshd.c: drop_connection, OpenSSH 8.5 and later; before that
// it says nothing).
func refuses(heard []byte) bool {
	for _, line := range []string{"Exceeded MaxStartups\r\n", "Not allowed at this time\r\n"} {
		if strings.HasPrefix(line, string(heard)) {
			return true
		}
	}
	return false
}

// agree says whether one of the texts begins the other.
func agree(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

// hungUp tells the host's own end of a connection from that of the way there.
func hungUp(err error) bool {
	return !tellsAll(err) && hop.HungUp(err)
}
