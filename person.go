package main

import (
	"context"
	"sync/atomic"

	"ssh-stay/prompt"
	"ssh-stay/proxy"
)

// person is the user before the terminal, or behind SSH_ASKPASS.
type person struct {
	asker prompt.Asker
	asked atomic.Bool // something was asked: the user sees what is going on
}

// ask is an auth.AskFunc. What a user takes to answer is not held against the
// host.
func (p *person) ask(ctx context.Context, text string, echo, confirm bool) ([]byte, error) {
	p.asked.Store(true)
	defer proxy.Pause(ctx)()
	return p.asker.Ask(ctx, prompt.Question{Text: text, Echo: echo, Confirm: confirm})
}

// tell shows a line that ssh would log, ended as ssh does. It is fit for a
// terminal.
func (p *person) tell(line string) { p.show(line + "\r\n") }

// show shows text, which is fit for a terminal, as it is.
func (p *person) show(text string) { writeStderr([]byte(text)) }
