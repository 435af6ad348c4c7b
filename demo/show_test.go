package demo

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// screen is what a terminal shows of output: \r goes back, and text overwrites.
func screen(output string) string {
	var lines []string
	for line := range strings.SplitSeq(output, "\n") {
		var shown []byte
		for part := range strings.SplitSeq(line, "\r") {
			shown = append([]byte(part), shown[min(len(part), len(shown)):]...)
		}
		lines = append(lines, strings.TrimRight(string(shown), " "))
	}
	return strings.Join(lines, "\n")
}

// A terminal ends up with the lines of a log and nothing of the status.
func TestShow(t *testing.T) {
	play := func(terminal bool) string {
		var out bytes.Buffer
		s := newShow(&out, terminal)
		s.text("one")
		s.status("a long status line")
		s.status("short")
		if terminal && !strings.HasSuffix(screen(out.String()), "s  short") {
			t.Errorf("got %q, want the last status alone", screen(out.String()))
		}
		s.text("two %d", 2)
		s.status("again")
		s.clear()
		return out.String()
	}
	const want = "one\ntwo 2\n"
	if got := play(false); got != want {
		t.Errorf("log: got %q, want %q", got, want)
	}
	if got := screen(play(true)); got != want {
		t.Errorf("terminal: got %q, want %q", got, want)
	}
}

func TestLineWriter(t *testing.T) {
	answers := make(chan answer, 2)
	w := &lineWriter{to: answers}
	for _, part := range []string{"on", "e\r\ntwo\nth"} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"one", "two"} {
		if got := <-answers; got.text != want || time.Since(got.at) > time.Minute {
			t.Errorf("got %+v, want %q with its time", got, want)
		}
	}
	for name, text := range map[string]string{"lines": "\n\n\n", "line": strings.Repeat("x", 5000)} {
		if _, err := w.Write([]byte(text)); !errors.Is(err, errTooMuch) {
			t.Errorf("too much in a %s: got %v, want %v", name, err, errTooMuch)
		}
	}
}

func TestTail(t *testing.T) {
	var got tail
	for range 1000 {
		got.Write([]byte("0123456789"))
	}
	if len(got.String()) != 4<<10 || !strings.HasSuffix(got.String(), "789") {
		t.Errorf("got %d bytes ending in %q, want the last 4096", len(got.buf), got.buf[len(got.buf)-3:])
	}
}
