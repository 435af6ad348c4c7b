//go:build unix

package state

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Unasked is how often a session writes its figures without being asked: never,
// since here it can be.
const Unasked time.Duration = 0

// Asked has an element when somebody looks, and wants fresh figures. It is never
// closed. To look is a signal, so that nothing is spent while nobody does: a file
// to watch, or a clock, would wake every idle session for ever, and a socket
// would be one more thing to guard. SIGWINCH does nothing to a process that does
// not expect it, so that it does not matter when one takes the number of a
// session that has just ended, between our look at it and the signal. A terminal
// sends it too, when its size changes: that costs a write or two.
func Asked() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGWINCH)
	return c
}

// ask asks a process that is known to be a session.
func ask(p process) bool { return syscall.Kill(p.PID, syscall.SIGWINCH) == nil }
