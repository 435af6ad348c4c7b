package state

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// put keeps a session of a process.
func put(t *testing.T, d Dir, p process, s Session) (file string) {
	t.Helper()
	s.PID = p.PID
	file = filepath.Join(string(d), p.file())
	if err := d.write(file, &kept{s, p.Start, p.Boot}); err != nil {
		t.Fatal(err)
	}
	return file
}

// hosts are those of the sessions that d shows.
func hosts(t *testing.T, d Dir) string {
	t.Helper()
	all, err := d.Sessions()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Host)
	}
	return strings.Join(names, " ")
}

func isThere(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

func TestSession(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "state"))
	if got := hosts(t, d); got != "" {
		t.Errorf("no directory: got %s, want none", got)
	}
	if err := d.EndSession(); err != nil {
		t.Errorf("nothing to end: got %v, want no error", err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := Session{
		Host: "it", Route: "j1,j2", Started: at, State: Waiting, BytesUp: 1 << 40, BytesDown: 2,
		RTT: Seconds(1500 * time.Microsecond), Silence: Seconds(time.Minute), Missed: 3, Reattaches: 4,
		Event: "connection lost", EventTime: at.Add(time.Hour), Error: "a \"b\"", ErrorTime: at.Add(time.Hour),
	}
	for _, s := range []Session{{Host: "before"}, want} {
		if err := d.WriteSession(s); err != nil {
			t.Fatal(err)
		}
	}
	all, err := d.Sessions()
	if err != nil || len(all) != 1 {
		t.Fatalf("got %v, %v, want the one session", all, err)
	}
	if age := time.Since(all[0].Updated); age < 0 || age > time.Minute || all[0].PID != os.Getpid() {
		t.Errorf("got process %d and an age of %v, want ours and little", all[0].PID, age)
	}
	want.PID, want.Updated = all[0].PID, all[0].Updated
	if !reflect.DeepEqual(all[0], want) {
		t.Errorf("got %+v, want %+v", all[0], want)
	}
	if failures, err := d.Failures(); err != nil || len(failures) != 0 {
		t.Errorf("got failures %v, %v, want none", failures, err)
	}
	if err := d.EndSession(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(string(d)); err != nil || len(entries) != 0 {
		t.Errorf("after the end: got %v, %v, want nothing", entries, err)
	}
}

// TestJSON: the names that others rely on.
func TestJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, s := range map[string]Session{
		`{"host":"","pid":0,"route":"","started":"0001-01-01T00:00:00Z","state":"","bytes_up":0,"bytes_down":0,` +
			`"probes_missed":0,"reattaches":0,"event":"","event_time":"0001-01-01T00:00:00Z","updated":"0001-01-01T00:00:00Z"}`: {},
		`{"host":"it","pid":7,"route":"direct","started":"2026-01-02T03:04:05Z","state":"connected","bytes_up":9007199254740993,"bytes_down":2,` +
			`"rtt_seconds":0.0000015,"silence_seconds":86400,"probes_missed":3,"reattaches":4,"event":"connected","event_time":"2026-01-02T03:04:05Z",` +
			`"error":"lost","error_time":"2026-01-02T03:04:05Z","updated":"2026-01-02T03:04:05Z"}`: {
			Host: "it", PID: 7, Route: "direct", Started: at, State: Connected, BytesUp: 1<<53 + 1, BytesDown: 2,
			RTT: Seconds(1500), Silence: Seconds(24 * time.Hour), Missed: 3, Reattaches: 4, Event: "connected", EventTime: at,
			Error: "lost", ErrorTime: at, Updated: at,
		},
	} {
		if got, err := json.Marshal(s); err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}

// TestKept: the file has all that json would write.
func TestKept(t *testing.T) {
	at := time.Now()
	k := &kept{Session{"it\"\u009b", 1, "direct", at, Waiting, 2, 3, 4, 5, 6, 7, "lost", at, "why", at, at}, "start", "boot"}
	type plain kept
	var got, want map[string]any
	for from, to := range map[any]*map[string]any{k: &got, (*plain)(k): &want} {
		text, err := json.Marshal(from)
		if err == nil {
			err = json.Unmarshal(text, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(want) != 18 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestStale: what dead processes leave goes, whoever has their numbers now.
func TestStale(t *testing.T) {
	d, me := Dir(filepath.Join(t.TempDir(), "state")), self()
	if me.Start == "" {
		t.Log("no start times on this system")
	}
	fresh := time.Now()
	live := put(t, d, me, Session{Host: "live", Updated: fresh})
	reused := put(t, d, process{me.PID, me.Start + "1", me.Boot}, Session{Host: "reused", Updated: fresh})
	dead := put(t, d, process{1 << 22, me.Start, me.Boot}, Session{Host: "dead", Updated: fresh})
	elsewhere := put(t, d, process{me.PID, me.Start, "another"}, Session{Host: "elsewhere", Updated: fresh})
	old := put(t, d, process{me.PID, me.Start, "older"}, Session{Host: "old", Updated: fresh.Add(-oldSession - time.Hour)})
	if got := hosts(t, d); got != "live" {
		t.Errorf("got %q, want the live one", got)
	}
	for file, want := range map[string]bool{live: true, reused: false, dead: false, elsewhere: true, old: false} {
		if isThere(file) != want {
			t.Errorf("%s: there is %v, want %v", filepath.Base(file), !want, want)
		}
	}
}

// TestRubbish is passed over: what is torn, what says that it is another's, what
// is no file, and what was never finished, which goes when it is old.
func TestRubbish(t *testing.T) {
	d, me := Dir(filepath.Join(t.TempDir(), "state")), self()
	file := put(t, d, me, Session{Host: "good", Updated: time.Now()})
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.Rename(file, outside); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, file); err != nil {
		t.Skip("no symbolic links: ", err)
	}
	if got := hosts(t, d); got != "" || !isThere(outside) {
		t.Errorf("symbolic link: got %q, want it passed over", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(string(d), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for n := range text[:len(text)-2] {
		write(filepath.Base(file), string(text[:n]))
		if got := hosts(t, d); got != "" {
			t.Fatalf("the first %d bytes: got %q, want it passed over", n, got)
		}
	}
	write(filepath.Base(file), strings.Replace(string(text), `"host":"good"`, `"host":"`+strings.Repeat("x", maxFile)+`"`, 1))
	write("session-1-0.json", string(text))
	write("session-0-0.json", `{"pid":-1}`)
	if err := os.Mkdir(filepath.Join(string(d), "session-2-0.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	young, old := write(tempPrefix+"1", "{"), write(tempPrefix+"2", "{")
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-oldTemp-time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := hosts(t, d); got != "" || !isThere(young) || isThere(old) {
		t.Errorf("rubbish: got %q, and temporary files %v, %v, want none, and the young one", got, isThere(young), isThere(old))
	}
	write(filepath.Base(file), string(text))
	if got := hosts(t, d); got != "good" {
		t.Errorf("got %q, want the good one", got)
	}
}

// TestFresh: a session that is asked tells how it is now.
func TestFresh(t *testing.T) {
	if Unasked > 0 {
		t.Skip("sessions cannot be asked here")
	}
	d, asked, over := Dir(filepath.Join(t.TempDir(), "state")), Asked(), make(chan struct{})
	put(t, d, self(), Session{Host: "it", Updated: time.Now().Add(-2 * Gap)})
	defer close(over)
	go func() { // ends with the test
		for n := int64(1); ; n++ {
			select {
			case <-asked:
				d.WriteSession(Session{Host: "it", BytesUp: n})
			case <-over:
				return
			}
		}
	}()
	deadline := time.Now().Add(10 * time.Second)
	for { // a machine under load may take longer than patience
		all, err := d.Sessions()
		if err != nil || len(all) != 1 {
			t.Fatalf("got %v, %v, want the session", all, err)
		}
		if all[0].BytesUp > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no fresh figures came")
		}
	}
	before, err := d.Sessions() // which are fresh for a while: nobody is asked
	if err != nil || len(before) != 1 || time.Since(before[0].Updated) < Gap && before[0].BytesUp != 1 {
		t.Errorf("got %v, %v, want the same figures", before, err)
	}
}

// TestMany: to look is quick, also where a crash has left much.
func TestMany(t *testing.T) {
	d, me := Dir(filepath.Join(t.TempDir(), "state")), self()
	for i := range 200 {
		p := process{1<<22 + i, me.Start, me.Boot}
		if i%2 == 0 { // another machine's
			p = process{me.PID, me.Start, fmt.Sprintf("%s %d", me.Boot, i)}
		}
		put(t, d, p, Session{Host: fmt.Sprint(i), Updated: time.Now()})
	}
	put(t, d, me, Session{Host: "it"})
	start := time.Now()
	got := hosts(t, d)
	took := time.Since(start)
	t.Logf("200 files: %v", took)
	if got != "it" || took > time.Second {
		t.Errorf("got %q after %v, want the one session, in 100 ms", got, took)
	}
	if entries, err := os.ReadDir(string(d)); err != nil || len(entries) != 101 {
		t.Errorf("got %d files, %v, want those of the dead removed", len(entries), err)
	}
}
