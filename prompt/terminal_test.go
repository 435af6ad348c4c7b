//go:build linux

package prompt

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"ssh-stay/internal/sshtest"
)

const ask1 = "anna@jump's password: "

// canary is an answer that must be nowhere but in the answer.
const canary = "canary-5c1f0e"

func hidden() order { return order{Questions: []Question{{Text: ask1}}} }

func TestHiddenAnswer(t *testing.T) {
	s := startJob(t, hidden())
	s.see(ask1, 1)
	s.wantEcho(false, "while asked")
	s.typed(canary + "\n")
	s.wantAnswer(canary)
	s.wantEvent("exited 0")
	s.wantEcho(true, "after the answer")
	s.ended("\r" + ask1 + "\r\n")
}

func TestShownAnswer(t *testing.T) {
	s := startJob(t, order{Questions: []Question{{Text: "Line one\nSure (yes/no)? ", Echo: true}}})
	s.see("? ", 1)
	s.wantEcho(true, "while asked")
	s.typed("yes\n")
	s.wantAnswer("yes")
	s.ended("\rLine one\r\nSure (yes/no)? yes\r\n")
}

func TestLines(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 128)
	for _, c := range []struct{ name, typed, want string }{
		{"empty", "\n", ""},
		{"carriage return", "word\r", "word"},
		{"long", long + "\n", long[:maxAnswer]},
		{"as long as can be", long[:maxAnswer] + "\n", long[:maxAnswer]},
		{"edited", "wrong\x15wors\x7fd\n", "word"},
		{"not ASCII", "pässwörd\n", "pässwörd"},
		{"NUL", "word\x00more\n", "word"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startJob(t, hidden())
			s.see(ask1, 1)
			s.typed(c.typed)
			s.wantAnswer(c.want)
			s.wantEvent("exited 0")
			s.wantEcho(true, "after the answer")
			s.ended("\r" + ask1 + "\r\n")
		})
	}
}

func TestEndOfInput(t *testing.T) {
	s := startJob(t, hidden())
	s.see(ask1, 1)
	s.typed("\x04")
	if r := s.result(); !r.NoAnswer || !strings.Contains(r.Err, "EOF") {
		t.Errorf("got %+v, want no answer because of EOF", r)
	}
	s.wantEcho(true, "after the end of input")
	s.ended("\r" + ask1 + "\r\n")
}

func TestTerminalGone(t *testing.T) {
	s := startJob(t, hidden())
	s.see(ask1, 1)
	s.pty.Close()
	check(t, sshtest.WaitGone(s.pid, patience))
}

func TestContextEndsWhileAsked(t *testing.T) {
	s := startJob(t, hidden())
	s.see(ask1, 1)
	s.typed(canary) // no line yet
	s.control.WriteString("c")
	if r := s.result(); r.Err != errCalledOff.Error() || r.NoAnswer {
		t.Errorf("got %+v, want the context's cause", r)
	}
	s.wantEvent("exited 0")
	s.wantEcho(true, "after the context's end")
	s.ended("\r" + ask1 + "\r\n")
}

// A terminal held by ^S takes no bytes; the job must not wait for it.
func TestContextEndsWhileHeld(t *testing.T) {
	s := startJob(t, order{Questions: []Question{{Text: ask1}, {Text: ask1}}})
	s.see(ask1, 1)
	s.typed("\x13") // handled before the line end, as they come in this order
	s.typed("one\n")
	s.wantAnswer("one")
	s.control.WriteString("c")
	if r := s.result(); r.Err != errCalledOff.Error() {
		t.Errorf("got %+v, want the context's cause", r)
	}
	s.wantEvent("exited 0")
	s.wantEcho(true, "after the context's end")
	if n := strings.Count(s.screen(), ask1); n != 1 {
		t.Errorf("the terminal was not held: %d questions shown", n)
	}
}

