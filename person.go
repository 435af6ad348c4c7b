package main

import (
	"context"

	"ssh-stay/prompt"
	"ssh-stay/proxy"
)

// person is the user before the terminal, or behind SSH_ASKPASS.
type person struct {
	asker prompt.Asker
}

// ask is an auth.AskFunc. What a user takes to answer is not held against the
// host.
func (p *person) ask(ctx context.Context, text string, echo, confirm bool) ([]byte, error) {
	defer proxy.Pause(ctx)()
	return p.asker.Ask(ctx, prompt.Question{Text: text, Echo: echo, Confirm: confirm})
}

// tell shows a line, which is fit for a terminal.
func (p *person) tell(line string) { writeStderr([]byte(line + "\n")) }
