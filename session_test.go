//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ssh-stay/config"
	"ssh-stay/hop"
	"ssh-stay/proxy"
	"ssh-stay/state"
)

// testRecord is a record in a bubble, where nobody sends signals.
type testRecord struct {
	*record
	t     *testing.T
	asked chan os.Signal
	up    atomic.Int64
}

func newTestRecord(t *testing.T, dir state.Dir, every time.Duration) *testRecord {
	r := &testRecord{t: t, asked: make(chan os.Signal, 1)}
	r.record = &record{dir: dir, host: "it", route: "direct", asked: r.asked, unaskedEvery: every,
		stats: func() proxy.Stats { return proxy.Stats{Up: r.up.Load(), RTT: time.Millisecond} }}
	return r
}

// file is what is written, "" for nothing.
func (r *testRecord) file() string {
	r.t.Helper()
	synctest.Wait()
	files, _ := filepath.Glob(filepath.Join(string(r.dir), "*"))
	if len(files) == 0 {
		return ""
	}
	text, err := os.ReadFile(files[0])
	var s state.Session
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil || len(files) > 1 {
		r.t.Fatalf("got files %v, %v", files, err)
	}
	return fmt.Sprintf("%s %s %d %d: %s %q", s.Host, s.State, s.BytesUp, s.Reattaches, s.Event, s.Error)
}

func (r *testRecord) wants(want string) {
	r.t.Helper()
	if got := r.file(); got != want {
		r.t.Errorf("got %s, want %s", got, want)
	}
}

func pass(d time.Duration) { time.Sleep(d) } // of a bubble's clock

// TestRecord: written when it is worth it, when something happens and when it is
// asked for, never more often than every half second, and gone at the end.
func TestRecord(t *testing.T) {
	dir := state.Dir(filepath.Join(t.TempDir(), "state"))
	synctest.Test(t, func(t *testing.T) {
		r := newTestRecord(t, dir, 0)
		r.via(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 4000})
		r.start()
		pass(recordAfter - 1)
		r.wants("")
		pass(1)
		r.wants(`it connected 0 0: connected ""`)
		r.up.Store(1)
		pass(24 * time.Hour)
		r.wants(`it connected 0 0: connected ""`) // nobody asked
		r.asked <- os.Interrupt
		r.wants(`it connected 1 0: connected ""`)
		r.up.Store(2)
		r.asked <- os.Interrupt
		pass(state.Gap - 1)
		r.wants(`it connected 1 0: connected ""`) // too soon
		pass(1)
		r.wants(`it connected 2 0: connected ""`)
		pass(time.Minute)
		r.changed(errors.New("no\x1broute"))
		r.wants(`it waiting 2 0: connection lost "no\\u001broute"`)
		pass(5 * time.Second)
		r.changed(errors.New("refused"))
		r.wants(`it waiting 2 0: connection lost "refused"`)
		pass(7 * time.Second)
		r.via(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 4001})
		r.changed(nil)
		r.wants(`it connected 2 1: reattached after 12s "refused"`)
		pass(time.Second)
		r.via(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 4000})
		r.changed(nil) // beside a link that still lived
		r.wants(`it connected 2 2: moved to a new connection, address changed "refused"`)
		pass(time.Second)
		r.end()
		r.wants("")
	})
}

// TestRecordUnasked: where nobody can ask, it is written when bytes have flowed.
func TestRecordUnasked(t *testing.T) {
	dir := state.Dir(filepath.Join(t.TempDir(), "state"))
	synctest.Test(t, func(t *testing.T) {
		r := newTestRecord(t, dir, 30*time.Second)
		r.start()
		pass(recordAfter)
		written := func() time.Time {
			synctest.Wait()
			all, err := filepath.Glob(filepath.Join(string(dir), "*"))
			if err != nil || len(all) != 1 {
				t.Fatalf("got files %v, %v, want one", all, err)
			}
			info, err := os.Stat(all[0])
			if err != nil {
				t.Fatal(err)
			}
			return info.ModTime()
		}
		first := written()
		pass(time.Hour)
		if !written().Equal(first) {
			t.Error("written with nothing to tell")
		}
		r.up.Store(1)
		pass(30 * time.Second)
		r.wants(`it connected 1 0: connected ""`)
		r.end()
		r.wants("")
	})
}

