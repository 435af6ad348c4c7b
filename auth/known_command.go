package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxCommandOutput bounds what a KnownHostsCommand may print.
const maxCommandOutput = 16 << 20

// closeWait is how long a command that has ended may keep its output open
// through processes of its own.
const closeWait = 2 * time.Second

// runCommand runs KnownHostsCommand without a shell and returns the lines of
// its output that name want, for which said stands in %H. It fails where the
// command does, and where ctx ends.
func (h *HostKeys) runCommand(ctx context.Context, invocation, said, want string, key ssh.PublicKey) ([]entry, error) {
	tag := "KnownHostsCommand-" + invocation
	argv, err := h.Command(invocation, said, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", tag, err)
	}
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return nil, fmt.Errorf("%s: %q: want an absolute path", tag, argv)
	}
	var out limitedBuffer
	stderr := &lineLog{log: h.log(), tag: tag}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, stderr, closeWait
	err = cmd.Run()
	stderr.flush()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case out.full: // the command has died of it
		err = errTooLong
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", tag, argv[0], err)
	}
	found := knownFile{tag, out.text.Bytes()}.lookup(want)
	for i := range found {
		found[i].command = true
	}
	return found, nil
}

// limitedBuffer takes maxCommandOutput bytes.
type limitedBuffer struct {
	text bytes.Buffer
	full bool
}

var errTooLong = errors.New("prints too much")

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.text.Len()+len(p) > maxCommandOutput {
		b.full = true
		return 0, errTooLong
	}
	return b.text.Write(p)
}

// lineLog logs each line written to it.
type lineLog struct {
	log  *slog.Logger
	tag  string
	line []byte // not ended yet
}

func (l *lineLog) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		l.line = append(l.line, part...)
		if bytes.HasSuffix(part, []byte("\n")) || len(l.line) > 4<<10 {
			l.flush()
		}
	}
	return len(p), nil
}

func (l *lineLog) flush() {
	if text := bytes.TrimSpace(l.line); len(text) > 0 {
		l.log.Warn(l.tag, "stderr", string(text))
	}
	l.line = l.line[:0]
}
