package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"
)

// ExecFunc runs a command at the far end, by whatever login shell the user has
// there, and returns its standard input and output. The connection has a
// CloseWrite; a method Stderr() string, if there is one, tells what the command
// said on standard error.
type ExecFunc func(ctx context.Context, command string) (net.Conn, error)

// Client is the near side: it starts the relay at the far end, after it has
// brought it there if need be. It keeps no state, and its methods may be called
// from several goroutines at once.
type Client struct {
	Binaries []Binary                // that can be brought; see the function Binaries
	Progress func(done, total int64) // of an upload, in bytes; nil: nobody is told
	Warn     func(text string)       // what the relay says of its host, not yet fit for a terminal; nil: nobody is told
	Patience time.Duration           // for an answer of the far end; 0: 10 s
	Log      *slog.Logger
}

// ErrGone says that no relay runs at the far end: the streams are gone.
var ErrGone = errors.New("the relay has gone, and the streams with it")

// UnavailableError says that the far end can have no relay, or did not answer as
// one. Why may have the far end's words in it, and Stderr is all its own: both
// bounded, and not yet fit for a terminal.
type UnavailableError struct{ Why, Stderr string }

func (e *UnavailableError) Error() string { return "no relay at the far end: " + e.Why }

// Open starts the relay, unless one runs already, and returns a channel to it.
// The relay's first byte is the first that is read. Errors: those of exec,
// *UnavailableError, and those of the connection. The caller closes it.
func (c *Client) Open(ctx context.Context, exec ExecFunc) (net.Conn, error) {
	return c.start(ctx, exec, "open")
}

// Attach returns a channel to the relay that runs, and starts none: without
// one it returns ErrGone. Else it is as Open.
func (c *Client) Attach(ctx context.Context, exec ExecFunc) (net.Conn, error) {
	return c.start(ctx, exec, "attach")
}

func (c *Client) start(ctx context.Context, exec ExecFunc, verb string) (net.Conn, error) {
	for try := 0; ; try++ {
		conn, a, err := c.run(ctx, exec, startScript(c.Binaries, verb))
		switch {
		case err != nil:
			return nil, err
		case a.word == "ready":
			return conn, nil
		}
		conn.Close()
		if a.word != "need" {
			return nil, unexpected(a)
		}
		if try > 0 {
			return nil, &UnavailableError{Why: "what was stored there is not found again"}
		}
		if err := c.bring(ctx, exec, a.text); err != nil {
			return nil, err
		}
	}
}

// bring uploads the binary for a platform, as `uname -sm` names it.
func (c *Client) bring(ctx context.Context, exec ExecFunc, platform string) error {
	for _, b := range c.Binaries {
		for _, name := range unames[b.OS+"/"+b.Arch] {
			if name == platform {
				return c.upload(ctx, exec, &b)
			}
		}
	}
	return &UnavailableError{Why: "this ssh-stay has no relay for its platform, " + platform}
}

// run starts a command and waits for its first marker.
func (c *Client) run(ctx context.Context, exec ExecFunc, command string) (net.Conn, answer, error) {
	patience := c.Patience
	if patience == 0 {
		patience = 10 * time.Second
	}
	bounded, cancel := context.WithTimeoutCause(ctx, patience, noAnswer(patience))
	defer cancel()
	conn, err := exec(bounded, command)
	if err != nil {
		return nil, answer{}, fmt.Errorf("start the relay: %w", err)
	}
	a, err := await(bounded, conn)
	for err == nil && a.word == "warn" {
		if c.Warn != nil {
			c.Warn(a.text)
		}
		a, err = await(bounded, conn)
	}
	if err != nil {
		return nil, answer{}, err
	}
	c.Log.Debug("far end answered", "word", a.word, "text", a.text)
	return conn, a, nil
}

func noAnswer(patience time.Duration) error {
	return &UnavailableError{Why: fmt.Sprintf("no answer within %v", patience)}
}

// await waits for a marker, and closes conn when it returns an error: that of
// ctx, and what "error" and "gone" stand for, are errors.
func await(ctx context.Context, conn net.Conn) (answer, error) {
	a, err := until(ctx, func() (answer, error) { return readAnswer(conn) })
	unavailable := (*UnavailableError)(nil)
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == io.EOF:
		err = &UnavailableError{Why: "it ended without an answer"}
	case err != nil && !errors.As(err, &unavailable):
		err = fmt.Errorf("start the relay: %w", err)
	case a.word == "gone":
		err = ErrGone
	case a.word == "error":
		err = &UnavailableError{Why: a.text}
	}
	if err == nil {
		return a, nil
	}
	conn.Close()
	if said, ok := conn.(interface{ Stderr() string }); ok && errors.As(err, &unavailable) {
		err = &UnavailableError{Why: unavailable.Why, Stderr: said.Stderr()}
	}
	return answer{}, err
}

// until returns what f does, or the error of ctx when that ends first. It then
// leaves f behind: the Read or Write of an SSH channel that is closed returns
// only once the far end closes it too, or the hop ends.
func until[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() { // ends with the channel that f uses
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

func unexpected(a answer) error {
	return &UnavailableError{Why: "it gave an answer out of place: " + a.word}
}

// answer is a line behind the marker: a word, and the text after it.
type answer struct{ word, text string }

const (
	maxNoise  = 64 << 10 // that is read before an answer comes
	maxAnswer = 512      // bytes of a line that are kept
)

// readAnswer skips what a login shell's own files print and returns the first
// answer. It reads byte by byte, since what follows is not ours to read.
func readAnswer(r io.Reader) (answer, error) {
	line := make([]byte, 0, maxAnswer)
	b := make([]byte, 1)
	for range maxNoise {
		if _, err := io.ReadFull(r, b); err != nil {
			return answer{}, err
		}
		if b[0] != '\n' {
			if len(line) < maxAnswer {
				line = append(line, b[0])
			}
			continue
		}
		if rest, ok := strings.CutPrefix(string(line), Mark); ok {
			word, text, _ := strings.Cut(rest, " ")
			return answer{word, text}, nil
		}
		line = line[:0]
	}
	return answer{}, &UnavailableError{Why: fmt.Sprintf("no answer in the %d KiB that it says", maxNoise>>10)}
}