// TestRecordNowhere: a directory that cannot be used costs nothing but the record,
// and a session that is over before it is worth one leaves nothing.
func TestRecordNowhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := state.Dir(filepath.Join(t.TempDir(), "state"))
	synctest.Test(t, func(t *testing.T) {
		r := newTestRecord(t, state.Dir(file), 0)
		r.start()
		pass(time.Minute)
		r.changed(errors.New("lost"))
		r.asked <- os.Interrupt
		pass(time.Minute)
		r.end()
		short := newTestRecord(t, dir, 0)
		short.start()
		pass(recordAfter / 2)
		short.end()
		(&record{}).end() // never begun
	})
	if _, err := os.Stat(string(dir)); !os.IsNotExist(err) {
		t.Errorf("a short session: got %v, want no directory made", err)
	}
}

// TestRecordEarly: a stream may tell of a change while its session is begun.
func TestRecordEarly(t *testing.T) {
	r := newTestRecord(t, state.Dir(filepath.Join(t.TempDir(), "state")), 0)
	began, told := make(chan struct{}), make(chan struct{})
	go func() { // ends by itself
		defer close(told)
		for i := range 1000 {
			r.changed(errors.New("lost"))
			r.changed(nil)
			if i == 0 {
				close(began)
			}
		}
	}()
	<-began
	r.start()
	<-told
	r.end()
}

// TestKeepFailure: a directory that hangs does not keep the process.
func TestKeepFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		start := time.Now()
		err := keepFailure(state.Failure{}, func(state.Failure) error { <-release; return nil })
		if took := time.Since(start); took != recordGrace || err == nil {
			t.Errorf("got %v after %v, want an error after %v", err, took, recordGrace)
		}
		close(release)
		full := errors.New("full")
		if err := keepFailure(state.Failure{}, func(state.Failure) error { return full }); err != full || time.Since(start) != recordGrace {
			t.Errorf("got %v after %v, want write's own error at once", err, time.Since(start))
		}
	})
}

