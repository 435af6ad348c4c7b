package hop

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/keepalive"
)

// Version is how the host's server names itself, in its own words: not yet fit
// for a terminal.
func (h *Hop) Version() string { return string(h.client.ServerVersion()) }

// Algorithms are those that the two ends have agreed on; its zero value where
// the library does not tell.
func (h *Hop) Algorithms() ssh.NegotiatedAlgorithms {
	if told, ok := h.client.Conn.(ssh.AlgorithmsConnMetadata); ok {
		return told.Algorithms()
	}
	return ssh.NegotiatedAlgorithms{}
}

// Silence is the time since the host was last heard.
func (h *Hop) Silence() time.Duration { return h.conn.life.Silence() }

// ClosedByHost says whether the host itself has ended the connection, in order:
// by a message, or by the end of its stream. It is false while the hop lives.
func (h *Hop) ClosedByHost() bool {
	var silent *keepalive.SilentError
	var errno syscall.Errno
	err := h.Err()
	return err != nil && !errors.As(err, &silent) && !errors.As(err, &errno) && !errors.Is(err, errProtocol)
}

// Ping asks the host for an answer, by the probe that keeps hops alive, made
// longer by some bytes, and returns how long it took. Servers do not mind what
// they do not read. The end of ctx leaves the hop as it is. Errors: *LostError,
// net.ErrClosed after Close, and that of ctx.
func (h *Hop) Ping(ctx context.Context, padding int) (time.Duration, error) {
	start := time.Now()
	answered := make(chan error, 1)
	go func() { // ends with the answer or with the hop
		_, _, err := h.client.SendRequest("keepalive@openssh.com", true, make([]byte, padding))
		answered <- err
	}()
	select {
	case err := <-answered:
		if err != nil {
			return 0, h.ended()
		}
		return time.Since(start), nil
	case <-h.done:
		return 0, h.ended()
	case <-ctx.Done():
		return 0, fmt.Errorf("%s: no answer to a probe: %w", h.name, context.Cause(ctx))
	}
}
