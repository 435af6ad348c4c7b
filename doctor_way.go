package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"ssh-stay/auth"
	"ssh-stay/config"
	"ssh-stay/doctor"
	"ssh-stay/hop"
	"ssh-stay/proxy"
)

const (
	// reachLimit bounds the dial and the key exchange of one host where nobody is
	// asked, askLimit where somebody may be, by a ProxyCommand. The login itself
	// may take loginGrace besides.
	reachLimit = 15 * time.Second
	askLimit   = 3 * time.Minute
	// pingLimit bounds all that is asked of a host after the login.
	pingLimit = 15 * time.Second
	// idleGrace is what --idle may take beyond its logins and the silence.
	idleGrace = 30 * time.Second
)

// exam is what the checks of one `ssh-stay doctor` share.
type exam struct {
	*doctorOptions
	build *routeBuilder
	way   []*station // in the order of dialing, the target last
	err   error      // why there is no way
	said  func(line string)

	agents    map[string]agentAnswer // by socket
	noAskpass string                 // why ssh cannot ask by askpass, "" if it can
}

// station is a host on the way, by its own stanza.
type station struct {
	query config.Query
	s     *config.Settings
	told  map[string]setting // by keyword

	hop *hop.Hop // once logged in
}

// setting is a value of the configuration and where it was set, "" for a default.
type setting struct{ value, source string }

// at is the source for a message.
func (v setting) at() string {
	if v.source == "" {
		return ""
	}
	return " (" + v.source + ")"
}

func newExam(o *doctorOptions) *exam {
	x := &exam{doctorOptions: o, agents: map[string]agentAnswer{}}
	log := slog.New(slog.DiscardHandler)
	x.build = &routeBuilder{
		file: o.file, engine: o.engine, path: []string{o.alias}, log: log,
		delegated: map[string]bool{}, mayDelegate: map[string]bool{},
		background: func() bool { return !o.ask }, // commands get no terminal to ask on
		tell:       func(string) {}, show: func(string) {},
	}
	if o.ask {
		x.build.ask, x.build.signing = o.person.ask, o.person.signing
		o.person.remembers = true // the same is not asked for each connection
	}
	return x
}

// checks are all that can be made, in order.
func (x *exam) checks(ctx context.Context) []doctor.Check {
	resolving, cancel := context.WithTimeout(ctx, doctor.DefaultLimit)
	defer cancel()
	x.err = x.resolve(resolving)
	checks := []doctor.Check{{Name: "config", Run: x.checkConfig}}
	if x.err != nil {
		return append(checks, doctor.Check{Name: "state", Run: x.checkState})
	}
	checks = append(checks,
		doctor.Check{Name: "settings", Run: x.checkSettings},
		doctor.Check{Name: "keys", Run: x.checkKeys},
		doctor.Check{Name: "names", Run: x.checkNames})
	needs := "names"
	for i := range x.way {
		c := doctor.Check{Name: x.title(i), Needs: []string{needs}, Limit: x.loginLimit(x.way[i].s) + pingLimit + 10*time.Second}
		c.Run = func(ctx context.Context) []doctor.Finding { return x.visit(ctx, i) }
		checks, needs = append(checks, c), c.Name
	}
	if i := x.relayAt(); i >= 0 {
		c := doctor.Check{Name: "relay", Needs: []string{x.title(i)}}
		c.Run = func(ctx context.Context) []doctor.Finding { return x.checkRelay(ctx, x.way[i]) }
		checks = append(checks, c)
	}
	if x.idle {
		limit := x.idleMax + time.Duration(doctor.Flows)*x.loginLimit(x.way[0].s) + idleGrace
		checks = append(checks, doctor.Check{Name: "idle", Needs: []string{x.title(0)}, Run: x.checkIdle, Limit: limit})
	}
	return append(checks, doctor.Check{Name: "state", Run: x.checkState})
}

func (x *exam) target() *station { return x.way[len(x.way)-1] }

// title names the check of a host.
func (x *exam) title(i int) string {
	if i == len(x.way)-1 {
		return "target"
	}
	return "hop " + x.way[i].s.Alias
}

// relayAt is the host that a relay is on; negative for none. Where nobody wants
// one, no command is run to ask: authorized_keys may have another in its place.
func (x *exam) relayAt() int {
	switch x.target().s.StayResume {
	case "target":
		return len(x.way) - 1
	case "jump":
		return len(x.way) - 2
	}
	return -1
}

