package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Query says which host is asked about, and how.
type Query struct {
	Host    string   // the name as typed; selects the blocks
	User    string   // overrides User; "" leaves it to the files
	Port    int      // overrides Port; 0 leaves it to the files
	File    string   // -F: this file alone; "none" for no file; "" for ssh's own two
	Options []string // -o KEY=VALUE, which win over every file

	Home      string // where ~ is; "" for the home of this process's user
	LocalUser string // "" for the name of this process's user

	globHome string // where ~ is in Include: there $HOME comes first

	Engine Engine
	SSH    string // the program to ask; "" for ssh in PATH
}

// Engine says who evaluates the configuration.
type Engine int

const (
	EngineAuto    Engine = iota // we, and ssh where we cannot
	EngineBuiltin               // we alone
	EngineSSH                   // ssh -G alone
)

var engineNames = [...]string{"auto", "builtin", "ssh"}

func (e Engine) String() string { return engineNames[e] }

// Set makes an Engine a flag, and Type is what the flag's help shows.
func (e *Engine) Set(name string) error {
	i := slices.Index(engineNames[:], name)
	if i < 0 {
		return fmt.Errorf("want auto, builtin or ssh, got %q", name)
	}
	*e = Engine(i)
	return nil
}

func (e *Engine) Type() string { return "engine" }

// Settings is what the configuration means for one host. Zero durations mean
// "not set" unless said otherwise.
type Settings struct {
	Alias    string // the name as typed
	HostName string // the name to dial, lower case
	Port     int
	User     string

	Jumps           []Jump // ProxyJump; the last one is next to the host
	ProxyCommand    string // tokens not expanded; "" for none. Never our own.
	ProxyUseFdpass  bool
	ProxySource     string // where the jump or command was set, for messages
	FdpassSource    string
	ConnectTimeout  time.Duration
	ConnectAttempts int
	AddressFamily   string // any, inet, inet6
	BindAddress     string
	BindInterface   string
	IPQoS           []string // one word, or interactive and bulk; empty for the default
	TCPKeepAlive    bool

	ServerAliveInterval time.Duration
	ServerAliveCountMax int
	RekeyBytes          uint64 // 0 for the default
	LogLevel            string

	HostKeyAlias          string
	UserKnownHostsFile    []string
	GlobalKnownHostsFile  []string
	RevokedHostKeys       []string
	RequiredRSASize       int
	CASignatureAlgorithms []string
	StrictHostKeyChecking string // true, false, ask, accept-new
	KnownHostsCommand     string // tokens not expanded
	CheckHostIP           bool
	HashKnownHosts        bool
	FingerprintHash       string // MD5, SHA1, SHA256, SHA384, SHA512

	NoHostAuthenticationForLocalhost bool

	HostKeyAlgorithms        []string
	HostKeyAlgorithmsFixed   bool // set without + or -: its order is the user's
	KexAlgorithms            []string
	Ciphers                  []string
	MACs                     []string
	PubkeyAcceptedAlgorithms []string

	IdentityFile         []string // paths; never empty unless `none`
	IdentityFileSet      bool
	CertificateFile      []string
	IdentityAgent        string // "none", a path, or "" for SSH_AUTH_SOCK
	IdentitiesOnly       bool
	PubkeyAuthentication bool

	PKCS11Provider               string
	GSSAPIAuthentication         bool
	HostbasedAuthentication      bool
	PasswordAuthentication       bool
	KbdInteractiveAuthentication bool
	PreferredAuthentications     string // "" for the default
	NumberOfPasswordPrompts      int
	AddKeysToAgent               []string // as `ssh -G` prints it; empty for false
	BatchMode                    bool

	StayInterval time.Duration // 0: no probes
	StayGiveUp   time.Duration
	StayResume   string // no, target, jump
	StayClient   string // who logs in to this host as a hop: auto, builtin, openssh
	StayPatience time.Duration
	StayKeep     time.Duration

	// PathError is of a file name that cannot be expanded, which matters to
	// those who connect.
	PathError error

	eval *evaluator // for Print
}

// Defaults of the Stay keywords.
const (
	DefaultInterval = 30 * time.Second
	DefaultGiveUp   = 15 * time.Minute
	DefaultPatience = 30 * time.Second
	DefaultKeep     = 24 * time.Hour
)

