package hop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
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

// NotSSHError says that a host speaks another protocol: Said is the first line
// that came from it. It is foreign text.
type NotSSHError struct {
	Said string
	Err  error // how the handshake failed
}

func (e *NotSSHError) Error() string { return fmt.Sprintf("not an SSH server: it says %q", e.Said) }
func (e *NotSSHError) Unwrap() error { return e.Err }

// maxGreeting bounds what is kept of the lines before the version, of which the
// first is told.
const maxGreeting = 256

// greeting is what a host says up to its version.
type greeting struct {
	mu    sync.Mutex // guards what follows
	heard []byte     // no more than maxGreeting; nil once the version has come
	last  []byte     // the end of it, which may be the version's beginning
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
	version := []byte("\nSSH-")
	if g.last == nil {
		g.last = version[:1]
	}
	seen := slices.Concat(g.last, p)
	if bytes.Contains(seen, version) {
		g.named, g.heard, g.last = true, nil, nil
		return
	}
	g.heard = append(g.heard, p[:min(len(p), maxGreeting-len(g.heard))]...)
	g.last = seen[max(0, len(seen)-len(version)+1):]
}

// dropped is a *DroppedError where a handshake failed since the host had closed
// before it named its version, a *NotSSHError where it said something else
// instead, else why the handshake failed. cause is the connection's.
func (g *greeting) dropped(failed, cause error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	closed := HungUp(cause)
	line, _, _ := strings.Cut(string(g.heard), "\n")
	said := strings.TrimSpace(line)
	isSshd := said == "" || said == "Exceeded MaxStartups" || said == "Not allowed at this time"
	switch {
	case g.named:
		return failed
	case !isSshd && (closed || cause == nil): // the library takes no more than 255 bytes
		return &NotSSHError{said, failed}
	case isSshd && closed:
		return &DroppedError{said}
	}
	return failed
}

// HungUp says whether an error of a connection is the peer's end of it.
func HungUp(err error) bool {
	return errors.Is(err, io.EOF) || slices.ContainsFunc(resetErrnos(), func(e error) bool { return errors.Is(err, e) })
}
