package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ssh-stay/auth"
	"ssh-stay/hop"
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
	background atomic.Bool  // nobody waits for us
	leaving    atomic.Bool  // the session is over: nothing is asked
	signs      atomic.Int32 // signatures that an agent may ask its user for
	ignored    atomic.Bool  // an agent got no answer in signTime in this login
}

// signTime is how long an agent may ask its user, for a passphrase or to touch a
// key, at the cost of nobody's patience.
const signTime = 2 * time.Minute

// relogin says that a login begins which nobody waits for. It is called before
// each login after the first one, from one goroutine.
func (p *person) relogin() {
	p.background.Store(true)
	p.ignored.Store(false)
	p.memory.begin()
}

// again says that the user's first login begins anew, since it came to err. What
// they have answered is not asked twice, but for what that host has denied.
func (p *person) again(legs []proxy.Leg, err error) {
	var at *hop.HandshakeError
	var denied *auth.DeniedError
	if errors.As(err, &at) && errors.As(err, &denied) {
		for _, leg := range legs {
			if leg.Hop.Name == at.Hop {
				p.memory.drop(idOf(&leg))
			}
		}
	}
	p.memory.begin()
}

func idOf(leg *proxy.Leg) hopID { return hopID{leg.Hop.Name, leg.Host, leg.Port} }

// leave says that the session is over. What is remembered may still be of use,
// to tell the relay.
func (p *person) leave() { p.leaving.Store(true) }

// signing is auth.Login's: what an agent's user takes is not held against the
// host.
func (p *person) signing(ctx context.Context) (signed func()) {
	p.signs.Add(1)
	resume := sync.OnceFunc(proxy.Pause(ctx))
	timer := time.AfterFunc(signTime, func() {
		p.ignored.Store(true)
		resume()
	})
	return func() {
		timer.Stop()
		resume()
		p.signs.Add(-1)
	}
}

// asking says whether the user may be busy with a question of ours.
func (p *person) asking() bool { return p.signs.Load() > 0 || p.asker.Asking() != "" }

// forget wipes what is remembered. It is called at the end, and when a host has
// denied a login: sending it the same again could lock the user out.
func (p *person) forget() { p.memory.wipe() }

// ask is an auth.AskFunc. What a user takes to answer is not held against the
// host.
func (p *person) ask(ctx context.Context, text string, echo, confirm bool) ([]byte, error) {
	secret := p.remembers && !echo && !confirm && isSecret(text)
	background := p.background.Load()
	if secret {
		if answer := p.memory.recall(questionIn(ctx, text)); answer != nil {
			return answer, nil
		}
	}
	if p.leaving.Load() {
		return nil, fmt.Errorf("%w: the session is over", prompt.ErrNoAnswer)
	}
	// Nothing is accepted in the background: no new host key, which is asked for
	// with echo, and no button. What a host asks is always told by its name.
	if background && (confirm || echo && !strings.HasPrefix(text, "(")) {
		return nil, fmt.Errorf("%w: not asked while reconnecting", prompt.ErrNoAnswer)
	}
	p.asked.Store(true)
	defer proxy.Pause(ctx)()
	answer, err := p.asker.Ask(ctx, prompt.Question{Text: text, Echo: echo, Confirm: confirm, Background: background})
	if err == nil && secret && !p.leaving.Load() {
		p.memory.keep(questionIn(ctx, text), answer)
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
