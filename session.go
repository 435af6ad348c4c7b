package main

import (
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"ssh-stay/keepalive"
	"ssh-stay/proxy"
	"ssh-stay/state"
	"ssh-stay/stream"
)

const (
	// recordAfter is the age at which a session is worth a file: most commands
	// have come to their end by then.
	recordAfter = time.Second
	// recordGrace is how long the end of a process waits for its record to go, or
	// for a failure to be written. A record that is left is passed over, the process
	// being dead.
	recordGrace = 200 * time.Millisecond
)

// record is what `ssh-stay status` shows of this process: nobody reads the stderr
// of a proxy, and the terminal is ssh's. It is written when something happens and
// when somebody looks, and costs nothing in between. Nothing waits for the files,
// which may be on a dead server or on a full disk, and nothing fails for them.
type record struct {
	dir          state.Dir
	host, route  string
	interval     time.Duration // of a stream's pings
	stats        func() proxy.Stats
	over         chan struct{} // closed by end
	gone         chan struct{} // closed when nothing is left of the record
	asked        <-chan os.Signal
	unaskedEvery time.Duration

	mu      sync.Mutex    // guards what follows
	wake    chan struct{} // has an element when something has happened; set once
	session state.Session // but for its figures
	lost    time.Time     // since when there is no connection; zero while there is one
	local   string        // the address that the connection comes from
	dialed  string        // the same of the last one that was made
}

// begin tells of a session over conn, from now on.
func (r *record) begin(conn *proxy.Conn) {
	r.stats = conn.Stats
	if s, ok := conn.Conn.(*stream.Stream); ok {
		r.stats = func() proxy.Stats { return streamStats(s, r.interval) }
	}
	r.asked, r.unaskedEvery = state.Asked(), state.Unasked
	r.start()
}

func (r *record) start() {
	r.over, r.gone = make(chan struct{}), make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wake = make(chan struct{}, 1) // a stream may tell of a change by now
	now := time.Now().Truncate(time.Second)
	r.session.Host, r.session.Route, r.session.Started = r.host, r.route, now
	if r.session.State == "" { // a stream may have lost its link by now
		r.session.State, r.session.Event, r.session.EventTime = state.Connected, "connected", now
	}
	go r.keep() // ends soon after end
}

// streamStats knows what a stream knows; its interval is that of the hops.
func streamStats(s *stream.Stream, interval time.Duration) proxy.Stats {
	t := s.Stats()
	return proxy.Stats{Up: t.Sent, Down: t.Received, RTT: t.RTT, Silence: t.Silence, Missed: keepalive.Missed(t.Silence, interval)}
}

// end removes the record, if begin was called, and waits for that but not for
// long.
func (r *record) end() {
	if r.over == nil {
		return
	}
	close(r.over)
	select {
	case <-r.gone:
	case <-time.After(recordGrace):
	}
}

// via notes where the newest connection comes from.
func (r *record) via(from net.Addr) {
	host, _, err := net.SplitHostPort(from.String())
	if err != nil {
		host = from.String()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dialed = host
	if r.local == "" {
		r.local = host
	}
}

// changed is stream.Config's.
func (r *record) changed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, was := time.Now(), r.session
	s := &r.session
	switch {
	case err == nil:
		s.State, s.Event = state.Connected, "moved to a new connection"
		if !r.lost.IsZero() {
			s.Event = "reattached after " + span(now.Sub(r.lost))
		}
		if r.dialed != r.local {
			s.Event += ", address changed"
		}
		s.EventTime, r.lost, r.local = now.Truncate(time.Second), time.Time{}, r.dialed
		s.Reattaches++
	case r.lost.IsZero():
		s.State, s.Event, s.EventTime, r.lost = state.Waiting, "connection lost", now.Truncate(time.Second), now
		fallthrough
	default:
		if text := escape(message(err, "")); text != s.Error || s.ErrorTime.Before(s.EventTime) {
			s.Error, s.ErrorTime = text, now.Truncate(time.Second)
		}
	}
	if *s != was {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// keep writes the record, at most once in state.Gap, until the end.
func (r *record) keep() {
	defer close(r.gone)
	var tick <-chan time.Time
	if r.unaskedEvery > 0 {
		ticker := time.NewTicker(r.unaskedEvery)
		defer ticker.Stop()
		tick = ticker.C
	}
	next := time.NewTimer(recordAfter)
	defer next.Stop()
	for written := false; ; written = true {
		select {
		case <-next.C:
		case <-r.over:
			if written {
				r.dir.EndSession()
			}
			return
		}
		figures := r.stats()
		r.dir.WriteSession(r.with(figures))
		at := time.Now()
		r.await(tick, figures)
		next.Reset(state.Gap - time.Since(at))
	}
}

// with is the record with figures.
func (r *record) with(figures proxy.Stats) state.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.session
	s.BytesUp, s.BytesDown, s.Missed = figures.Up, figures.Down, figures.Missed
	s.RTT, s.Silence = state.Seconds(figures.RTT), state.Seconds(figures.Silence)
	return s
}

// await returns when there is a reason to write, or the session is over. A tick is
// one only where bytes have flowed since they were told.
func (r *record) await(tick <-chan time.Time, told proxy.Stats) {
	for {
		select {
		case <-r.over:
			return
		case <-r.asked:
			return
		case <-r.wake:
			return
		case <-tick:
			if now := r.stats(); now.Up != told.Up || now.Down != told.Down {
				return
			}
		}
	}
}

// words is how a plan reaches its host: "direct", "j1,j2", "resume target via j1".
func (p *plan) words() string {
	var via []string
	switch {
	case p.left:
		via = append(via, "ssh -W")
	case p.settings.ProxyCommand != "":
		via = append(via, "ProxyCommand")
	}
	legs := p.route.Legs
	if p.resume != nil && p.resume.own {
		legs = legs[:len(legs)-1]
	}
	for _, leg := range legs {
		via = append(via, escape(leg.Hop.Name))
	}
	list := strings.Join(via, ",")
	switch {
	case p.resume == nil && list == "":
		return "direct"
	case p.resume == nil:
		return list
	case list == "":
		return "resume target"
	case p.resume.own:
		return "resume target via " + list
	}
	return "resume jump via " + list
}

// span words a duration with its two largest units.
func span(d time.Duration) string {
	s := int(d / time.Second)
	switch {
	case d < 10*time.Second:
		return strconv.FormatFloat(max(d, 0).Seconds(), 'f', 1, 64) + "s"
	case s < 60:
		return strconv.Itoa(s) + "s"
	case s < 3600:
		return units(s/60, "m", s%60, "s")
	case s < 24*3600:
		return units(s/3600, "h", s/60%60, "m")
	}
	return units(s/24/3600, "d", s/3600%24, "h")
}

func units(large int, unit string, small int, smaller string) string {
	n := strconv.Itoa(small)
	if len(n) < 2 {
		n = "0" + n
	}
	return strconv.Itoa(large) + unit + n + smaller
}
