package state

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// States of a session.
const (
	Connected = "connected"
	Waiting   = "waiting" // for a connection: it has lost one
)

// Session is a process that stands between an ssh and a host, as it was when it
// last wrote. All texts are fit for a terminal. The names in JSON are for others
// to rely on.
type Session struct {
	Host    string    `json:"host"` // the alias
	PID     int       `json:"pid"`
	Route   string    `json:"route"`
	Started time.Time `json:"started"`
	State   string    `json:"state"`

	BytesUp    int64   `json:"bytes_up"` // to the host
	BytesDown  int64   `json:"bytes_down"`
	RTT        Seconds `json:"rtt_seconds,omitzero"`     // the last round trip; 0: not known
	Silence    Seconds `json:"silence_seconds,omitzero"` // since something was last heard; 0: not known
	Missed     int     `json:"probes_missed"`            // in a row
	Reattaches int     `json:"reattaches"`

	Event     string    `json:"event"` // the last one
	EventTime time.Time `json:"event_time"`
	Error     string    `json:"error,omitempty"` // the last one
	ErrorTime time.Time `json:"error_time,omitzero"`

	Updated time.Time `json:"updated"`
}

// Seconds is a duration that is a number of seconds in JSON.
type Seconds time.Duration

func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

func (s *Seconds) UnmarshalJSON(text []byte) error {
	var n float64
	err := json.Unmarshal(text, &n)
	*s = Seconds(n * float64(time.Second))
	return err
}

// kept is what stands in a file: the session, and whose it is.
type kept struct {
	Session
	Start string `json:"start"`
	Boot  string `json:"boot"`
}

func (k *kept) process() process { return process{k.PID, k.Start, k.Boot} }

// MarshalJSON writes what json would by itself. That learns the fields of a type
// before it writes one, which costs an idle session 40 kB for the rest of its
// life, of 1.6 MB.
func (k *kept) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 1<<10), '{')
	for _, f := range []struct {
		name  string
		value any
	}{
		{"host", k.Host}, {"pid", int64(k.PID)}, {"route", k.Route}, {"started", k.Started}, {"state", k.State},
		{"bytes_up", k.BytesUp}, {"bytes_down", k.BytesDown}, {"rtt_seconds", k.RTT}, {"silence_seconds", k.Silence},
		{"probes_missed", int64(k.Missed)}, {"reattaches", int64(k.Reattaches)}, {"event", k.Event}, {"event_time", k.EventTime},
		{"error", k.Error}, {"error_time", k.ErrorTime}, {"updated", k.Updated}, {"start", k.Start}, {"boot", k.Boot},
	} {
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, '"'), f.name...), `":`...)
		b = append(append(b, value...), ',')
	}
	b[len(b)-1] = '}'
	return b, nil
}

const sessionPrefix = "session-"

const (
	// Gap is the least time between two writes of a session: figures of that age
	// are fresh.
	Gap = 500 * time.Millisecond
	// patience is how long all sessions together may take to write fresh figures,
	// on a machine under load. One that is stopped does not, and is shown as it was.
	patience = 300 * time.Millisecond
	// oldSession is the age at which the record of another machine's process is
	// removed, or of one before the last boot: which of them cannot be known.
	oldSession = 30 * 24 * time.Hour
	// oldTemp is the age of what a process left that was killed while it wrote.
	oldTemp = time.Hour
)

// WriteSession replaces what is kept of this process, which has one session. It
// sets PID and Updated.
func (d Dir) WriteSession(s Session) error {
	me := self()
	s.PID, s.Updated = me.PID, time.Now()
	return d.write(filepath.Join(string(d), me.file()), &kept{s, me.Start, me.Boot})
}

// EndSession removes it again.
func (d Dir) EndSession() error {
	err := os.Remove(filepath.Join(string(d), self().file()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// found is a file of a session that lives.
type found struct {
	kept
	path string
	info os.FileInfo
}

// Sessions returns those of living processes, the oldest first, with fresh
// figures from all that are quick to give them. It removes what dead processes
// have left. A directory that does not exist has none; files that cannot be
// understood are passed over.
func (d Dir) Sessions() ([]Session, error) {
	d.sweep()
	files, err := d.list(sessionPrefix)
	me := self()
	var all []*found
	for _, file := range files {
		f := &found{path: file}
		if !f.read() {
			continue
		}
		switch here := f.Boot == me.Boot; {
		case here && f.process().runs():
			all = append(all, f)
		case here, time.Since(f.Updated) > oldSession:
			os.Remove(file)
		}
	}
	refresh(all)
	slices.SortFunc(all, func(a, b *found) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.PID, b.PID))
	})
	sessions := make([]Session, len(all))
	for i, f := range all {
		sessions[i] = f.Session
	}
	return sessions, err
}

// read reads the file, or reports false and leaves f as it is.
func (f *found) read() bool {
	var k kept
	info, err := os.Lstat(f.path)
	if err != nil || readJSON(f.path, &k) != nil || k.PID <= 0 || k.process().file() != filepath.Base(f.path) {
		return false
	}
	f.kept, f.info = k, info
	return true
}

// refresh asks for figures, and reads those that come in time.
func refresh(all []*found) {
	var asked []*found
	for _, f := range all {
		if age := time.Since(f.Updated); (age > Gap || age < 0) && ask(f.process()) {
			asked = append(asked, f)
		}
	}
	for late := time.Now().Add(patience); len(asked) > 0 && time.Now().Before(late); {
		time.Sleep(2 * time.Millisecond)
		asked = slices.DeleteFunc(asked, func(f *found) bool {
			info, err := os.Lstat(f.path)
			if err != nil { // it has ended meanwhile
				return true
			}
			return !os.SameFile(info, f.info) && f.read()
		})
	}
}

// sweep removes files that never got their names.
func (d Dir) sweep() {
	files, _ := d.list(tempPrefix)
	for _, file := range files {
		if info, err := os.Lstat(file); err == nil && time.Since(info.ModTime()) > oldTemp {
			os.Remove(file)
		}
	}
}
