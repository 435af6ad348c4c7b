// Package doctor asks a list of checks one after the other and tells what they
// found. It knows neither ssh_config nor how a host is reached: who does hands
// it the checks, and the connections whose idle life it measures.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Level is how bad a finding is.
type Level int

const (
	OK   Level = iota
	Note       // worth knowing
	Warn       // works, and will not always
	Fail       // does not work
)

var levelNames = [...]string{"ok", "note", "warn", "fail"}

func (l Level) String() string { return levelNames[l] }

// MarshalText is the level in JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText is the reverse of MarshalText.
func (l *Level) UnmarshalText(text []byte) error {
	i := slices.Index(levelNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("no level %q", text)
	}
	*l = Level(i)
	return nil
}

// Finding is one thing that a check has found. Its texts are fit for a terminal.
type Finding struct {
	Check string `json:"check"` // the check's name; the runner fills it in
	Level Level  `json:"level"`
	What  string `json:"what"`          // one line
	Fix   string `json:"fix,omitempty"` // lines to paste; every Warn and Fail has some

	// Blocks says that checks which need this one cannot be made. A Fail always
	// blocks.
	Blocks bool `json:"-"`
}

// Check is one question.
type Check struct {
	Name  string
	Needs []string      // names of checks before it, without which it makes no sense
	Limit time.Duration // for Run; 0: DefaultLimit
	Run   func(context.Context) []Finding
}

const (
	// DefaultLimit is what a check may take that says nothing else.
	DefaultLimit = 20 * time.Second
	// grace is how long a check may take to notice that its time is over.
	grace = 2 * time.Second
	// slow is the silence after which somebody is told what is waited for.
	slow = 5 * time.Second
)

// Runner makes checks in order. The zero value tells nobody.
type Runner struct {
	Found func(Finding)     // told of each finding as it comes; nil: nobody is
	Slow  func(name string) // told of a check that takes its time; nil: nobody is

	blocked map[string]bool
	all     []Finding
}

// Run makes the checks and returns all that was found. It ends with ctx, and what
// the check says that was interrupted counts for nothing.
func (r *Runner) Run(ctx context.Context, checks []Check) []Finding {
	r.blocked = map[string]bool{}
	for _, c := range checks {
		if ctx.Err() != nil {
			break
		}
		missing := slices.IndexFunc(c.Needs, func(name string) bool { return r.blocked[name] })
		if missing >= 0 {
			r.blocked[c.Name] = true
			r.tell(c, Finding{Level: Note, What: "not looked at: it needs " + c.Needs[missing]})
			continue
		}
		found := r.run(ctx, c)
		if ctx.Err() != nil {
			break
		}
		for _, f := range found {
			r.tell(c, f)
		}
	}
	return r.all
}

func (r *Runner) tell(c Check, f Finding) {
	f.Check = c.Name
	if f.Blocks || f.Level == Fail {
		r.blocked[c.Name] = true
	}
	r.all = append(r.all, f)
	if r.Found != nil {
		r.Found(f)
	}
}

// run makes one check. One that does not mind its context is left behind.
func (r *Runner) run(ctx context.Context, c Check) []Finding {
	limit := c.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if r.Slow != nil {
		defer time.AfterFunc(slow, func() { r.Slow(c.Name) }).Stop()
	}
	done := make(chan []Finding, 1)
	go func() { done <- c.Run(bounded) }() // ends with bounded; see above
	select {
	case found := <-done:
		return found
	case <-bounded.Done():
	}
	select {
	case found := <-done:
		return found
	case <-time.After(grace):
		return []Finding{{Level: Fail, What: fmt.Sprintf("no answer within %v", limit), Fix: "run it again; what hangs here hangs for ssh too"}}
	}
}

// Failed is how many of the findings are failures.
func Failed(found []Finding) (n int) {
	for _, f := range found {
		if f.Level == Fail {
			n++
		}
	}
	return n
}
