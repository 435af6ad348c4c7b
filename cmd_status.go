package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ssh-stay/state"
)

func newStatusCommand() *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the sessions of this user, and the last error of each host, also where ssh hid it",
		Long: "Shows one line a session: how it gets to its host, for how long, the bytes to the host and\n" +
			"from it, the last round trip, probes in a row that were not answered, how often it was\n" +
			"reattached, and what happened last. Then the last error of each host that ended a session or\n" +
			"kept one from beginning, also where ssh hid it. Sessions under ProxyUseFdpass are ssh's alone.",
		Example: "  ssh-stay status\n  ssh-stay status --watch\n  ssh-stay status --json | jq '.sessions[] | select(.state == \"waiting\").host'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			switch {
			case watch && asJSON:
				return errors.New("--watch and --json exclude each other")
			case watch && !isTerminal(out):
				return errors.New("--watch needs a terminal on stdout")
			case watch:
				return fail("", watchStatus(cmd.Context(), out.(*os.File)))
			}
			s, err := readStatus(state.Default())
			if err != nil {
				return fail("", err)
			}
			if asJSON {
				return fail("", s.writeJSON(out, time.Now()))
			}
			_, err = io.WriteString(out, strings.Join(s.lines(time.Now(), isColourful(out), nil), ""))
			return fail("", err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: sessions and failures")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it anew every second, with the round trips so far, until q")
	return cmd
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// isColourful follows no-color.org.
func isColourful(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w) && takesEscapes(w.(*os.File))
}

// status is all that there is to show.
type status struct {
	sessions []state.Session
	failures []state.Failure
}

func readStatus(dir state.Dir) (s status, err error) {
	if s.sessions, err = dir.Sessions(); err != nil {
		return s, err
	}
	s.failures, err = dir.Failures()
	return s, err
}

// writeJSON writes what others may rely on. Times are RFC 3339, durations
// numbers of seconds.
func (s status) writeJSON(w io.Writer, now time.Time) error {
	type aged struct {
		state.Session
		Age state.Seconds `json:"age_seconds"`
	}
	all := struct {
		Sessions []aged          `json:"sessions"`
		Failures []state.Failure `json:"failures"`
	}{[]aged{}, []state.Failure{}}
	for _, x := range s.sessions {
		x.Host, x.Route, x.Event, x.Error = escape(x.Host), escape(x.Route), escape(x.Event), escape(x.Error)
		all.Sessions = append(all.Sessions, aged{x, state.Seconds(now.Sub(x.Started))})
	}
	for _, f := range s.failures {
		all.Failures = append(all.Failures, state.Failure{Host: escape(f.Host), Time: f.Time, Error: escape(f.Error)})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(all)
}

// Colours, where there are some: what waits or is silent.
const (
	plain  = ""
	faint  = "\x1b[2m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	normal = "\x1b[0m"
)

// box is one of a table.
type box struct{ text, colour string }

// afterRTT is the column of drawn round trips.
const afterRTT = 6

// lines are a table of the sessions and then a line a failure. trips, if not nil,
// draws the round trips of a session.
func (s status) lines(now time.Time, colour bool, trips func(state.Session) string) (lines []string) {
	if len(s.sessions) > 0 {
		lines = table(s.rows(now, trips), colour)
		if len(s.failures) > 0 {
			lines = append(lines, "\n")
		}
	}
	for _, f := range s.failures {
		lines = append(lines, fmt.Sprintf("%s  %s  %s\n", f.Time.Format(time.RFC3339), escape(f.Host), escape(f.Error)))
	}
	return lines
}

func (s status) rows(now time.Time, trips func(state.Session) string) [][]box {
	var head []box
	for _, name := range []string{"HOST", "ROUTE", "AGE", "UP", "DOWN", "RTT", "MISSED", "REATTACHED", "EVENT"} {
		head = append(head, box{name, faint})
	}
	rows := [][]box{head}
	for _, x := range s.sessions {
		rtt, missed := "-", plain
		if x.RTT > 0 {
			rtt = milliseconds(time.Duration(x.RTT))
		}
		if x.Missed > 0 {
			missed = yellow
		}
		last := event(x, now)
		if now.Sub(x.Updated) > staleAfter {
			last.text += " (as of " + secondsTime(x.Updated, now) + ")"
		}
		row := []box{
			{escape(x.Host), plain}, {escape(x.Route), plain}, {span(now.Sub(x.Started)), plain},
			{size(x.BytesUp), plain}, {size(x.BytesDown), plain}, {rtt, plain},
			{strconv.Itoa(x.Missed), missed}, {strconv.Itoa(x.Reattaches), plain}, last,
		}
		rows = append(rows, row)
	}
	if trips == nil {
		return rows
	}
	rows[0] = slices.Insert(rows[0], afterRTT, box{"ROUND TRIPS", faint})
	for i, x := range s.sessions {
		rows[i+1] = slices.Insert(rows[i+1], afterRTT, box{trips(x), plain})
	}
	return rows
}

// event words what happened last, and what went wrong.
func event(x state.Session, now time.Time) box {
	since := clockTime(x.EventTime, now)
	if x.State == state.Waiting {
		return box{"waiting for a connection: " + escape(x.Error) + " (since " + since + ")", red}
	}
	text := escape(x.Event) + " at " + since
	if x.Error != "" {
		text += "; before: " + escape(x.Error)
	}
	return box{text, plain}
}

// staleAfter is the age of figures that a session has not renewed when it was
// asked to: it is stopped, or its files are on a server that hangs.
const staleAfter = 2 * time.Second

// secondsTime is clockTime to the second.
func secondsTime(t, now time.Time) string {
	return clockTime(t, now) + t.In(now.Location()).Format(":05")
}

// clockTime leaves out the day where it is today.
func clockTime(t, now time.Time) string {
	t = t.In(now.Location())
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04")
	}
	return t.Format("Jan 2 15:04")
}

// table pads all columns but the last one.
func table(rows [][]box, colour bool) (lines []string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, c := range row {
			text := c.text
			if colour && c.colour != plain {
				text = c.colour + text + normal
			}
			b.WriteString(text)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		lines = append(lines, b.String()+"\n")
	}
	return lines
}

// size words a number of bytes.
func size(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		if f /= 1000; f < 999.95 || unit == "TB" {
			return strconv.FormatFloat(f, 'f', 1, 64) + " " + unit
		}
	}
	return ""
}

// milliseconds words a round trip.
func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	digits := 0
	if ms < 10 {
		digits = 1
	}
	if ms < 1 {
		digits = 2
	}
	return strconv.FormatFloat(ms, 'f', digits, 64) + " ms"
}
