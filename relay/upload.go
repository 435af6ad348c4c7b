package relay

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// errTooLong: an upload may take as long as it takes, while it moves.
var errTooLong = &UnavailableError{Why: "it takes too long to bring the relay"}

// upload stores b at the far end, in the first place that takes it.
func (s *starter) upload(ctx context.Context, b *Binary) error {
	var refused *UnavailableError // by the place before
	for skip := 0; ; {
		conn, a, err := s.run(ctx, uploadScript(b.SHA256, rand.Text(), skip))
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
		err = s.send(ctx, conn, b)
		if again := (*againError)(nil); errors.As(err, &again) {
			refused = &UnavailableError{again.why, again.stderr}
			s.Log.Debug("upload failed", "place", n, "why", again.why, "stderr", again.stderr)
			continue
		}
		return err
	}
}

// againError says that another place may do.
type againError struct{ why, stderr string }

func (e *againError) Error() string { return e.why }

// transfer is an upload under way.
type transfer struct {
	conn  net.Conn
	told  chan [2]int64 // progress of what is written: done, total
	sent  chan error    // the end of it
	heard chan heard    // what the far end says
}

type heard struct {
	answer
	err error
}

// send sends b to an upload script that has said "go", and closes conn.
func (s *starter) send(ctx context.Context, conn net.Conn, b *Binary) error {
	defer conn.Close()
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &transfer{conn, make(chan [2]int64), make(chan error, 1), make(chan heard)}
	// Both end with the channel, which may be later: see until.
	go t.write(running, b)
	go t.read(running)
	limit := cmp.Or(s.stall, 15*time.Second)
	idle := time.NewTimer(limit)
	defer idle.Stop()
	for taken := int64(0); ; {
		select {
		case p := <-t.told:
			if s.Progress != nil {
				s.Progress(p[0], p[1])
			}
		case err := <-t.sent:
			if err != nil {
				return fmt.Errorf("upload the relay: %w", err)
			}
		case h := <-t.heard:
			if h.err != nil || h.word != "at" {
				return t.result(h)
			}
			n, _ := strconv.ParseInt(h.text, 10, 64)
			if n <= taken {
				continue
			}
			taken = n
		case <-idle.C:
			return errTooLong
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				return errTooLong
			}
			return context.Cause(ctx)
		}
		idle.Reset(limit)
	}
}

func (t *transfer) write(running context.Context, b *Binary) {
	err := b.WriteGzip(t.conn, func(done, total int64) {
		select {
		case t.told <- [2]int64{done, total}:
		case <-running.Done():
		}
	})
	if errors.Is(err, io.EOF) { // the script has ended early: its answer says why
		err = nil
	}
	if half, ok := t.conn.(interface{ CloseWrite() error }); ok && err == nil {
		half.CloseWrite() // an error shows in what is read
	}
	t.sent <- err
}

// read passes on what the far end says, up to its last word.
func (t *transfer) read(running context.Context) {
	for {
		a, err := readAnswer(t.conn)
		select {
		case t.heard <- heard{a, err}:
		case <-running.Done():
			return
		}
		if err != nil || a.word != "at" {
			return
		}
	}
}

// result is what the last word stands for.
func (t *transfer) result(h heard) error {
	err := failure(t.conn, h.answer, h.err)
	switch {
	case err != nil:
		return err
	case h.word == "again":
		return &againError{h.text, stderr(t.conn)}
	case h.word != "stored":
		return unexpected(h.answer)
	}
	return nil
}
