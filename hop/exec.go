package hop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// ExecRefusedError says that the host runs no command for us. Message is the
// host's own text, "" where it gave none, not yet fit for a terminal.
type ExecRefusedError struct{ Hop, Message string }

func (e *ExecRefusedError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("hop %s runs no commands", e.Hop)
	}
	return fmt.Sprintf("hop %s runs no commands: %s", e.Hop, strconv.QuoteToGraphic(e.Message))
}

// maxStderr is how much of a command's standard error is kept.
const maxStderr = 4 << 10

// Exec runs command on the host, by its login shell, and returns its standard
// input and output as a connection, as Dial does. CloseWrite ends the input,
// Close ends both but not the command. Its Stderr() string is the first 4 KiB
// of standard error so far, the host's text as it came. Errors:
// *ExecRefusedError, *LostError, and that of ctx, whose end leaves the hop as
// it is.
//
// Nothing can be written before the host's answer has come: x/crypto v0.58 does
// not say when it has sent a request that it waits for, and sshd discards what
// comes ahead of it. A command that speaks first loses no time by that.
func (h *Hop) Exec(ctx context.Context, command string) (net.Conn, error) {
	type started struct {
		c   *process
		err error
	}
	answer := make(chan started)
	go func() { // ends with the host's answers or with the hop
		c, err := h.exec(command)
		select {
		case answer <- started{c, err}:
			return
		case <-ctx.Done():
		case <-h.done:
		}
		if err == nil {
			c.Close()
		}
	}()
	select {
	case s := <-answer:
		if s.err != nil {
			return nil, s.err
		}
		return s.c, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("hop %s: no answer on a command: %w", h.name, context.Cause(ctx))
	case <-h.done:
		return nil, h.ended()
	}
}

// ended is what an operation returns that the end of the hop cut short.
func (h *Hop) ended() error {
	<-h.done
	if lost := h.Err(); lost != nil {
		return lost
	}
	return net.ErrClosed
}

func (h *Hop) exec(command string) (*process, error) {
	start := time.Now()
	ch, reqs, err := h.open(context.Background(), "session", nil)
	if refused := (*ssh.OpenChannelError)(nil); errors.As(err, &refused) {
		return nil, &ExecRefusedError{h.name, refused.Message}
	}
	if err != nil {
		return nil, h.ended()
	}
	go ssh.DiscardRequests(reqs) // ends with the channel
	c := &process{channel: channel{Channel: ch, hop: h}, quiet: make(chan struct{})}
	go c.keepStderr(ch.Stderr()) // ends with the channel
	ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{command}))
	if err != nil && c.channel.ended(err) != err {
		return nil, h.ended()
	}
	if !ok {
		ch.Close()
		return nil, &ExecRefusedError{h.name, ""}
	}
	h.log.Debug("command started", "hop", h.name, "after", time.Since(start))
	return c, nil
}

// process is a command at the host as a net.Conn.
type process struct {
	channel
	quiet chan struct{} // closed when standard error has ended

	mu     sync.Mutex // guards stderr
	stderr []byte
}

// keepStderr reads on when it keeps no more: what is left unread fills the
// window that standard output shares.
func (c *process) keepStderr(r io.Reader) {
	defer close(c.quiet)
	buf := make([]byte, maxStderr)
	for {
		n, err := r.Read(buf)
		c.mu.Lock()
		c.stderr = append(c.stderr, buf[:min(n, maxStderr-len(c.stderr))]...)
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Stderr is told after the end of standard output too, which may be read first.
func (c *process) Stderr() string {
	select {
	case <-c.quiet:
	case <-time.After(settle):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.stderr)
}