func (x *exam) resolve(ctx context.Context) error {
	q, err := x.query()
	if err != nil {
		return err
	}
	s, err := config.Resolve(ctx, q)
	if err != nil {
		return err
	}
	return x.walk(ctx, q, s)
}

// walk appends the hosts before s, and s: as routeBuilder.build finds them.
func (x *exam) walk(ctx context.Context, q config.Query, s *config.Settings) error {
	if len(s.Jumps) > 0 {
		last, rest := s.Jumps[len(s.Jumps)-1], s.Jumps[:len(s.Jumps)-1]
		hq := config.Query{Host: last.Host, User: last.User, Port: last.Port, File: x.file, Engine: x.engine}
		if len(rest) > 0 {
			hq.Options = []string{"ProxyJump=" + joinJumps(rest)}
		} else if err := x.build.enter(last.String(), s); err != nil {
			return err
		}
		hs, err := config.Resolve(ctx, hq)
		if err != nil {
			return err
		}
		if err := x.walk(ctx, hq, hs); err != nil {
			return err
		}
	}
	st := &station{query: q, s: s, told: map[string]setting{}}
	var text bytes.Buffer
	if err := s.Print(&text, true); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		line, source := strings.TrimSuffix(line, "\n"), ""
		if i := strings.LastIndex(line, "  # "); i >= 0 {
			line, source = line[:i], line[i+4:]
		}
		name, value, _ := strings.Cut(line, " ")
		if _, again := st.told[name]; !again {
			st.told[name] = setting{value, source}
		}
	}
	x.way = append(x.way, st)
	return nil
}

// leg is how to log in at a host without a trace: no key is accepted that is not
// known, and none is recorded or given to the agent.
func (x *exam) leg(s *config.Settings) (*proxy.Leg, error) {
	leg, err := x.build.leg(s)
	if err != nil {
		return nil, err
	}
	load := leg.Hop.LoadHostKeys
	leg.Hop.LoadHostKeys = func() (*auth.HostKeys, error) {
		keys, err := load()
		if err != nil {
			return nil, err
		}
		keys.Strict, keys.UserFile, keys.Ask = auth.StrictYes, "", nil
		keys.Warn, keys.Info = nil, nil
		return keys, nil
	}
	leg.Hop.Login.AddKeys = auth.AddKeys{}
	if x.agents[leg.Hop.Login.AgentSocket].late {
		leg.Hop.Login.AgentSocket = ""
	}
	leg.Hop.Interval = 0
	return &leg, nil
}

// base dials the first host of the way, once.
func (x *exam) base(s *config.Settings) (proxy.DialFunc, error) {
	first := *s
	first.ConnectAttempts = 1
	return x.build.base(&first)
}

// errLate is the cause of a login that took too long.
var errLate = errors.New("no answer in time")

// reach is how long a host may take to the end of the key exchange, which is what
// ConnectTimeout bounds.
func (x *exam) reach(s *config.Settings) time.Duration {
	if x.ask {
		return askLimit
	}
	return cmp.Or(min(s.ConnectTimeout, reachLimit), reachLimit)
}

// loginLimit is for the whole of a login.
func (x *exam) loginLimit(s *config.Settings) time.Duration { return x.reach(s) + loginGrace }

// login dials a host and logs in.
func (x *exam) login(ctx context.Context, s *config.Settings, cfg *hop.Config, dial hop.DialFunc) (*hop.Hop, error) {
	limit := x.loginLimit(s)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: %v", errLate, limit))
	defer cancel()
	ctx, late := context.WithCancelCause(ctx)
	defer late(nil)
	reach := x.reach(s)
	reaching := time.AfterFunc(reach, func() { late(fmt.Errorf("%w: %v", errLate, reach)) })
	defer reaching.Stop()
	cfg.LoggingIn = func() { reaching.Stop() }
	return hop.Dial(ctx, cfg, dial)
}

// close ends the hops, the first one first.
func (x *exam) close() {
	for _, st := range x.way {
		if st.hop != nil {
			st.hop.Close()
		}
	}
}

// hopDial fixes where a route's dial goes.
func hopDial(dial proxy.DialFunc, host string, port int) hop.DialFunc {
	return func(ctx context.Context) (net.Conn, error) { return dial(ctx, host, port) }
}
