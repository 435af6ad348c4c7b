package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"ssh-stay/state"
)

const (
	redrawEvery = time.Second
	// tripsKept is how many round trips are drawn.
	tripsKept = 30
)

// Sequences of every terminal since the VT100 and, for the cursor, the VT220.
// Lines that are too long are cut by the terminal, which knows the width of all
// characters.
const (
	enterWatch = "\x1b[?25l\x1b[?7l\x1b[H\x1b[J" // no cursor, no wrapping
	leaveWatch = "\r\n\x1b[?7h\x1b[?25h"
	home       = "\x1b[H"
	restOfLine = "\x1b[K"
	belowHere  = "\x1b[J"
)

// watchStatus draws the status every second until q, ^C or a signal. It only
// looks: a probe of its own would keep alive what it shows.
func watchStatus(ctx context.Context, out *os.File) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	takesEscapes(out)
	if in := int(os.Stdin.Fd()); term.IsTerminal(in) {
		before, err := term.MakeRaw(in)
		if err != nil {
			return err
		}
		defer term.Restore(in, before)
		quit, cancel := context.WithCancel(ctx)
		ctx = quit
		go waitForQuit(cancel) // ends with q, or with the process
	}
	if _, err := out.WriteString(enterWatch); err != nil {
		return err
	}
	defer out.WriteString(leaveWatch)
	w := &watcher{dir: state.Default(), colour: isColourful(out), trips: map[tripsOf][]time.Duration{}}
	redraw := time.NewTicker(redrawEvery)
	defer redraw.Stop()
	for {
		_, height, err := term.GetSize(int(out.Fd()))
		if err != nil {
			return err
		}
		screen, err := w.screen(height)
		if err != nil {
			return err
		}
		if _, err := out.WriteString(screen); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-redraw.C:
		}
	}
}

// waitForQuit reads keys until one ends the watch. ^C is a key in a terminal that
// is raw.
func waitForQuit(quit func()) {
	defer quit()
	const interrupt = 3
	key := make([]byte, 1)
	for {
		if _, err := os.Stdin.Read(key); err != nil || key[0] == 'q' || key[0] == 'Q' || key[0] == interrupt {
			return
		}
	}
}

// watcher remembers what it has shown.
type watcher struct {
	dir    state.Dir
	colour bool
	trips  map[tripsOf][]time.Duration
}

// tripsOf names a session.
type tripsOf struct {
	pid     int
	started int64
}

// screen is what to write to have the status as of now on a terminal of so many
// lines.
func (w *watcher) screen(height int) (string, error) {
	s, err := readStatus(w.dir)
	if err != nil {
		return "", err
	}
	w.remember(s.sessions)
	lines := s.lines(time.Now(), w.colour, func(x state.Session) string {
		return sparkline(w.trips[tripsOf{x.PID, x.Started.Unix()}])
	})
	if len(lines) == 0 {
		lines = []string{"no sessions\n"}
	}
	last := "q quits"
	if room := max(height-1, 1); len(lines) > room {
		lines, last = lines[:room], "q quits; there is more below"
	}
	var b strings.Builder
	b.WriteString(home)
	for _, line := range lines {
		b.WriteString(restOfLine + strings.TrimSuffix(line, "\n") + "\r\n")
	}
	b.WriteString(belowHere + last)
	return b.String(), nil
}

// remember adds a round trip of each session, 0 where there is none, and forgets
// the sessions that are over.
func (w *watcher) remember(sessions []state.Session) {
	before := w.trips
	w.trips = map[tripsOf][]time.Duration{}
	for _, x := range sessions {
		key := tripsOf{x.PID, x.Started.Unix()}
		all := append(slices.Clone(before[key]), time.Duration(x.RTT))
		w.trips[key] = all[max(0, len(all)-tripsKept):]
	}
}

// sparkline draws durations between the least and the most of them. The most
// counts as twice the least if it is less, so that what is much the same looks the
// same. 0 is a blank.
func sparkline(trips []time.Duration) string {
	blocks := []rune("▁▂▃▄▅▆▇█")
	var least, most time.Duration
	for _, d := range trips {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
		most = max(most, d)
	}
	most = max(most, 2*least)
	line := make([]rune, 0, tripsKept)
	for _, d := range trips {
		switch {
		case d <= 0:
			line = append(line, ' ')
		case most == least:
			line = append(line, blocks[0])
		default:
			line = append(line, blocks[int(d-least)*(len(blocks)-1)/int(most-least)])
		}
	}
	return string(line) + strings.Repeat(" ", tripsKept-len(line))
}
