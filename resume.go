package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/term"

	"ssh-stay/auth"
	"ssh-stay/config"
	"ssh-stay/hop"
	"ssh-stay/keepalive"
	"ssh-stay/prompt"
	"ssh-stay/proxy"
	"ssh-stay/relay"
	"ssh-stay/state"
	"ssh-stay/stream"
)

// reconnectTime is the least that an attempt to log in again may take, questions
// excepted: the stream makes another one then.
const reconnectTime = 15 * time.Second

// resumption is what StayResume makes of a plan: its route ends at the host of
// the relay, which connects on.
type resumption struct {
	host           string // of the relay: the last hop's name
	target         string // that it dials, HOST:PORT
	own            bool   // the relay is on the target itself
	interval, keep time.Duration
}

// resumption decides where the relay is, and appends the leg to the target
// where it is there. It returns nil where there is nothing to resume: a route
// without a jump host, for `jump`, or one whose relay would be on a host that is
// left to ssh, which b.unresumed tells.
func (b *routeBuilder) resumption(s *config.Settings, legs []proxy.Leg) (*resumption, []proxy.Leg, error) {
	r := &resumption{interval: s.StayInterval, keep: s.StayKeep}
	switch s.StayResume {
	case "target":
		if b.isLeft(s) {
			b.unresumed = "the login at " + s.Alias + " is left to ssh"
			return nil, legs, nil
		}
		leg, err := b.leg(s)
		if err != nil {
			return nil, nil, err
		}
		r.host, r.target, r.own = s.Alias, net.JoinHostPort("localhost", strconv.Itoa(s.Port)), true
		return r, append(legs, leg), nil
	case "jump":
		if len(legs) == 0 {
			if len(s.Jumps) > 0 {
				b.unresumed = "the login at " + s.Jumps[len(s.Jumps)-1].Host + " is left to ssh"
			}
			return nil, legs, nil
		}
		r.host, r.target = legs[len(legs)-1].Hop.Name, net.JoinHostPort(s.HostName, strconv.Itoa(s.Port))
		return r, legs, nil
	}
	return nil, legs, nil
}

// resumer dials a stream, and the transports that it runs over one after the
// other.
type resumer struct {
	plan   *plan
	person *person
	relay  relay.Client
	again  *proxy.Route // for all logins but the first; nil before
	opened bool         // the relay has the stream
	dialed func(from net.Addr)
	log    *slog.Logger
}

// dialResumed connects by a stream. The caller closes it.
func (o *proxyOptions) dialResumed(ctx context.Context, p *plan, log *slog.Logger) (*proxy.Conn, error) {
	binaries, err := relay.Binaries()
	if err != nil {
		return nil, &relay.UnavailableError{Why: err.Error()}
	}
	d := &resumer{plan: p, person: &o.person, log: log, relay: relay.Client{
		Binaries: binaries, Progress: o.progress(p.resume.host), Log: log,
		Warn: func(text string) { o.say("%s: %s", p.resume.host, text) },
	}}
	o.person.remembers = true
	d.dialed, o.record.interval = o.record.via, p.resume.interval
	events, _ := o.events.Subscribe() // for as long as the process lives
	s, err := stream.Dial(ctx, &stream.Config{
		Dial: d.dial, Judge: d.judge, Target: d.target,
		Interval: p.resume.interval, Keep: p.resume.keep, Events: events, Log: log,
		Changed: o.record.changed, Asking: o.person.asking,
	})
	if err != nil {
		return nil, err
	}
	return &proxy.Conn{Conn: s}, nil
}

// target is what the relay shall dial. localhost may have another sshd at the
// port that the user dials, where that is a forwarded one: the sshd that let us in
// is the right one.
func (d *resumer) target() string {
	r := d.plan.resume
	if own := d.relay.Sshd(); r.own && own != "" {
		_, dialed, _ := net.SplitHostPort(r.target)
		if _, port, _ := net.SplitHostPort(own); port != dialed {
			return own
		}
	}
	return r.target
}

// progressDelay is how long an upload may take before somebody is told.
const progressDelay = time.Second

// progress shows on a terminal how far the upload of a relay is; nil where there
// is none.
func (o *proxyOptions) progress(host string) func(done, total int64) {
	if o.quiet.Load() || !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	start, shown := time.Now(), int64(-1)
	return func(done, total int64) {
		if time.Since(start) < progressDelay && shown < 0 {
			return
		}
		if percent := done * 100 / max(total, 1); percent != shown {
			shown = percent
			writeStderr(fmt.Appendf(nil, "\rssh-stay: %s: sending the relay, %d%%", escape(host), percent))
		}
		if done >= total && shown >= 0 {
			writeStderr([]byte("\r\n"))
		}
	}
}

