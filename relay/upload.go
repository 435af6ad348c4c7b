package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// storing is how long the far end may take from our last byte, much of which
// may still be under way then, until the binary is in its place.
const storing = 2 * time.Minute

// upload stores b at the far end, in the first place that takes it.
func (c *Client) upload(ctx context.Context, exec ExecFunc, b *Binary) error {
	var refused *UnavailableError // by the place before
	for skip := 0; ; {
		conn, a, err := c.run(ctx, exec, uploadScript(b.SHA256, rand.Text(), skip))
		if err != nil && refused != nil {
			return refused // which says more than that no place is left
		}
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(a.text)
		if a.word != "go" || err != nil || n <= skip {
			conn.Close()
			return unexpected(a)
		}
		skip = n
		err = c.send(ctx, conn, b)
		if again := (*againError)(nil); errors.As(err, &again) {
			refused = &UnavailableError{again.why, again.stderr}
			c.Log.Debug("upload failed", "place", n, "why", again.why, "stderr", again.stderr)
			continue
		}
		return err
	}
}

// againError says that another place may do.
type againError struct{ why, stderr string }

func (e *againError) Error() string { return e.why }

// send sends b to an upload script that has said "go", and closes conn.
func (c *Client) send(ctx context.Context, conn net.Conn, b *Binary) error {
	defer conn.Close()
	progress := c.Progress
	if progress == nil {
		progress = func(done, total int64) {}
	}
	// When the script has ended early, its answer says why.
	_, err := until(ctx, func() (struct{}, error) { return struct{}{}, b.WriteGzip(conn, progress) })
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("upload the relay: %w", err)
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite() // an error shows in what is read
	}
	bounded, cancel := context.WithTimeoutCause(ctx, storing, noAnswer(storing))
	defer cancel()
	a, err := await(bounded, conn)
	switch {
	case err != nil:
		return err
	case a.word == "again":
		again := &againError{why: a.text}
		if said, ok := conn.(interface{ Stderr() string }); ok {
			again.stderr = said.Stderr()
		}
		return again
	case a.word != "stored":
		return unexpected(a)
	}
	return nil
}
