package main

import (
	"sync"
	"time"

	"ssh-stay/state"
)

const (
	// tellAfter is how long a session may be without a connection before
	// `ssh-stay status` shows it, and tellEvery how often that is brought up to
	// date.
	tellAfter = 5 * time.Second
	tellEvery = 10 * time.Second
	// recordGrace is how long the end of a process waits for its record to go. One
	// that is left is passed over, the process being dead.
	recordGrace = 200 * time.Millisecond
)

// absence tells by `ssh-stay status` that a session waits for a connection, and
// for what: nobody reads the stderr of a proxy, and the terminal is ssh's.
type absence struct {
	host string
	dir  state.Dir

	mu   sync.Mutex    // guards what follows
	why  string        // "" while there is a connection
	over chan struct{} // closed at the end of an absence
	gone chan struct{} // closed when nothing is left of the last one; nil for none
}

// changed is stream.Config's. It never waits for the files, which may be on a
// dead server.
func (a *absence) changed(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err != nil && a.why == "":
		before := a.gone
		a.over, a.gone = make(chan struct{}), make(chan struct{})
		go a.tell(time.Now(), before, a.over, a.gone) // ends soon after over
	case err == nil && a.why != "":
		close(a.over)
	}
	a.why = ""
	if err != nil {
		a.why = escape(message(err, ""))
	}
}

// wait waits until nothing is left of the last absence, but not for long.
func (a *absence) wait() {
	a.mu.Lock()
	gone := a.gone
	a.mu.Unlock()
	if gone == nil {
		return
	}
	select {
	case <-gone:
	case <-time.After(recordGrace):
	}
}

// tell keeps the record of one absence, after that of the one before has gone.
func (a *absence) tell(since time.Time, before, over <-chan struct{}, gone chan<- struct{}) {
	defer close(gone)
	if before != nil {
		<-before
	}
	told, next := "", time.NewTimer(tellAfter)
	defer next.Stop()
	for {
		select {
		case <-over:
			if told != "" {
				a.dir.EndWaiting()
			}
			return
		case <-next.C:
		}
		a.mu.Lock()
		why := a.why
		a.mu.Unlock()
		if why != "" && why != told {
			a.dir.WriteWaiting(state.Waiting{Host: a.host, Since: since.Truncate(time.Second), Error: why})
			told = why
		}
		next.Reset(tellEvery)
	}
}