// Resolve evaluates the configuration for q.Host; ctx ends the commands of Match
// exec, and ssh. An error names the file and line, or the command line, that
// cannot be understood; it is an UnsupportedError where only we cannot.
func Resolve(ctx context.Context, q Query) (*Settings, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	if err := q.fill(); err != nil {
		return nil, err
	}
	ssh := sync.OnceValue(func() dialect { return askVersion(ctx, q.SSH) })
	if q.Engine == EngineSSH {
		return ask(ctx, q, ssh)
	}
	s, err := builtin(ctx, q, ssh)
	if u := (*UnsupportedError)(nil); errors.As(err, &u) && q.Engine != EngineBuiltin {
		asked, askErr := ask(ctx, q, ssh)
		switch {
		case askErr == nil:
			return asked, nil
		case errors.Is(askErr, exec.ErrNotFound):
			return nil, err
		case u.at.line == 0:
			return nil, askErr
		case strings.Contains(askErr.Error(), fmt.Sprintf("line %d:", u.at.line)):
			return nil, err
		}
		return nil, fmt.Errorf("%w (%w)", err, askErr)
	}
	return s, err
}

func builtin(ctx context.Context, q Query, ssh func() dialect) (*Settings, error) {
	e := newEvaluator(ctx, q, ssh)
	if err := e.run(); err != nil {
		return nil, err
	}
	if err := e.settle(); err != nil {
		return nil, err
	}
	return newSettings(e)
}

// check refuses names that ssh would refuse on its command line. They are checked
// before anything expands them, for each hop too: to it they come on one.
func (q *Query) check() error {
	if err := CheckHost(q.Host); err != nil || q.User == "" {
		return err
	}
	return CheckUser(q.User)
}

// fill looks this process's user up in the password database, by getent(1) where
// a static binary does not see the user, and takes $HOME and $USER at last.
func (q *Query) fill() error {
	q.globHome = q.Home
	if q.Home != "" && q.LocalUser != "" {
		return nil
	}
	uid := strconv.Itoa(os.Getuid())
	u, err := user.LookupId(uid)
	if err != nil && uid != "-1" {
		u = systemUser(uid)
	} else if err != nil { // Windows
		u, err = user.Current()
	}
	if u == nil {
		u = &user.User{HomeDir: os.Getenv("HOME"), Username: os.Getenv("USER")}
	}
	if u.HomeDir == "" || u.Username == "" {
		return fmt.Errorf("find name and home of user %s, also in HOME and USER: %w", uid, err)
	}
	q.globHome = u.HomeDir
	if home, ok := os.LookupEnv("HOME"); ok {
		q.globHome = home
	}
	q.globHome = cmp.Or(q.Home, q.globHome)
	q.Home = cmp.Or(q.Home, u.HomeDir)
	q.LocalUser = cmp.Or(q.LocalUser, u.Username[strings.LastIndexByte(u.Username, '\\')+1:])
	return nil
}

// IsSet reports whether keyword (lower case) was set, by a file or an option.
func (s *Settings) IsSet(keyword string) bool {
	_, ok := s.eval.values[keyword]
	return ok
}

func newSettings(e *evaluator) (*Settings, error) {
	s := &Settings{Alias: e.Host, HostName: e.host, eval: e}
	r := &reader{e: e}
	s.User = r.user()
	s.Port, _ = strconv.Atoi(e.port())
	s.readRoute(r)
	s.readHostKeys(r)
	s.readAlgorithms(r)
	s.readLogin(r)
	s.readStay(r)
	s.PathError = r.pathErr
	if err := cmp.Or(r.err, s.checkLoop()); err != nil {
		return nil, err
	}
	return s, nil
}

// LoopError is a host whose last jump is itself.
type LoopError struct {
	Source string // where the jump was set
	Host   string
}

func (e *LoopError) Error() string { return e.Source + ": jumphost loop via " + e.Host }

// checkLoop refuses a last jump that is the host itself, as ssh does.
func (s *Settings) checkLoop() error {
	if len(s.Jumps) == 0 {
		return nil
	}
	last := s.Jumps[len(s.Jumps)-1]
	if last.Host == s.HostName && cmp.Or(last.Port, 22) == s.Port && cmp.Or(last.User, s.User) == s.User {
		return &LoopError{Source: s.ProxySource, Host: last.Host}
	}
	return nil
}