func TestOneAtATime(t *testing.T) {
	s := startJob(t, order{Questions: []Question{{Text: "one: "}, {Text: "two: "}}})
	s.see(": ", 1)
	first, second := "one: ", "two: "
	if strings.Contains(s.screen(), second) {
		first, second = second, first
	}
	s.control.WriteString("a")
	if r := s.result(); r.Asking != "asking "+first {
		t.Errorf("got %q, want %q", r.Asking, first)
	}
	s.typed("1\n")
	s.wantAnswer("1")
	s.see(second, 1)
	s.control.WriteString("a")
	if r := s.result(); r.Asking != "asking "+second {
		t.Errorf("got %q, want %q", r.Asking, second)
	}
	s.typed("2\n")
	s.wantAnswer("2")
	s.ended("\r" + first + "\r\n\r" + second + "\r\n")
}

func TestSignalsTakeEffect(t *testing.T) {
	for _, c := range []struct {
		sig  syscall.Signal
		want string
	}{
		{syscall.SIGINT, "killed SIGINT"},
		{syscall.SIGTERM, "killed SIGTERM"},
		{syscall.SIGHUP, "killed SIGHUP"},
		{syscall.SIGQUIT, "exited 2"}, // Go's own way to die of it
	} {
		t.Run(c.sig.String(), func(t *testing.T) {
			s := startJob(t, hidden())
			s.see(ask1, 1)
			s.wantEcho(false, "while asked")
			check(t, syscall.Kill(s.pid, c.sig))
			s.wantEvent(c.want)
			s.wantEcho(true, "after the signal")
			s.over()
			if got, want := s.screen(), "\r"+ask1+"\r\n"; got != want {
				t.Errorf("screen: got %q, want %q", got, want)
			}
		})
	}
}

func TestHandledSignal(t *testing.T) {
	o := hidden()
	o.Handle = true
	s := startJob(t, o)
	s.see(ask1, 1)
	s.typed("\x03")
	if r := s.result(); r.Err != "handled SIGINT" {
		t.Errorf("got %+v, want the context's cause", r)
	}
	s.wantEvent("exited 0")
	s.wantEcho(true, "after ^C")
	s.ended("\r" + ask1 + "\r\n")
}

func TestStopAndContinue(t *testing.T) {
	s := startJob(t, hidden())
	s.see(ask1, 1)
	for i := 2; i < 4; i++ {
		s.typed("early\x1a")
		s.wantEvent("stopped SIGTTIN")
		s.wantEcho(true, "while stopped")
		s.tell("fg")
		s.see(ask1, i)
		s.wantEcho(false, "after fg")
	}
	s.typed(canary + "\n")
	s.wantAnswer(canary)
	s.wantEvent("exited 0")
	s.wantEcho(true, "after the answer")
	s.ended("\r" + strings.Repeat(ask1+"\r\n", 3))
}

// The context ends while we are stopped: no further question.
func TestContextEndsWhileStopped(t *testing.T) {
	s := startJob(t, hidden())
	s.see(ask1, 1)
	s.typed("\x1a")
	s.wantEvent("stopped SIGTTIN")
	s.control.WriteString("c")
	s.tell("bg")
	if r := s.result(); r.Err != errCalledOff.Error() {
		t.Errorf("got %+v, want the context's cause", r)
	}
	s.wantEvent("exited 0")
	s.wantEcho(true, "after the context's end")
	s.ended("\r" + ask1 + "\r\n")
}

func TestStartedInBackground(t *testing.T) {
	s := start(t, true, []string{asJob(hidden())}, os.Args[0])
	s.wantEvent("stopped SIGTTOU")
	s.wantEcho(true, "in the background")
	s.tell("fg")
	s.see(ask1, 1)
	s.typed(canary + "\n")
	s.wantAnswer(canary)
	s.ended("\r" + ask1 + "\r\n")
}

// The shell takes the terminal while the question stands: what is typed then is
// not for us.
func TestTerminalTaken(t *testing.T) {
	s := startJob(t, hidden())
	s.see(ask1, 1)
	s.tell("take")
	s.wantEvent("taken")
	s.typed("for the shell\n")
	s.wantEvent("stopped SIGTTIN")
	s.wantEcho(true, "while stopped")
	s.tell("fg")
	s.see(ask1, 2)
	s.wantEcho(false, "after fg")
	s.typed(canary + "\n")
	s.wantAnswer(canary)
	s.ended("\r" + strings.Repeat(ask1+"\r\n", 2))
}