func TestWords(t *testing.T) {
	leg := func(name string) proxy.Leg { return proxy.Leg{Hop: &hop.Config{Name: name}} }
	target, jump := &resumption{own: true}, &resumption{}
	for _, tc := range []struct {
		want string
		plan plan
		legs []proxy.Leg
	}{
		{"direct", plan{}, nil},
		{"j1,j2", plan{}, []proxy.Leg{leg("j1"), leg("j2")}},
		{"ProxyCommand", plan{settings: &config.Settings{ProxyCommand: "nc"}}, nil},
		{"ssh -W,j2", plan{left: true}, []proxy.Leg{leg("j2")}},
		{"resume target", plan{resume: target}, []proxy.Leg{leg("it")}},
		{"resume target via j1", plan{resume: target}, []proxy.Leg{leg("j1"), leg("it")}},
		{"resume jump via j1,j2", plan{resume: jump}, []proxy.Leg{leg("j1"), leg("j2")}},
		{"j\\u001b", plan{}, []proxy.Leg{leg("j\x1b")}},
	} {
		if tc.plan.settings == nil {
			tc.plan.settings = &config.Settings{}
		}
		tc.plan.route = &proxy.Route{Legs: tc.legs}
		if got := tc.plan.words(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestFigures(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 300 * time.Millisecond: "0.3s", 12*time.Second + 900*time.Millisecond: "12s", 65 * time.Second: "1m05s",
		2*time.Hour + 4*time.Minute + 59*time.Second: "2h04m", 27 * time.Hour: "1d03h", 400 * 24 * time.Hour: "400d00h",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 1 << 40: "1.1 TB", 1 << 62: "4611686.0 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{80 * time.Microsecond: "0.08 ms", 2300 * time.Microsecond: "2.3 ms", 1234 * time.Millisecond: "1234 ms"} {
		if got := milliseconds(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestSparkline(t *testing.T) {
	ms := func(all ...int) (trips []time.Duration) {
		for _, n := range all {
			trips = append(trips, time.Duration(n)*time.Millisecond)
		}
		return trips
	}
	for _, tc := range []struct {
		trips []time.Duration
		want  string
	}{
		{nil, ""}, {ms(0, 0), ""}, {ms(5, 5, 6), "▁▁▂"}, {ms(1, 0, 8, 4), "▁ █▄"}, {ms(10, 20), "▁█"},
	} {
		got := sparkline(tc.trips)
		if strings.TrimRight(got, " ") != tc.want || len([]rune(got)) != tripsKept {
			t.Errorf("%v: got %q, want %q and blanks", tc.trips, got, tc.want)
		}
	}
	w := &watcher{}
	for i := range 40 {
		w.remember([]state.Session{{PID: 1, RTT: state.Seconds(i)}, {PID: 2}})
	}
	if got := w.trips[tripsOf{1, time.Time{}.Unix()}]; len(got) != tripsKept || got[0] != 10 || got[29] != 39 {
		t.Errorf("got %v, want the last %d", got, tripsKept)
	}
	if w.remember(nil); len(w.trips) != 0 {
		t.Errorf("got %v of sessions that are over, want nothing", w.trips)
	}
}

// TestLines: as they are shown, with what comes from elsewhere made harmless.
func TestLines(t *testing.T) {
	now := time.Date(2026, 1, 2, 14, 30, 0, 0, time.UTC)
	s := status{
		sessions: []state.Session{
			{Host: "it", Route: "resume target via jé", Started: now.Add(-3 * time.Hour), Updated: now, State: state.Connected, BytesUp: 1500, BytesDown: 20,
				RTT: state.Seconds(23 * time.Millisecond), Missed: 1, Reattaches: 2,
				Event: "reattached after 12s", EventTime: now.Add(-28 * time.Minute), Error: "cut\x1b[2J"},
			{Host: "a\x07b", Route: "direct", Started: now, Updated: now.Add(-time.Minute), State: state.Waiting, Error: "no route\nto host", EventTime: now.Add(-24 * time.Hour)},
		},
		failures: []state.Failure{{Host: "h\u009b", Time: now, Error: "denied\r"}},
	}
	want := []string{
		"HOST      ROUTE                 AGE    UP      DOWN  RTT    MISSED  REATTACHED  EVENT\n",
		"it        resume target via jé  3h00m  1.5 kB  20 B  23 ms  1       2           reattached after 12s at 14:02; before: cut\\u001b[2J\n",
		"a\\u0007b  direct                0.0s   0 B     0 B   -      0       0           waiting for a connection: no route to host (since Jan 1 14:30) (as of 14:29:00)\n",
		"\n",
		"2026-01-02T14:30:00Z  h\\u009b  denied\n",
	}
	if got := s.lines(now, false, nil); strings.Join(got, "") != strings.Join(want, "") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, ""), strings.Join(want, ""))
	}
	trips := func(x state.Session) string { return "<" + x.Route + ">" }
	coloured := strings.Join(s.lines(now, true, trips), "")
	for _, part := range []string{
		faint + "RTT" + normal + "    " + faint + "ROUND TRIPS" + normal, "23 ms  <resume target via jé>  " + yellow + "1" + normal,
		red + "waiting for a connection", "-      <direct>                0  ",
	} {
		if !strings.Contains(coloured, part) {
			t.Errorf("got\n%s\nwant %q in it", coloured, part)
		}
	}
	var text strings.Builder
	if err := s.writeJSON(&text, now); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"host": "a\\u0007b"`, `"age_seconds": 10800`, `"rtt_seconds": 0.023`, `"error": "cut\\u001b[2J"`, `"time": "2026-01-02T14:30:00Z"`} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("got %s, want %q in it", text.String(), part)
		}
	}
	text.Reset()
	if err := (status{}).writeJSON(&text, now); err != nil || text.String() != "{\n  \"sessions\": [],\n  \"failures\": []\n}\n" {
		t.Errorf("nothing: got %q, %v", text.String(), err)
	}
}

// TestScreen: no more lines than a terminal has.
func TestScreen(t *testing.T) {
	dir := state.Dir(filepath.Join(t.TempDir(), "state"))
	w := &watcher{dir: dir}
	if got, err := w.screen(24); err != nil || got != home+restOfLine+"no sessions\r\n"+belowHere+"q quits" {
		t.Errorf("got %q, %v, want no sessions", got, err)
	}
	for i := range 9 {
		if err := dir.WriteFailure(state.Failure{Host: fmt.Sprint(i), Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	for height, want := range map[int]int{10: 9, 9: 8, 1: 1, 0: 1} {
		got, err := w.screen(height)
		if n := strings.Count(got, "\r\n"); err != nil || n != want || strings.Contains(got, "more below") != (want < 9) {
			t.Errorf("%d lines high: got %q, %v, want %d lines of failures", height, got, err, want)
		}
	}
}
