package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"ssh-stay/prompt"
	"ssh-stay/proxy"
)

// person is the user before the terminal, or behind SSH_ASKPASS. For the first
// login they wait. Later ones, under resume, come hours after: what was answered
// before is not asked again, and what must be asked does not disturb.
type person struct {
	asker prompt.Asker
	asked atomic.Bool // something was asked: the user sees what is going on

	// remembers says to keep secrets for later logins: under resume alone. It is
	// set before the first login.
	remembers  bool
	memory     memory
	background atomic.Bool // nobody waits for us
}

// relogin says that a login begins which nobody waits for. It is called before
// each login after the first one, from one goroutine.
func (p *person) relogin() {
	p.background.Store(true)
	p.memory.begin()
}

// forget wipes what is remembered. It is called at the end, and when a host has
// denied a login: sending it the same again could lock the user out.
func (p *person) forget() { p.memory.wipe() }

// ask is an auth.AskFunc. What a user takes to answer is not held against the
// host.
func (p *person) ask(ctx context.Context, text string, echo, confirm bool) ([]byte, error) {
	secret := p.remembers && !echo && !confirm && isSecret(text)
	background := p.background.Load()
	if secret {
		if answer := p.memory.recall(text); answer != nil {
			return answer, nil
		}
	}
	// Nothing is accepted in the background: no new host key, which is asked for
	// with echo, and no button. What a host asks is always told by its name.
	if background && (confirm || echo && !strings.HasPrefix(text, "(")) {
		return nil, fmt.Errorf("%w: not asked while reconnecting", prompt.ErrNoAnswer)
	}
	p.asked.Store(true)
	defer proxy.Pause(ctx)()
	answer, err := p.asker.Ask(ctx, prompt.Question{Text: text, Echo: echo, Confirm: confirm, Background: background})
	if err == nil && secret {
		p.memory.keep(text, answer)
	}
	return answer, err
}

// tell shows a line that ssh would log, ended as ssh does. It is fit for a
// terminal.
func (p *person) tell(line string) { p.show(line + "\r\n") }

// show shows text, which is fit for a terminal, as it is. Once ssh has the
// terminal it would spoil what is on it.
func (p *person) show(text string) {
	if !p.background.Load() {
		writeStderr([]byte(text))
	}
}
