package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"ssh-stay/keepalive"
)

const (
	// stagger is how long an address may keep silent before the next one of
	// the same name is tried beside it.
	stagger = time.Second
	// attemptTimeout bounds one connect. The kernel's second thoughts come at
	// 1, 3, 7, 15 s: beyond that, a new attempt finds a link that came up sooner.
	attemptTimeout = 10 * time.Second
)

// Dialer makes TCP connections as ssh does. The zero value tries all addresses
// once, without probes and marks.
type Dialer struct {
	Family        string // "any", "inet", "inet6"; "" is any
	BindAddress   string // name or address to connect from
	BindInterface string // interface whose address to connect from
	Attempts      int    // ConnectionAttempts: rounds over all addresses, 1 s apart
	TOS           int    // the IPv4 TOS or IPv6 traffic class; negative: leave it

	KeepAlive        bool          // TCPKeepAlive
	Interval, GiveUp time.Duration // for keepalive.SetTCP

	Log *slog.Logger
}

// ResolveError says that a name has no address, or none could be asked for.
type ResolveError struct {
	Host string
	Err  error
}

func (e *ResolveError) Unwrap() error { return e.Err }

// Error has ssh's words: clients look for them.
func (e *ResolveError) Error() string {
	return fmt.Sprintf("Could not resolve hostname %s: %s", e.Host, resolveReason(e.Err))
}

func resolveReason(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "Name or service not known"
	case errors.As(err, &dns):
		return "Temporary failure in name resolution"
	}
	return err.Error()
}

// ConnectError says that a host could not be connected to. Err is the most
// telling one of its addresses.
type ConnectError struct {
	Host string
	Port int
	Err  error
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Error has ssh's words: clients look for them.
func (e *ConnectError) Error() string {
	return fmt.Sprintf("connect to host %s port %d: %s", e.Host, e.Port, connectReason(e.Err))
}

func connectReason(err error) string {
	var errno syscall.Errno
	switch {
	case isTimeout(err):
		return "Connection timed out"
	case errors.As(err, &errno):
		text := errno.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	}
	return err.Error()
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// Dial connects to the first address of host that answers. Errors are
// *ResolveError and *ConnectError.
func (d *Dialer) Dial(ctx context.Context, host string, port int) (net.Conn, error) {
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, &ResolveError{host, err}
	}
	for attempt := 1; ; attempt++ {
		conn, err := d.race(ctx, addrs, port)
		if err == nil {
			d.prepare(conn)
			return conn, nil
		}
		d.Log.Debug("connect failed", "host", host, "port", port, "attempt", attempt, "error", err)
		if attempt >= d.Attempts || !sleep(ctx, time.Second) {
			return nil, &ConnectError{host, port, err}
		}
	}
}

// sleep reports false if ctx ended it.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (d *Dialer) network() string {
	switch d.Family {
	case "inet":
		return "ip4"
	case "inet6":
		return "ip6"
	}
	return "ip"
}

// slowName is how long a name may be waited for before that is told. The
// resolver itself waits 5 s for a server, and longer for several (resolv.conf(5)).
const slowName = 3 * time.Second

// retryingKey is of Route.Retrying, for those below.
type retryingKey struct{}

// errNoAnswer is what is known of a name that is waited for.
var errNoAnswer = errors.New("no answer yet from the name servers")

// tellSlow tells of a name that is waited for too long, and takes that back when
// the returned function is called.
func tellSlow(ctx context.Context, host string) (answered func()) {
	retrying, _ := ctx.Value(retryingKey{}).(func(error))
	if retrying == nil {
		return func() {}
	}
	slow := time.AfterFunc(slowName, func() { retrying(&ResolveError{host, errNoAnswer}) })
	return func() {
		if !slow.Stop() {
			retrying(nil)
		}
	}
}

// resolve returns the addresses of host in the resolver's order.
func (d *Dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	defer tellSlow(ctx, host)()
	addrs, err := lookup(ctx, d.network(), host)
	if err != nil {
		return nil, err
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	d.Log.Debug("resolved", "host", host, "addresses", addrs)
	return addrs, nil
}

// systemWait is how long getent(1) has for a name of which no name server could
// tell: it may ask them all again.
const systemWait = 2 * time.Second

// lookup asks Go's resolver, and getent(1) for what that does not know, for
// whatever reason: in nsswitch.conf other sources may stand before DNS.
func lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		return addrs, err
	}
	if !dns.IsNotFound {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, systemWait)
		defer cancel()
	}
	if found := systemAddrs(ctx, network, host); len(found) > 0 {
		return found, nil
	}
	return nil, err
}

