package prompt

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"golang.org/x/term"
)

// askpassDefaults is empty: Windows has no askpass program of its own.
var askpassDefaults []string

// endWithContext has nothing to add: exec.CommandContext kills the program.
func endWithContext(*exec.Cmd) {}

// terminal is the console. A read of it cannot be called off, so the reader has
// it to the end.
type terminal struct{ in, out *os.File }

func openTerminal() (*terminal, error) {
	in, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile("CONOUT$", os.O_WRONLY, 0)
	if err != nil {
		in.Close()
		return nil, err
	}
	return &terminal{in, out}, nil
}

// close closes what is written to; the reader closes the rest.
func (t *terminal) close() { t.out.Close() }

type line struct {
	text []byte
	err  error
}

// ask asks once. If ctx ends or ^C comes before the line does, echo is on again
// and the line, should it come, is wiped.
func (t *terminal) ask(ctx context.Context, q Question) ([]byte, error) {
	console := int(t.in.Fd())
	state, err := term.GetState(console)
	if err != nil {
		t.in.Close()
		return nil, err
	}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt)
	defer signal.Stop(interrupt)
	if _, err := t.out.WriteString("\r" + q.Text); err != nil {
		t.in.Close()
		return nil, err
	}
	lines, gone := make(chan line), make(chan struct{})
	defer close(gone)
	go t.read(q.Echo, lines, gone) // ends with the line, or with the process
	select {
	case l := <-lines:
		if !q.Echo {
			t.out.WriteString("\n")
		}
		return cut(l.text[:min(len(l.text), maxAnswer)]), l.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-interrupt:
		err = errors.New("interrupted")
	}
	t.out.WriteString("\n")
	return nil, errors.Join(err, term.Restore(console, state))
}

// read reads a line and hands it over if someone still waits for it.
func (t *terminal) read(echo bool, lines chan<- line, gone <-chan struct{}) {
	defer t.in.Close()
	var l line
	if echo {
		var s string
		s, l.err = bufio.NewReader(t.in).ReadString('\n')
		l.text = []byte(strings.TrimRight(s, "\r\n"))
	} else {
		l.text, l.err = term.ReadPassword(int(t.in.Fd()))
	}
	select {
	case lines <- l:
	case <-gone:
		Wipe(l.text)
	}
}
