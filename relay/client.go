package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"ssh-stay/stream"
)

// ExecFunc runs a command at the far end, by whatever login shell the user has
// there, and returns its standard input and output. The connection has a
// CloseWrite; a method Stderr() string, if there is one, tells what the command
// said on standard error.
type ExecFunc func(ctx context.Context, command string) (net.Conn, error)

// Client is the near side: it starts the relay at the far end, after it has
// brought it there if need be. Its methods may be called from several goroutines
// at once.
type Client struct {
	Binaries []Binary                // that can be brought; see the function Binaries
	Progress func(done, total int64) // of an upload, in bytes; nil: nobody is told
	Warn     func(text string)       // what the relay says of its host, not yet fit for a terminal; nil: nobody is told
	Patience time.Duration           // for an answer of the far end; 0: 10 s
	Log      *slog.Logger

	stall time.Duration // for the progress of an upload; 0: 15 s

	mu      sync.Mutex // guards the following, which is of the last Open
	machine identity   // that the relay is on
	sshd    string
}

// ErrGone says that no relay runs at the far end: the streams are gone.
var ErrGone error = goneError{}

type goneError struct{}

func (goneError) Error() string { return "the relay has gone, and the sessions with it" }

// Unwrap: a relay that had started meanwhile would not know the stream either.
func (goneError) Unwrap() error { return &stream.RefusedError{Code: stream.CodeUnknown} }

// ElsewhereError says that the far end is another machine than the one where the
// streams are, of several that share a name and a host key.
type ElsewhereError struct{}

func (*ElsewhereError) Error() string { return "the name leads to another machine now" }

// UnavailableError says that the far end can have no relay, or did not answer as
// one. Why may have the far end's words in it, and Stderr is all its own: both
// bounded, and not yet fit for a terminal.
type UnavailableError struct{ Why, Stderr string }

func (e *UnavailableError) Error() string { return "no relay at the far end: " + e.Why }

// Open starts the relay, unless one runs already, and returns a channel to it.
// The relay's first byte is the first that is read. Errors: those of exec,
// *UnavailableError, and those of the connection. The caller closes it.
//
// An answer that does not come takes no more than Patience and a third of the
// time until ctx ends, so that some is left for another way. What bounds an
// upload is its progress, and ctx.
func (c *Client) Open(ctx context.Context, exec ExecFunc) (net.Conn, error) {
	return (&starter{c, exec, "open"}).start(ctx)
}

// Attach returns a channel to the relay that runs, and starts none: without
// one it returns ErrGone, and *ElsewhereError on another machine than that of
// Open. Else it is as Open, and uploads too: the bridge to a relay that lives may
// have been cleaned away. There is no other way to leave time for.
func (c *Client) Attach(ctx context.Context, exec ExecFunc) (net.Conn, error) {
	return (&starter{c, exec, "attach"}).start(ctx)
}

// Sshd is the address, IP:PORT, at which the far end's sshd took the connection
// of Open: what localhost may stand for there. It is empty before, and where
// sshd does not say.
func (c *Client) Sshd() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sshd
}

// starter is one call of Open or Attach.
type starter struct {
	*Client
	exec ExecFunc
	verb string
}

func (s *starter) start(ctx context.Context) (net.Conn, error) {
	for try := 0; ; try++ {
		conn, a, err := s.run(ctx, startScript(s.Binaries, s.verb))
		if err != nil {
			return nil, err
		}
		if a.word == "ready" {
			if err = s.ready(a.text); err == nil {
				return conn, nil
			}
		}
		conn.Close()
		switch {
		case err != nil:
			return nil, err
		case a.word == "gone" && s.isElsewhere(parseIdentity(a.text)):
			return nil, &ElsewhereError{}
		case a.word == "gone":
			return nil, ErrGone
		case a.word != "need":
			return nil, unexpected(a)
		case try > 0:
			return nil, &UnavailableError{Why: "what was stored there is not found again"}
		}
		if err := s.bring(ctx, a.text); err != nil {
			return nil, err
		}
	}
}