// dial logs in. From the second time on nobody waits for it, and all hosts must
// be those of the first.
func (d *resumer) dial(ctx context.Context) (stream.Transport, error) {
	if d.again == nil {
		path, err := d.plan.route.Connect(ctx)
		if err != nil {
			return nil, err
		}
		d.dialed(path.LocalAddr())
		d.again = d.plan.route.Pin(path)
		d.again.Budget = max(reconnectTime, d.again.Budget)
		return &transport{d, path, d.relay.Open}, nil
	}
	d.person.relogin()
	first := d.again.Legs[0]
	defer state.Default().Turn(ctx, net.JoinHostPort(first.Host, strconv.Itoa(first.Port)))()
	path, err := d.again.Reconnect(ctx)
	if err != nil {
		return nil, err
	}
	d.dialed(path.LocalAddr())
	return &transport{d, path, d.relay.Attach}, nil
}

// transport is the hops to the relay's host.
type transport struct {
	resumer *resumer
	path    *proxy.Path
	start   func(context.Context, relay.ExecFunc) (net.Conn, error)
}

// Open runs the relay's bridge. Only the first channel of all starts a relay: a
// later one that did would find no stream there.
func (t *transport) Open(ctx context.Context) (net.Conn, error) {
	c, err := t.start(ctx, t.path.Last().Exec)
	if err == nil && !t.resumer.opened {
		t.resumer.opened, t.start = true, t.resumer.relay.Attach
	}
	return c, err
}

func (t *transport) Close() error { return t.path.Close() }

// judge says what an error means for a stream that waits for a link. What a
// host refuses it would refuse again; sshd counts failed logins, and closes on
// those who come too often (PerSourcePenalties, OpenSSH 9.8). Another host than
// before may be one that a network puts before all until its user has logged in
// there: it gets nothing, and the session waits for the right one.
func (d *resumer) judge(err error) stream.Verdict {
	var (
		unknown *auth.UnknownHostError
		changed *auth.ChangedHostKeyError
		revoked *auth.RevokedHostKeyError
		pinned  *hop.PinnedKeyError
		denied  *auth.DeniedError
		shaking *hop.HandshakeError
		gaveUp  *proxy.GaveUpError
		command *proxy.CommandError
		refused *hop.ExecRefusedError
		none    *relay.UnavailableError
		other   *relay.ElsewhereError
	)
	switch {
	case errors.As(err, &other): // the next login may lead to the right one
		return stream.Gently
	case errors.Is(err, relay.ErrGone), errors.As(err, &revoked):
		return stream.Fatal
	case errors.As(err, &unknown), errors.As(err, &changed), errors.As(err, &pinned):
		return stream.Hold
	case errors.As(err, &denied):
		d.person.forget()
		return stream.Hold
	case errors.As(err, &command) && command.Denied(), errors.Is(err, proxy.ErrIgnored):
		return stream.Hold
	case errors.Is(err, prompt.ErrNoAnswer), errors.As(err, &gaveUp) && d.person.ignored.Load():
		return stream.Hold
	case errors.As(err, &shaking), errors.As(err, &refused), errors.As(err, &none):
		return stream.Gently
	}
	return stream.Again
}

// notResumable says why a route has to do without a relay, if that is what the
// error means: the far end has no place for one, or only ssh can log in there.
func (p *plan) notResumable(err error) (why error, ok bool) {
	var (
		none    *relay.UnavailableError
		refused *hop.ExecRefusedError
		version *stream.VersionError
		said    *stream.RefusedError
		denied  *auth.DeniedError
		at      *hop.HandshakeError
		algs    *hop.NoAlgorithmError
	)
	switch {
	case p.resume == nil:
		return nil, false
	case errors.As(err, &none), errors.As(err, &refused), errors.As(err, &version), errors.Is(err, stream.ErrNoHello):
		return err, true
	case errors.As(err, &said):
		return err, said.Code != stream.CodeDial || p.resume.own
	case p.resume.own && errors.As(err, &at) && at.Hop == p.resume.host:
		return err, errors.As(err, &denied) || errors.As(err, &algs)
	}
	return nil, false
}

// watch has the hops probed at once when the network may have changed. One watch
// is enough for all plans of the process, for as long as that lives.
func (o *proxyOptions) watch(legs []proxy.Leg, log *slog.Logger) {
	if len(legs) > 0 && o.events == nil {
		o.events = keepalive.NewEvents(log)
	}
	for _, leg := range legs {
		leg.Hop.Events = o.events
	}
}
