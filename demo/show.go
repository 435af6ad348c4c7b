package demo

// How the demo looks:
//   - One column of lines, "TIME  WHO  WHAT", below 80 columns, the same in a
//     terminal and in a log. A line is printed when it happens, and stays.
//   - In a terminal one line more, below them, is rewritten in place. It is
//     wiped by spaces, not by an escape sequence that a console may not know.
//   - No colour, no symbols: sober.

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// show prints the demo's lines. One goroutine uses it.
type show struct {
	out      io.Writer
	terminal bool
	start    time.Time
	width    int // of the status line on the screen
}

func newShow(out io.Writer, terminal bool) *show {
	return &show{out: out, terminal: terminal, start: time.Now()}
}

// intro says what is going to happen.
func (s *show) intro(idle time.Duration) {
	s.text("The same session twice, through a firewall that silently forgets")
	s.text("connections idle for %s. All of it is on this machine:", seconds(idle))
	s.blank()
	s.text("    ssh  ->  firewall  ->  jump host  ->  target")
	s.blank()
}

// advice ends a demo that went as it should.
func (s *show) advice() {
	s.blank()
	s.text("To have this for your own hosts:")
	s.blank()
	s.text("    ssh-stay setup")
}

// event prints one line with the time since the start.
func (s *show) event(who, format string, args ...any) {
	s.text("%7s  %-9s  %s", seconds(time.Since(s.start)), who, fmt.Sprintf(format, args...))
}

// text prints one line as it is.
func (s *show) text(format string, args ...any) {
	s.clear()
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *show) blank() { s.text("") }

// status rewrites the status line, on a terminal.
func (s *show) status(format string, args ...any) {
	if !s.terminal {
		return
	}
	line := fmt.Sprintf("%7s  ", seconds(time.Since(s.start))) + fmt.Sprintf(format, args...)
	fmt.Fprintf(s.out, "\r%-*s", s.width, line)
	s.width = max(s.width, len(line))
}

// clear wipes the status line, if there is one.
func (s *show) clear() {
	if s.width > 0 {
		fmt.Fprintf(s.out, "\r%*s\r", s.width, "")
		s.width = 0
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// printable is one line of foreign text, safe for a terminal.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.TrimRight(line, "\r\n"))
}
