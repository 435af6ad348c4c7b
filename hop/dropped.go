package hop

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
)

// DroppedError says that a host closed the connection before it named its
// version, as sshd does with those that come too many at once (MaxStartups), or
// from where others have misbehaved (PerSourcePenalties, OpenSSH 9.8). Said is
// the line that newer ones leave.
type DroppedError struct{ Said string }

func (e *DroppedError) Error() string {
	const refused = "refused by the server before its banner"
	if e.Said == "" {
		return refused + " (MaxStartups or PerSourcePenalties of its sshd, or a firewall)"
	}
	return refused + ": " + e.Said
}

// maxGreeting bounds what is kept of the lines before the version; the library
// takes no more than 255 bytes.
const maxGreeting = 256

// greeting is what a host says up to its version.
type greeting struct {
	mu    sync.Mutex // guards what follows
	heard []byte     // nil once the version has come
	named bool
}

// add looks for the version in what arrives, which begins a line (RFC 4253,
// section 4.2).
func (g *greeting) add(p []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.named {
		return
	}
	g.heard = append(g.heard, p[:min(len(p), maxGreeting-len(g.heard))]...)
	if bytes.HasPrefix(g.heard, []byte("SSH-")) || bytes.Contains(g.heard, []byte("\nSSH-")) || len(g.heard) == maxGreeting {
		g.named, g.heard = true, nil
	}
}

// dropped is a *DroppedError where a handshake failed since the host had closed
// before it named its version, else why it failed. cause is the connection's.
func (g *greeting) dropped(failed, cause error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	closed := errors.Is(cause, io.EOF) || errors.Is(cause, syscall.ECONNRESET) || errors.Is(cause, syscall.EPIPE)
	if g.named || !closed {
		return failed
	}
	line, _, _ := strings.Cut(string(g.heard), "\n")
	said := strings.TrimSpace(line)
	if said != "" && said != "Exceeded MaxStartups" && said != "Not allowed at this time" {
		return failed // no sshd
	}
	return &DroppedError{said}
}
