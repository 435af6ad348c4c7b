package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/auth"
	"ssh-stay/config"
	"ssh-stay/doctor"
	"ssh-stay/hop"
	"ssh-stay/proxy"
)

const (
	// connectLimit is for one address, and lookupLimit for its name.
	connectLimit = 5 * time.Second
	lookupLimit  = 10 * time.Second
	// maxAddresses is how many addresses of a name are tried.
	maxAddresses = 8
)

// checkNames resolves the first host of the way and connects to each address.
func (x *exam) checkNames(ctx context.Context) []doctor.Finding {
	s := x.way[0].s
	if s.ProxyCommand != "" {
		return one(finding(doctor.Note, "", "%s is the ProxyCommand's to find", s.HostName))
	}
	base, err := x.base(s)
	if err != nil {
		return one(x.failed(s.Alias, err))
	}
	resolving, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	network := map[string]string{"inet": "ip4", "inet6": "ip6"}[s.AddressFamily]
	addrs, err := net.DefaultResolver.LookupNetIP(resolving, cmp.Or(network, "ip"), s.HostName)
	var targets []string
	for _, a := range addrs {
		targets = append(targets, a.Unmap().String())
	}
	if err != nil { // getent(1) may know it, which base asks
		targets = []string{s.HostName}
	}
	targets = targets[:min(len(targets), maxAddresses)]
	return x.connects(ctx, base, s, targets)
}

// connects connects to all addresses at once.
func (x *exam) connects(ctx context.Context, base proxy.DialFunc, s *config.Settings, targets []string) []doctor.Finding {
	found := make([]doctor.Finding, len(targets))
	var all sync.WaitGroup
	for i, address := range targets {
		all.Go(func() { found[i] = x.connect(ctx, base, s, address) })
	}
	all.Wait()
	works := func(f doctor.Finding) bool { return f.Level == doctor.OK }
	if !slices.ContainsFunc(found, works) {
		return found
	}
	for i := range found {
		if !works(found[i]) { // ssh goes on to the others, after a while
			found[i].Level = doctor.Warn
			found[i].Fix = under(s.Alias, "AddressFamily inet    # or inet6: the one that works")
		}
	}
	return found
}

func (x *exam) connect(ctx context.Context, base proxy.DialFunc, s *config.Settings, address string) doctor.Finding {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	start := time.Now()
	c, err := base(ctx, address, s.Port)
	if unresolved := (*proxy.ResolveError)(nil); errors.As(err, &unresolved) {
		return finding(doctor.Fail, "getent hosts "+shellWord(s.HostName)+"    # nothing: correct HostName under Host "+s.Alias,
			"%v%s", err, x.way[0].told["hostname"].at())
	}
	if err != nil {
		return finding(doctor.Fail, fmt.Sprintf("nc -vz %s %d    # the same without ssh-stay; the port is set%s", shellWord(address), s.Port,
			cmp.Or(x.way[0].told["port"].at(), " nowhere: 22")), "%v", err)
	}
	defer c.Close()
	return fine("%s is %v, connected in %v", s.HostName, c.RemoteAddr(), rounded(time.Since(start)))
}

// rounded keeps two or three digits.
func rounded(d time.Duration) time.Duration {
	for unit := time.Second; unit > time.Microsecond; unit /= 10 {
		if d >= 10*unit {
			return d.Round(unit)
		}
	}
	return d.Round(time.Microsecond)
}

// failed is an error with the hints that the proxy gives.
func (x *exam) failed(host string, err error) doctor.Finding {
	fix := strings.Join(hints(err, host), "\n")
	if host == x.target().s.Alias {
		err = ofTarget(err)
	}
	return finding(doctor.Fail, cmp.Or(fix, "ssh -v "+x.sshFlags()+shellWord(host)), "%s", message(err, host))
}

// ofTarget words an error of package hop for a host that is no hop.
func ofTarget(err error) error {
	if at, ok := err.(*hop.HandshakeError); ok {
		return fmt.Errorf("target %s: %w", at.Hop, at.Err)
	}
	if lost, ok := err.(*hop.LostError); ok {
		return fmt.Errorf("target %s lost: %w", lost.Hop, lost.Err)
	}
	return err
}

