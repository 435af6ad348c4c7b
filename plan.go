package main

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"ssh-stay/auth"
	"ssh-stay/config"
	"ssh-stay/hop"
	"ssh-stay/proxy"
)

// plan is what the configuration makes of one run of the proxy.
type plan struct {
	settings *config.Settings
	route    *proxy.Route
	resume   *resumption // nil for none

	mayDelegate map[string]bool // hops of StayClient auto, by alias
	left        bool            // ssh logs in to a hop, and may ask the user
	unresumed   string          // why there is no resumption, although it was asked for
}

// settingError is a setting that cannot be had; it names where it was made.
type settingError struct {
	source, what string
	hint         string
}

func (e *settingError) Error() string {
	if e.source == "" {
		return e.what
	}
	return e.source + ": " + e.what
}

// query is what the flags ask of the configuration.
func (o *proxyOptions) query() (config.Query, error) {
	q := config.Query{Host: o.alias, User: o.user, File: o.file, Options: o.options, Engine: o.engine}
	if err := config.CheckHost(o.host); err != nil {
		return q, err
	}
	if o.jump != "" {
		q.Options = slices.Insert(slices.Clone(q.Options), 0, "ProxyJump="+o.jump)
	}
	if o.v4 {
		q.Options = append([]string{"AddressFamily=inet"}, q.Options...)
	}
	if o.v6 {
		q.Options = append([]string{"AddressFamily=inet6"}, q.Options...)
	}
	return q, nil
}

// resolve evaluates the configuration as the ssh that runs us has. The user and
// port that it tells us may be those of the files, which count from where they
// are set on, or of its command line, which count from the start. A user of
// the files may be called what nobody may on a command line, as for ssh.
func (o *proxyOptions) resolve(ctx context.Context) (*config.Settings, error) {
	q, err := o.query()
	if err != nil {
		return nil, err
	}
	q.User = ""
	s, err := config.Resolve(ctx, q)
	if err != nil {
		return nil, err
	}
	if o.user != "" && s.User != o.user {
		q.User = o.user
	}
	if s.Port != o.port {
		q.Port = o.port
	}
	if q.User == "" && q.Port == 0 {
		return s, nil
	}
	return config.Resolve(ctx, q)
}

// plan resolves the configuration into a route to o.host and o.port, which win
// over what the configuration says.
func (o *proxyOptions) plan(ctx context.Context, log *slog.Logger) (*plan, error) {
	s, err := o.resolve(ctx)
	if err != nil {
		return nil, err
	}
	o.quiet.Store(isSilent(s) && o.verbose == 0)
	s.HostName, s.Port = o.host, o.port
	b := &routeBuilder{file: o.file, engine: o.engine, log: log,
		delegated: o.delegated, mayDelegate: map[string]bool{}, ask: o.person.ask, tell: o.person.tell, show: o.person.show,
		signing: o.person.signing}
	if s.StayResume != "no" && !o.plain {
		b.background = o.person.background.Load
	}
	base, legs, err := b.build(ctx, s)
	if err != nil {
		return nil, err
	}
	var resume *resumption
	if !o.plain {
		if resume, legs, err = b.resumption(s, legs); err != nil {
			return nil, err
		}
	}
	budget := s.StayPatience
	if s.ConnectTimeout > 0 {
		budget = s.ConnectTimeout + budgetGrace
	} else if b.left {
		budget = max(budget, loginGrace)
	}
	route := &proxy.Route{Base: base, Legs: legs, Host: o.host, Port: o.port, Budget: budget, Log: log}
	if s.ConnectTimeout == 0 {
		route.Login = loginGrace
	}
	o.watch(legs, log)
	return &plan{s, route, resume, b.mayDelegate, b.left, b.unresumed}, nil
}

// passes says whether the socket is to be handed to ssh.
func (p *plan) passes(stdout *os.File) (bool, error) {
	s := p.settings
	if !s.ProxyUseFdpass || !proxy.CanPass(stdout) {
		return false, nil
	}
	if p.resume != nil {
		return false, &settingError{s.FdpassSource, "StayResume and ProxyUseFdpass exclude each other",
			"under \"Host " + s.Alias + "\": ProxyUseFdpass no, or StayResume no"}
	}
	if len(s.Jumps) > 0 || s.ProxyCommand != "" {
		return false, &settingError{s.FdpassSource, "ProxyUseFdpass yes needs a direct route, and " + s.Alias +
			" has another (" + s.ProxySource + ")", "under \"Host " + s.Alias + "\": ProxyUseFdpass no"}
	}
	return true, nil
}

