package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// side is one of the two sessions compared, and what is known of it.
type side struct {
	name, alias string
	forwarder   *forwarder
	client      *client

	asked    time.Time // when the last question went out
	want     string    // the answer to it
	answered bool
	took     time.Duration // from question to answer, or to giving up
	heardAt  time.Time     // when the last answer came
	quiet    time.Duration // from there to the question after it
	lost     bool          // its forgotten flow has been shown
}

// expect starts the clock for an answer.
func (s *side) expect(want string) {
	s.asked, s.want, s.answered = time.Now(), want, false
}

// ask writes one line to the session. A pipe takes it at once.
func (s *side) ask(question string) error {
	s.expect(reply(question))
	s.quiet = s.asked.Sub(s.heardAt)
	if _, err := fmt.Fprintln(s.client.stdin, question); err != nil {
		return fmt.Errorf("%s: ask %q: %w", s.name, question, err)
	}
	return nil
}

// heard notes an answer.
func (s *side) heard(a answer) error {
	if s.answered || a.text != s.want {
		return fmt.Errorf("%s: got %q from the target, which nobody asked for", s.name, a.text)
	}
	s.answered, s.took, s.heardAt = true, a.at.Sub(s.asked), a.at
	return nil
}

// outcome is one side's line of the verdict.
func (s *side) outcome() string {
	if s.answered {
		return fmt.Sprintf("answers in %s after %s of silence", millis(s.took), seconds(s.quiet))
	}
	return fmt.Sprintf("hangs: no answer in %s after %s of silence", seconds(s.took), seconds(s.quiet))
}

// story plays both sides in one goroutine, which alone prints.
type story struct {
	show                  *show
	idle, silence, answer time.Duration
	stock, stay           *side
}

func (s *story) sides() [2]*side { return [2]*side{s.stock, s.stay} }

// play is the demo from login to verdict.
func (s *story) play(ctx context.Context, ssh, dir string) error {
	s.show.intro(s.idle)
	if err := s.login(ctx, ssh, dir); err != nil {
		return err
	}
	if err := s.ask(ctx, "line 1"); err != nil {
		return err
	}
	for _, one := range s.sides() {
		if !one.answered {
			return fmt.Errorf("%s: no answer to \"line 1\" within %v", one.name, s.answer)
		}
	}
	s.show.event("both", "left alone for %s", seconds(s.silence))
	if err := s.wait(ctx, s.silence, func() bool { return false }); err != nil {
		return err
	}
	if err := s.ask(ctx, "line 2"); err != nil {
		return err
	}
	return s.verdict()
}

// login starts both ssh and waits until both are at the target.
func (s *story) login(ctx context.Context, ssh, dir string) error {
	for _, one := range s.sides() {
		one.expect(greeting)
		c, err := startClient(ctx, ssh, dir, one.alias)
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		one.client = c
	}
	if err := s.wait(ctx, loginLimit, s.bothAnswered); err != nil {
		return err
	}
	for _, one := range s.sides() {
		if !one.answered {
			return fmt.Errorf("%s: not logged in within %v", one.name, loginLimit)
		}
	}
	return nil
}

// ask puts one question to both and waits for both answers, or long enough.
func (s *story) ask(ctx context.Context, question string) error {
	for _, one := range s.sides() {
		if err := one.ask(question); err != nil {
			return err
		}
		s.show.event(one.name, "asked %q", question)
	}
	if err := s.wait(ctx, s.answer, s.bothAnswered); err != nil {
		return err
	}
	for _, one := range s.sides() {
		if !one.answered {
			one.took = time.Since(one.asked)
			s.show.event(one.name, "no answer and no error in %s", seconds(one.took))
		}
	}
	return nil
}

func (s *story) bothAnswered() bool { return s.stock.answered && s.stay.answered }

// wait shows what happens until enough says so or limit has passed. An ssh
// that ends meanwhile is an error: neither has a reason to.
func (s *story) wait(ctx context.Context, limit time.Duration, enough func() bool) error {
	over := time.NewTimer(limit)
	defer over.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !enough() {
		var err error
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-over.C:
			s.look()
			return nil
		case <-tick.C:
			s.look()
		case a := <-s.stock.client.answers:
			err = s.heard(s.stock, a)
		case a := <-s.stay.client.answers:
			err = s.heard(s.stay, a)
		case <-s.stock.client.done:
			err = s.ended(ctx, s.stock)
		case <-s.stay.client.done:
			err = s.ended(ctx, s.stay)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *story) heard(one *side, a answer) error {
	if err := one.heard(a); err != nil {
		return err
	}
	if a.text == greeting {
		s.show.event(one.name, "logged in through the jump host in %s", millis(one.took))
	} else {
		s.show.event(one.name, "answered in %s", millis(one.took))
	}
	return nil
}

// ended is the error for an ssh that is gone; ours to blame if ctx is over.
func (s *story) ended(ctx context.Context, one *side) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%s ended by itself: %v", one.name, one.client.state())
}

// look asks the firewall how the flows are and shows it.
func (s *story) look() {
	for _, one := range s.sides() {
		if st := one.forwarder.stats(); st.forgotten > 0 && !one.lost {
			one.lost = true
			s.show.event("firewall", "forgets %s: %s without a byte", one.name, seconds(st.longest))
		}
	}
	s.show.status("silent: stock ssh %s, ssh-stay %s",
		s.stock.forwarder.stats(), s.stay.forwarder.stats())
}

// verdict holds the measurements against what was promised and prints both.
func (s *story) verdict() error {
	stock, stay := s.stock.forwarder.stats(), s.stay.forwarder.stats()
	for _, one := range s.sides() {
		st := one.forwarder.stats()
		s.show.event("firewall", "%s: longest silence %s, %d bytes swallowed",
			one.name, seconds(st.longest), st.swallowed)
	}
	s.show.event("firewall", "flows forgotten: %d of %d",
		stock.forgotten+stay.forgotten, stock.flows+stay.flows)

	var wrong []string
	unless := func(ok bool, text string) {
		if !ok {
			wrong = append(wrong, text)
		}
	}
	unless(stock.forgotten == 1 && stock.swallowed > 0, "the firewall did not forget stock ssh")
	unless(!s.stock.answered, "stock ssh did not hang")
	unless(stay.forgotten == 0, "the firewall forgot ssh-stay")
	unless(s.stay.answered, "ssh-stay did not answer")

	s.show.blank()
	s.show.text("stock ssh  %s", s.stock.outcome())
	s.show.text("ssh-stay   %s", s.stay.outcome())
	if wrong != nil {
		return errors.New(strings.Join(wrong, "; "))
	}
	s.show.advice()
	return nil
}

// stop waits until both ssh and all they started are gone; ctx has killed them.
func (s *story) stop() {
	for _, one := range s.sides() {
		if one.client != nil {
			<-one.client.done
		}
	}
	s.show.clear()
}

// showStderr prints what the ssh complained of. Only after stop.
func (s *story) showStderr() {
	for _, one := range s.sides() {
		if one.client == nil {
			continue
		}
		for line := range strings.Lines(one.client.stderr.String()) {
			s.show.text("%s says: %s", one.name, printable(line))
		}
	}
}