// visit logs in at a host of the way, over the ones before it.
func (x *exam) visit(ctx context.Context, i int) []doctor.Finding {
	st := x.way[i]
	if i < len(x.way)-1 && x.build.isLeft(st.s) {
		f := finding(doctor.Note, "", "the login is left to ssh -W (StayClient %s), and what is behind it not looked at", st.s.StayClient)
		f.Blocks = true
		return one(f)
	}
	x.person.memory.begin()
	leg, err := x.leg(st.s)
	if err != nil {
		return one(x.failed(st.s.Alias, err))
	}
	below, err := x.below(i)
	if err != nil {
		return one(x.failed(st.s.Alias, err))
	}
	var tap *doctor.Tap
	var reached time.Duration
	start := time.Now()
	st.hop, err = x.login(ctx, st.s, leg.Hop, func(ctx context.Context) (net.Conn, error) {
		c, err := below(ctx, leg.Host, leg.Port)
		if err != nil {
			return nil, err
		}
		reached, tap = time.Since(start), doctor.NewTap(c)
		return tap, nil
	})
	if err != nil {
		return append(x.greeting(i, tap, reached), x.refusal(i, tap, err))
	}
	return append(x.greeting(i, tap, reached), x.welcome(ctx, st, tap, time.Since(start)-reached)...)
}

// below dials from where the way has got to.
func (x *exam) below(i int) (proxy.DialFunc, error) {
	if i == 0 {
		return x.base(x.way[0].s)
	}
	return x.way[i-1].hop.Dial, nil
}

// greeting is what a host says before the login, if it was reached.
func (x *exam) greeting(i int, tap *doctor.Tap, reached time.Duration) []doctor.Finding {
	if tap == nil {
		return nil
	}
	s := x.way[i].s
	how := "reached"
	if i > 0 {
		how = x.way[i-1].s.Alias + " forwards (direct-tcpip)"
	}
	offer, err := tap.Offer()
	if err != nil {
		return one(finding(doctor.Fail, x.wrongPort(i), "%s: %v", s.Alias, err))
	}
	switch {
	case offer.Version != "":
	case offer.Said != "":
		return one(fine("%s in %v, and says %q", how, rounded(reached), offer.Said))
	default:
		return one(fine("%s in %v, and says nothing", how, rounded(reached)))
	}
	found := one(fine("%s in %v: %s", how, rounded(reached), offer.Version))
	if offer.Kex != nil && !offer.Strict() {
		found = append(found, finding(doctor.Warn,
			under(s.Alias, "Ciphers aes256-gcm@openssh.com,aes128-gcm@openssh.com    # until its sshd is 9.6 or later"),
			"%s offers no strict key exchange: packets can be cut out by who is in between (Terrapin, CVE-2023-48795)", s.Alias))
	}
	return found
}

// wrongPort is what may help against a host that speaks something else.
func (x *exam) wrongPort(i int) string {
	return fmt.Sprintf("ssh -v %s%s    # the port is set%s", x.sshFlags(), shellWord(x.way[i].s.Alias),
		cmp.Or(x.way[i].told["port"].at(), " nowhere: 22"))
}

// welcome is what there is to say of a host that let us in.
func (x *exam) welcome(ctx context.Context, st *station, tap *doctor.Tap, took time.Duration) []doctor.Finding {
	key, algs := st.hop.HostKey(), st.hop.Algorithms()
	found := []doctor.Finding{
		fine("host key %s %s is known", key.Type(), ssh.FingerprintSHA256(key)),
		fine("algorithms %s, %s, %s", algs.KeyExchange, algs.HostKey, algs.Write.Cipher),
		fine("logged in as %s in %v", st.s.User, rounded(took)),
	}
	ctx, cancel := context.WithTimeoutCause(ctx, pingLimit, fmt.Errorf("%w: %v", errLate, pingLimit))
	defer cancel()
	const pings = 5
	var trips []time.Duration
	for range pings {
		trip, err := st.hop.Ping(ctx, 0)
		if err != nil {
			return append(found, x.failed(st.s.Alias, err))
		}
		trips = append(trips, trip)
	}
	slices.Sort(trips)
	found = append(found, fine("round trip %v, median of %d probes", rounded(trips[pings/2]), pings))
	// A login of ours may consist of small packets alone, and one of ssh's does not.
	large, stop := context.WithTimeout(ctx, connectLimit)
	defer stop()
	if _, err := st.hop.Ping(large, largeProbe); errors.Is(err, context.DeadlineExceeded) {
		return append(found, lostLarge(st.s, "probes, but not one of 4 KiB:"))
	} else if err != nil {
		return append(found, x.failed(st.s.Alias, err))
	}
	return found
}