// ready remembers what a bridge says of its host, "MACHINE" or "MACHINE IP PORT".
// The relay that it has reached knows our streams only if the machine is theirs.
func (s *starter) ready(text string) error {
	machine, address, _ := strings.Cut(text, " ")
	here := parseIdentity(machine)
	if s.verb == "attach" && s.isElsewhere(here) {
		return &ElsewhereError{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verb == "open" || s.machine == (identity{}) {
		s.machine, s.sshd = here, parseAddress(address)
	}
	return nil
}

func (c *Client) isElsewhere(here identity) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return here.isOther(c.machine)
}

// parseAddress reads "IP PORT"; of anything else it is empty.
func parseAddress(text string) string {
	ip, port, _ := strings.Cut(text, " ")
	address, err := netip.ParseAddrPort(net.JoinHostPort(ip, port))
	if err != nil {
		return ""
	}
	return address.String()
}

// bring uploads the binary for a platform, as `uname -sm` names it.
func (s *starter) bring(ctx context.Context, platform string) error {
	for _, b := range s.Binaries {
		for _, name := range unames[b.OS+"/"+b.Arch] {
			if name == platform {
				return s.upload(ctx, &b)
			}
		}
	}
	return &UnavailableError{Why: "this ssh-stay has no relay for its platform, " + platform}
}

// run starts a command and waits for its first marker.
func (s *starter) run(ctx context.Context, command string) (net.Conn, answer, error) {
	patience := s.patience(ctx)
	bounded, cancel := context.WithTimeoutCause(ctx, patience, noAnswer(patience))
	defer cancel()
	conn, err := s.exec(bounded, command)
	if err != nil {
		return nil, answer{}, fmt.Errorf("start the relay: %w", err)
	}
	a, err := await(bounded, conn)
	for err == nil && a.word == "warn" {
		if s.Warn != nil {
			s.Warn(a.text)
		}
		a, err = await(bounded, conn)
	}
	if err != nil {
		return nil, answer{}, err
	}
	s.Log.Debug("far end answered", "word", a.word, "text", a.text)
	return conn, a, nil
}

// patience is for one answer.
func (s *starter) patience(ctx context.Context) time.Duration {
	d := cmp.Or(s.Patience, 10*time.Second)
	if end, ok := ctx.Deadline(); ok && s.verb == "open" {
		d = min(d, time.Until(end)/3)
	}
	return d
}

func noAnswer(patience time.Duration) error {
	return &UnavailableError{Why: fmt.Sprintf("no answer within %v", patience.Round(time.Millisecond))}
}

// await waits for a marker, and closes conn when it returns an error: that of
// ctx, and what "error" stands for, are errors.
func await(ctx context.Context, conn net.Conn) (answer, error) {
	a, err := until(ctx, func() (answer, error) { return readAnswer(conn) })
	if ctx.Err() != nil {
		a, err = answer{}, context.Cause(ctx)
	}
	if err = failure(conn, a, err); err != nil {
		conn.Close()
		return answer{}, err
	}
	return a, nil
}

// failure is the error of an answer that was read, or was not.
func failure(conn net.Conn, a answer, err error) error {
	unavailable := (*UnavailableError)(nil)
	switch {
	case err == io.EOF:
		err = &UnavailableError{Why: "it ended without an answer"}
	case err != nil && !errors.As(err, &unavailable):
		err = fmt.Errorf("start the relay: %w", err)
	case a.word == "error":
		err = &UnavailableError{Why: a.text}
	}
	if errors.As(err, &unavailable) {
		err = &UnavailableError{Why: unavailable.Why, Stderr: stderr(conn)}
	}
	return err
}

// stderr is what the command of an ExecFunc has said there.
func stderr(conn net.Conn) string {
	if said, ok := conn.(interface{ Stderr() string }); ok {
		return said.Stderr()
	}
	return ""
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