// systemAddrs asks getent(1), whose libc knows the sources of nsswitch.conf that
// a static binary does not: mDNS, LDAP, myhostname. None is no error.
func systemAddrs(ctx context.Context, network, host string) []netip.Addr {
	database := map[string]string{"ip": "ahosts", "ip4": "ahostsv4", "ip6": "ahostsv6"}[network]
	out, err := exec.CommandContext(ctx, "getent", database, "--", host).Output()
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for line := range strings.Lines(string(out)) {
		first, _, _ := strings.Cut(line, " ")
		if addr, err := netip.ParseAddr(first); err == nil && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// dialed is the outcome of one address.
type dialed struct {
	conn *net.TCPConn
	err  error
}

// race tries the addresses in order, the next one when the last failed or kept
// silent for a while. The first connection wins; later ones are closed.
func (d *Dialer) race(ctx context.Context, addrs []netip.Addr, port int) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	results := make(chan dialed, len(addrs))
	started, pending := 0, 0
	start := func() {
		if started == len(addrs) {
			return
		}
		to := netip.AddrPortFrom(addrs[started], uint16(port))
		started, pending = started+1, pending+1
		go func() { // ends with ctx; every result is received below
			conn, err := d.connect(ctx, to)
			results <- dialed{conn, err}
		}()
	}
	start()
	var won *net.TCPConn
	var worst error
	for pending > 0 {
		select {
		case r := <-results:
			pending--
			switch {
			case r.err != nil:
				worst = worse(worst, r.err)
				if won == nil {
					start()
				}
			case won == nil:
				won = r.conn
				cancel()
			default:
				r.conn.Close()
			}
		case <-time.After(stagger):
			if won == nil {
				start()
			}
		}
	}
	if won != nil {
		return won, nil
	}
	return nil, worst
}

// worse is the error to report for several addresses: a refusal tells more
// than an address that cannot be reached.
func worse(a, b error) error {
	if a == nil || temporary(a) && !temporary(b) {
		return b
	}
	return a
}

func (d *Dialer) connect(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	dialer := net.Dialer{KeepAlive: -1}
	local, err := d.local(ctx, to.Addr().Is4())
	if err != nil {
		return nil, err
	}
	if local.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// local is the address to connect from; invalid for any.
func (d *Dialer) local(ctx context.Context, v4 bool) (netip.Addr, error) {
	var candidates []netip.Addr
	var err error
	switch {
	case d.BindAddress != "":
		candidates, err = net.DefaultResolver.LookupNetIP(ctx, "ip", d.BindAddress)
	case d.BindInterface != "":
		candidates, err = interfaceAddrs(d.BindInterface)
	default:
		return netip.Addr{}, nil
	}
	if err != nil {
		return netip.Addr{}, &BindError{cmp.Or(d.BindAddress, d.BindInterface), err}
	}
	for _, a := range candidates {
		if a.Unmap().Is4() == v4 {
			return a.Unmap(), nil
		}
	}
	return netip.Addr{}, &BindError{cmp.Or(d.BindAddress, d.BindInterface), errors.New("no address of the target's family")}
}

// BindError says that BindAddress or BindInterface cannot be used.
type BindError struct {
	Name string
	Err  error
}

func (e *BindError) Error() string { return fmt.Sprintf("bind to %s: %v", e.Name, e.Err) }
func (e *BindError) Unwrap() error { return e.Err }

// interfaceAddrs are an interface's addresses that reach beyond this machine
// and link, as ssh picks them.
func interfaceAddrs(name string) ([]netip.Addr, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	list, err := ifi.Addrs()
	if err != nil {
		return nil, err
	}
	var out, local []netip.Addr
	for _, a := range list {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := prefix.Addr(); ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			local = append(local, ip)
		} else {
			out = append(out, ip)
		}
	}
	if len(out) == 0 && ifi.Flags&net.FlagLoopback != 0 {
		out = local
	}
	return out, nil
}

// prepare sets what the connection shall have for its life. What a system does not
// have (WSL 1) or forbids (seccomp) is no reason to fail, as for ssh.
func (d *Dialer) prepare(conn *net.TCPConn) {
	if err := setTOS(conn, d.TOS); err != nil {
		d.Log.Debug("IPQoS not set", "error", err)
	}
	if !d.KeepAlive {
		return
	}
	if err := keepalive.SetTCP(conn, d.Interval, d.GiveUp); err != nil {
		d.Log.Info("keepalive not set", "error", err)
	}
}

// temporary says whether an error of connecting may pass when the network
// comes back. Names that do not exist, refused ports and all that a host said
// itself are final.
func temporary(err error) bool {
	var bind *BindError
	var dns *net.DNSError
	switch {
	case errors.As(err, &bind):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	case isTimeout(err):
		return true
	}
	for _, errno := range downErrnos() {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