// largeProbe fills the largest packets of any path, but those of loopback.
const largeProbe = 4 << 10

// lostLarge is about a path that drops large packets without a word to the sender
// (RFC 2923, 2.1).
func lostLarge(s *config.Settings, answers string) doctor.Finding {
	return finding(doctor.Fail,
		"sudo sysctl -w net.ipv4.tcp_mtu_probing=1    # Linux: at this end and at "+s.Alias+"\nsudo ip link set dev IFACE mtu 1280    # the interface towards it",
		"%s answers %s large packets are lost on the way (MTU)", s.Alias, answers)
}

// refusal is an error of a login, by what it means for the user: only hops, and
// the host of a relay, must let us in.
func (x *exam) refusal(i int, tap *doctor.Tap, err error) doctor.Finding {
	s := x.way[i].s
	var denied *auth.DeniedError
	var other *hop.NotSSHError
	if tap != nil && errors.Is(err, errLate) { // a mail server, say, which waits for commands
		if offer, _ := tap.Offer(); offer.Version == "" && offer.Said != "" {
			err = &hop.HandshakeError{Hop: s.Alias, Err: &hop.NotSSHError{Said: offer.Said, Err: err}}
		}
	}
	f := x.failed(s.Alias, err)
	f.Blocks = true
	_, why, isSSHs := leaveToSSH(err)
	switch {
	case isSSHs && x.mayLeave(i):
		f = finding(doctor.Note, "", "ssh logs in here, not ssh-stay: %s", why)
		f.Blocks = true
	case errors.As(err, &other):
		f.Fix = x.wrongPort(i)
	case errors.Is(err, errLate) && tap != nil && tap.Stuck():
		if offer, _ := tap.Offer(); offer.Kex == nil { // or it is busy with itself
			return lostLarge(s, "with its version, and then no more: perhaps")
		}
		return lostLarge(s, "at first, and then no more:")
	case isHostKeyError(err):
		f.Level = x.hostKeyLevel(s, err)
	case errors.As(err, &denied):
		f.Level = deniedLevel(s, denied)
		if f.Level == doctor.Warn && x.noAskpass != "" {
			f.What += "; ssh asks on a terminal alone: " + x.noAskpass
		}
		if f.Level == doctor.Warn && !x.ask {
			f.Fix += "\nssh-stay doctor --ask " + x.sshFlags() + shellWord(x.alias)
		}
	}
	return f
}

// mayLeave says whether the proxy leaves a login to ssh that ssh-stay cannot make:
// the target's is ssh's own but for a relay there, which resume needs.
func (x *exam) mayLeave(i int) bool {
	s := x.way[i].s
	if i == len(x.way)-1 {
		return s.StayResume != "target"
	}
	return s.StayClient == "auto" && canDelegate
}

func isHostKeyError(err error) bool {
	var (
		unknown *auth.UnknownHostError
		changed *auth.ChangedHostKeyError
	)
	return errors.As(err, &unknown) || errors.As(err, &changed)
}

// hostKeyLevel is how bad a key is that is not known, by StrictHostKeyChecking.
func (x *exam) hostKeyLevel(s *config.Settings, err error) doctor.Level {
	var changed *auth.ChangedHostKeyError
	strict := strictness(s.StrictHostKeyChecking)
	switch {
	case strict == auth.StrictNo, strict == auth.StrictAcceptNew && !errors.As(err, &changed):
		return doctor.Warn
	case strict == auth.StrictAsk && !errors.As(err, &changed) && !s.BatchMode:
		return doctor.Warn // the next connection asks
	}
	return doctor.Fail
}

// deniedLevel: a password that nobody was asked for may be all that was missing.
func deniedLevel(s *config.Settings, denied *auth.DeniedError) doctor.Level {
	asks := slices.Contains(denied.Methods, "password") && s.PasswordAuthentication ||
		slices.Contains(denied.Methods, "keyboard-interactive") && s.KbdInteractiveAuthentication
	if asks && !s.BatchMode {
		return doctor.Warn
	}
	return doctor.Fail
}
