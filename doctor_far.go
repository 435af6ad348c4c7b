package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"ssh-stay/config"
	"ssh-stay/doctor"
	"ssh-stay/hop"
	"ssh-stay/relay"
)

// relaySpace is what a binary needs with room to spare.
const relaySpace = 16 << 20

// checkRelay looks whether resume is possible at a host.
func (x *exam) checkRelay(ctx context.Context, st *station) []doctor.Finding {
	binaries, err := relay.Binaries()
	if err != nil {
		return one(finding(doctor.Warn, "make release    # builds an ssh-stay that carries relays", "%v", err))
	}
	client := relay.Client{Binaries: binaries, Log: x.build.log}
	report, err := client.Probe(ctx, st.hop.Exec)
	if err != nil {
		return one(x.norelay(st, fmt.Sprintf("%v%s", err, saidBy(err)), "ssh "+x.sshFlags()+shellWord(st.s.Alias)+" uname    # must run: no ForceCommand, a POSIX shell"))
	}
	found := one(x.relayPossible(st, report))
	if report.Kills && report.Loses && !strings.Contains(report.Spares, strconv.Quote(st.s.User)) {
		found = append(found, finding(doctor.Warn, "ssh "+x.sshFlags()+shellWord(st.s.Alias)+" loginctl enable-linger",
			"%s ends your processes at logout (KillUserProcesses=yes), a relay with them", st.s.Alias))
	}
	return append(found, x.clientAlive(st, report.ClientAlive)...)
}

// saidBy is what the far end said when it could not.
func saidBy(err error) string {
	if none := (*relay.UnavailableError)(nil); errors.As(err, &none) && none.Stderr != "" {
		return ": " + none.Stderr
	}
	return ""
}

// norelay says that resume is not possible.
func (x *exam) norelay(st *station, why, fix string) doctor.Finding {
	return finding(doctor.Fail, fix, "StayResume is not possible at %s, and sessions go on without: %s", st.s.Alias, why)
}

func (x *exam) relayPossible(st *station, r *relay.Report) doctor.Finding {
	place, ok := r.Free()
	at := "ssh " + x.sshFlags() + shellWord(st.s.Alias) + " "
	switch {
	case !r.Served:
		return x.norelay(st, "no relay for its platform, "+r.Platform, "make release    # builds an ssh-stay that carries relays")
	case len(r.Missing) > 0:
		return x.norelay(st, "it lacks "+strings.Join(r.Missing, " and "), at+"sudo apt-get install coreutils gzip")
	case !ok:
		var why []string
		for _, p := range r.Places {
			why = append(why, p.Path+" "+p.Why)
		}
		return x.norelay(st, "no folder for it: "+strings.Join(why, ", "), at+"'mkdir -p -m 700 ~/.cache/ssh-stay && mount | grep noexec'")
	case place.Free > 0 && place.Free < relaySpace:
		return x.norelay(st, fmt.Sprintf("%s has but %d MB free", place.Path, place.Free>>20), at+"df -h "+shellWord(place.Path))
	}
	return fine("resume is possible: %s, room in %s", r.Platform, place.Path)
}

// clientAlive is about probes that sshd sends, and gives a silent client up by.
// It counts on while the line is down, and so ends the inner session, which is
// with the same sshd where the relay is on the target: what a jump host ends is
// but a way to the relay, and made again.
func (x *exam) clientAlive(st *station, says map[string]string) []doctor.Finding {
	interval, err := config.ParseTime(says["clientaliveinterval"])
	if err != nil || interval == 0 || x.target().s.StayResume != "target" {
		return nil
	}
	count, err := strconv.Atoi(says["clientalivecountmax"])
	if err != nil {
		count = 3 // sshd_config(5)
	}
	if count <= 0 {
		return nil // it probes, and ends nothing
	}
	return one(finding(doctor.Warn, "# in sshd_config of "+st.s.Alias+"\nClientAliveInterval 0",
		"sshd_config of %s: ClientAliveInterval %v, so sshd ends a session whose line is down for %v: the inner one of a resumed session too",
		st.s.Alias, interval, interval*time.Duration(count)))
}

// checkIdle measures the life of silent connections to the first host.
func (x *exam) checkIdle(ctx context.Context) []doctor.Finding {
	st := x.way[0]
	m := &doctor.Idle{Max: x.idleMax, Said: x.said, Dial: func(ctx context.Context) (doctor.Flow, error) { return x.quiet(ctx, st) }}
	life, err := m.Run(ctx)
	if err != nil {
		return one(x.unmeasured(life, err))
	}
	interval := life.Interval()
	switch {
	case life.Ended > 0: // no probe stands for a session that is in use
		return one(finding(doctor.Warn, "ssh "+x.sshFlags()+shellWord(st.s.Alias)+" 'sudo sshd -T | grep -iE \"alive|timeout\"'    # what ends it",
			"%s: %v: UnusedConnectionTimeout, ChannelTimeout or ClientAliveInterval of its sshd_config, or a limit of its own", st.s.Alias, life))
	case interval == 0:
		return one(fine("%s: %v", st.s.Alias, life))
	case st.s.StayInterval > 0 && st.s.StayInterval <= interval:
		return one(fine("%s: %v; StayInterval is %v, which is short enough", st.s.Alias, life, st.s.StayInterval))
	}
	fix := fmt.Sprintf("StayInterval %d", int(interval/time.Second))
	hosts := st.s.Alias
	if resumes := x.target().s; len(x.way) > 1 && resumes.StayResume != "no" {
		hosts += " " + resumes.Alias // the stream probes by the target's
	}
	return one(finding(doctor.Warn, under(hosts, fix), "%s: %v: StayInterval %d", st.s.Alias, life, int(interval/time.Second)))
}

// unmeasured is an end before the longest silence, with what was measured until
// then.
func (x *exam) unmeasured(life doctor.Lifetime, err error) doctor.Finding {
	fix := "ssh-stay doctor " + x.sshFlags() + shellWord(x.alias)
	if life.Lived > 0 {
		return finding(doctor.Fail, fix, "%s: %v, and it was not measured further: %v", x.way[0].s.Alias, life, err)
	}
	return finding(doctor.Fail, fix, "%v", err)
}

// quiet logs in at the first host once more, by a connection that nothing probes,
// neither SSH nor TCP.
func (x *exam) quiet(ctx context.Context, st *station) (doctor.Flow, error) {
	x.person.memory.begin()
	silent := *st.s
	silent.TCPKeepAlive = false
	leg, err := x.leg(&silent)
	if err != nil {
		return nil, err
	}
	base, err := x.base(&silent)
	if err != nil {
		return nil, err
	}
	h, err := x.login(ctx, st.s, leg.Hop, hopDial(base, leg.Host, leg.Port))
	if err != nil {
		return nil, err
	}
	return flow{h}, nil
}

// flow is a hop as what doctor measures.
type flow struct{ *hop.Hop }

func (f flow) Probe(ctx context.Context) error {
	_, err := f.Ping(ctx, 0)
	if err != nil && f.ClosedByHost() {
		return doctor.ErrClosed
	}
	return err
}
