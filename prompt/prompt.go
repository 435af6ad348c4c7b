// Package prompt asks the user a question: on the controlling terminal, or by
// the program in SSH_ASKPASS. Which of them, and every byte shown, is as
// read_passphrase of OpenSSH has it (readpass.c of 9.2 and 10.3). Stdin and
// stdout are the peer's in a ProxyCommand and are never touched; stderr is only
// handed to the askpass program, which has it under ssh too. The package knows
// no ssh: what is asked, and whether the answer is any good, is the caller's.
package prompt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
)

// ErrNoAnswer says that there is no answer, wrapped with why: there is no one to
// ask, the input ended, askpass failed, or a signal came. OpenSSH goes on with an
// empty answer there; a caller who wants that can.
var ErrNoAnswer = errors.New("no answer")

// maxAnswer is as many bytes of an answer as OpenSSH takes; the rest is dropped.
const maxAnswer = 1023

// Question is what is asked.
type Question struct {
	Text string // as shown, complete; escaped by the caller
	Echo bool   // show what is typed
	// Confirm marks a yes or no that askpass may show as buttons, by
	// SSH_ASKPASS_PROMPT=confirm. As in OpenSSH's ask_permission it is put to
	// askpass alone, never to the terminal, and where askpass is not allowed
	// there is no answer. Pressing the button is the empty answer.
	Confirm bool
	// Background says that nobody waits for the question: the user is at
	// something else, perhaps on this terminal. It is put by askpass, or not at
	// all: a program that reads the terminal beside us could get the answer, and
	// the inner ssh would send it to its remote command.
	Background bool
}

// Asker asks one question at a time: two hops never prompt at once. The zero
// value is ready. It is safe for concurrent use.
type Asker struct {
	once sync.Once
	turn chan struct{} // holds one element while a question is asked

	mu     sync.Mutex // guards asking
	asking string
}

// Ask asks, once those who came before have their answer, and returns what was
// typed without its line end; an empty line is an answer. The caller wipes it.
// The error wraps ErrNoAnswer, or is ctx's cause if ctx ended first.
func (a *Asker) Ask(ctx context.Context, q Question) ([]byte, error) {
	a.once.Do(func() { a.turn = make(chan struct{}, 1) })
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	a.setAsking(q.Text)
	defer a.setAsking("")
	answer, err := ask(ctx, q)
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
}

// Asking is the text of the question that is being asked now, "" for none.
func (a *Asker) Asking() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asking
}

func (a *Asker) setAsking(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking = text
}

// Wipe overwrites an answer.
func Wipe(b []byte) { clear(b) }

// ask chooses whom to ask. Its errors say why there is no answer.
func ask(ctx context.Context, q Question) ([]byte, error) {
	may, first := askpassUse()
	if first || may && (q.Confirm || q.Background && haveAskpass()) {
		return runAskpass(ctx, q)
	}
	if q.Confirm || q.Background {
		return nil, errNotAllowed
	}
	t, err := openTerminal()
	switch {
	case err == nil:
		defer t.close()
		return t.ask(ctx, q)
	case may:
		return runAskpass(ctx, q)
	}
	return nil, fmt.Errorf("%w; %w", err, errNotAllowed)
}

var errNotAllowed = errors.New("askpass is not allowed by DISPLAY, WAYLAND_DISPLAY and SSH_ASKPASS_REQUIRE")

func haveAskpass() bool {
	_, err := askpassProgram()
	return err == nil
}

// askpassUse tells by the environment whether askpass may be used at all, and
// whether before the terminal. WAYLAND_DISPLAY counts in recent versions alone:
// not yet in 9.2, but in 10.3.
func askpassUse() (may, first bool) {
	may = os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != ""
	switch strings.ToLower(os.Getenv("SSH_ASKPASS_REQUIRE")) {
	case "force":
		return true, true
	case "prefer":
		return may, may
	case "never":
		return false, false
	}
	return may, false
}

// cut ends an answer at its line end. NUL counts as one: OpenSSH keeps answers
// as C strings, and a password set through it ends there too.
func cut(b []byte) []byte {
	if i := bytes.IndexAny(b, "\r\n\x00"); i >= 0 {
		Wipe(b[i:])
		return b[:i:i]
	}
	return b
}