// routeBuilder turns settings into a route, hop by hop from the far end.
type routeBuilder struct {
	file   string
	engine config.Engine
	path   []string // names whose stanza was followed, to notice a loop
	log    *slog.Logger

	delegated   map[string]bool // hops that ssh shall log in to
	mayDelegate map[string]bool // those that it may
	left        bool            // one of the route is left to ssh
	unresumed   string          // as in plan
	background  func() bool     // nobody waits for a login; nil: somebody always does
	ask         auth.AskFunc
	signing     func(context.Context) func()
	tell, show  func(text string)
}

// build returns how to reach s: by what means the first host is dialed, and
// the hops after it. As for ssh, the last jump is next to the host, those
// before it are its own jumps, and without any its own stanza decides.
func (b *routeBuilder) build(ctx context.Context, s *config.Settings) (proxy.DialFunc, []proxy.Leg, error) {
	if len(s.Jumps) == 0 {
		base, err := b.base(s)
		return base, nil, err
	}
	jumps, err := s.ExpandJumps(s.HostName, s.Port)
	if err != nil {
		return nil, nil, err
	}
	last, rest := jumps[len(jumps)-1], jumps[:len(jumps)-1]
	q := config.Query{Host: last.Host, User: last.User, Port: last.Port, File: b.file, Engine: b.engine}
	if len(rest) > 0 {
		q.Options = []string{"ProxyJump=" + joinJumps(rest)}
	} else if err := b.enter(last.String(), s); err != nil {
		return nil, nil, err
	}
	hs, err := config.Resolve(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	if b.isLeft(hs) {
		b.log.Info("hop left to ssh -W", "hop", hs.Alias)
		b.left = true
		base, err := b.throughSSH(hs, last, rest)
		return base, nil, err
	}
	b.mayDelegate[hs.Alias] = hs.StayClient == "auto" && canDelegate
	base, legs, err := b.build(ctx, hs)
	if err != nil {
		return nil, nil, err
	}
	leg, err := b.leg(hs)
	return base, append(legs, leg), err
}

// isLeft says whether ssh logs in to a host, and not we.
func (b *routeBuilder) isLeft(s *config.Settings) bool {
	return s.StayClient == "openssh" || s.StayClient == "auto" && (b.delegated[s.Alias] || s.PKCS11Provider != "")
}

// enter notes a host whose own stanza says how to go on. To come by it again
// would never end.
func (b *routeBuilder) enter(name string, from *config.Settings) error {
	if slices.Contains(b.path, name) {
		return &config.LoopError{Source: from.ProxySource, Host: name}
	}
	b.path = append(b.path, name)
	return nil
}

func joinJumps(jumps []config.Jump) string {
	var s []string
	for _, j := range jumps {
		s = append(s, j.String())
	}
	return strings.Join(s, ",")
}

// base dials the first host of a route: by TCP, or by a ProxyCommand of its own.
func (b *routeBuilder) base(s *config.Settings) (proxy.DialFunc, error) {
	if s.ProxyCommand != "" {
		return b.command(s)
	}
	// Interactive, as ssh marks its own socket until login: af21 is its
	// default from 7.8 to 10.0.
	tos, err := proxy.ParseQoS("af21")
	if len(s.IPQoS) > 0 {
		tos, err = proxy.ParseQoS(s.IPQoS[0])
	}
	if err != nil {
		return nil, err
	}
	d := &proxy.Dialer{
		Family: s.AddressFamily, BindAddress: s.BindAddress, BindInterface: s.BindInterface,
		Attempts: s.ConnectAttempts, TOS: tos,
		KeepAlive: s.TCPKeepAlive, Interval: s.StayInterval, GiveUp: s.StayGiveUp,
		Log: b.log,
	}
	return d.Dial, nil
}

// runningFor names the hosts, separated by commas, whose ProxyCommand is a
// parent of this process.
const runningFor = "SSH_STAY_RUNNING_FOR"

// command dials by a user's ProxyCommand. One that comes back to us for the
// same host, under a name that we do not recognise, would start processes
// without end.
func (b *routeBuilder) command(s *config.Settings) (proxy.DialFunc, error) {
	parents := os.Getenv(runningFor)
	if slices.Contains(strings.Split(parents, ","), s.Alias) {
		return nil, &settingError{s.ProxySource, "ProxyCommand of " + s.Alias + " runs ssh-stay for " + s.Alias + " again",
			"name the program ssh-stay, so that it can look past itself"}
	}
	prepare := func(host string, port int, _ bool) (*exec.Cmd, error) {
		line, err := s.ExpandCommand(host, port)
		if err != nil {
			return nil, err
		}
		return proxy.ShellCommand(line), nil
	}
	return b.byCommand("ProxyCommand of "+s.Alias, parents+","+s.Alias, prepare).Dial, nil
}

// leg is one hop, everything taken from its own stanza as `ssh -W` would.
func (b *routeBuilder) leg(s *config.Settings) (proxy.Leg, error) {
	if s.PathError != nil {
		return proxy.Leg{}, s.PathError
	}
	cfg := &hop.Config{
		Name: s.Alias, Login: b.login(s),
		LoadHostKeys:      func() (*auth.HostKeys, error) { return b.hostKeys(s) },
		HostKeyAlgorithms: s.HostKeyAlgorithms, KeepHostKeyOrder: s.HostKeyAlgorithmsFixed,
		Banner: b.banner(s), RekeyBytes: s.RekeyBytes, Interval: s.StayInterval, GiveUp: s.StayGiveUp, Log: b.log,
	}
	// What the user did not choose is left to the library, AES-GCM first: its
	// chacha20 takes twice the time of OpenSSH's.
	if s.IsSet("ciphers") {
		cfg.Ciphers = s.Ciphers
	}
	if s.IsSet("kexalgorithms") {
		cfg.KexAlgorithms = s.KexAlgorithms
	}
	if s.IsSet("macs") {
		cfg.MACs = s.MACs
	}
	return proxy.Leg{Host: s.HostName, Port: s.Port, Timeout: s.ConnectTimeout, Hop: cfg}, nil
}

func (b *routeBuilder) login(s *config.Settings) *auth.Login {
	l := &auth.Login{
		User: s.User, Host: cmp.Or(s.HostKeyAlias, s.HostName),
		AgentSocket:   cmp.Or(s.IdentityAgent, os.Getenv("SSH_AUTH_SOCK")),
		IdentityFiles: s.IdentityFile, FilesConfigured: s.IdentityFileSet, Certificates: s.CertificateFile,
		IdentitiesOnly: s.IdentitiesOnly, Accepted: s.PubkeyAcceptedAlgorithms, MinRSABits: s.RequiredRSASize,
		Publickey: s.PubkeyAuthentication, KbdInteractive: s.KbdInteractiveAuthentication, Password: s.PasswordAuthentication,
		Prompts: s.NumberOfPasswordPrompts, AddKeys: addKeys(s.AddKeysToAgent),
		Yield: s.StayClient == "auto", Signing: b.signing, Tell: b.tell, Log: b.log,
	}
	if s.GSSAPIAuthentication {
		l.Elsewhere = append(l.Elsewhere, "gssapi-with-mic")
	}
	if s.HostbasedAuthentication {
		l.Elsewhere = append(l.Elsewhere, "hostbased")
	}
	if s.PreferredAuthentications != "" {
		l.Preferred = strings.Split(s.PreferredAuthentications, ",")
	}
	if !s.BatchMode && b.ask != nil {
		l.Ask = askAt(hopID{s.Alias, s.HostName, s.Port}, b.ask)
	}
	if l.AgentSocket == "" && runtime.GOOS == "windows" {
		l.AgentSocket = `\\.\pipe\openssh-ssh-agent`
	}
	if l.AgentSocket == "none" {
		l.AgentSocket = ""
	}
	return l
}

// addKeys reads AddKeysToAgent as config gives it: true, ask, confirm, a number
// of seconds, or confirm and one.
func addKeys(words []string) auth.AddKeys {
	var a auth.AddKeys
	for _, w := range words {
		a.Add = true
		a.Ask = a.Ask || w == "ask"
		a.Confirm = a.Confirm || w == "confirm"
		if n, err := strconv.Atoi(w); err == nil {
			a.Lifetime = time.Duration(n) * time.Second
		}
	}
	return a
}
