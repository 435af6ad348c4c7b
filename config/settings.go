package config

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
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
}

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
	RekeyLimit          []string // size and time as written
	LogLevel            string

	HostKeyAlias          string
	UserKnownHostsFile    []string
	GlobalKnownHostsFile  []string
	RevokedHostKeys       []string
	RequiredRSASize       int
	CASignatureAlgorithms []string
	StrictHostKeyChecking string

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
	BatchMode            bool

	StayInterval time.Duration // 0: no probes
	StayGiveUp   time.Duration
	StayResume   string // no, target, jump
	StayPatience time.Duration
	StayKeep     time.Duration

	sources map[string]pos
}

// Defaults of the Stay keywords.
const (
	DefaultInterval = 30 * time.Second
	DefaultGiveUp   = 15 * time.Minute
	DefaultPatience = 30 * time.Second
	DefaultKeep     = 24 * time.Hour
)

// Resolve evaluates the configuration for q.Host; ctx ends the commands of Match
// exec. An error names the file and line, or the command line, that cannot be
// understood.
func Resolve(ctx context.Context, q Query) (*Settings, error) {
	if err := q.fill(); err != nil {
		return nil, err
	}
	e := &evaluator{Query: q, exec: execer(ctx), values: map[string]entry{}, lists: map[string][]entry{}, self: selfName()}
	if err := e.run(); err != nil {
		return nil, err
	}
	return newSettings(e)
}

// fill looks this process's user up in the password database, and takes $HOME
// and $USER for a uid that it does not list.
func (q *Query) fill() error {
	if q.Home != "" && q.LocalUser != "" {
		return nil
	}
	u, err := user.Current()
	if err != nil {
		u = &user.User{HomeDir: os.Getenv("HOME"), Username: os.Getenv("USER")}
	}
	if u.HomeDir == "" {
		return fmt.Errorf("find home directory: %w", err)
	}
	if q.Home == "" {
		q.Home = u.HomeDir
	}
	if q.LocalUser == "" {
		q.LocalUser = u.Username[strings.LastIndexByte(u.Username, '\\')+1:]
	}
	return nil
}

func selfName() string {
	exe, err := os.Executable()
	if err != nil {
		return "ssh-stay"
	}
	return strings.TrimSuffix(filepath.Base(exe), ".exe")
}

// IsSet reports whether keyword (lower case) was set, by a file or an option.
func (s *Settings) IsSet(keyword string) bool {
	_, ok := s.sources[keyword]
	return ok
}

func newSettings(e *evaluator) (*Settings, error) {
	r := &reader{e: e}
	s := &Settings{Alias: e.Host, User: e.user(), sources: map[string]pos{}}
	for k, ent := range e.values {
		s.sources[k] = ent.pos
	}
	var err error
	if s.HostName, err = e.hostName(); err != nil {
		return nil, err
	}
	if s.Port, err = ParsePort(e.port()); err != nil {
		return nil, fmt.Errorf("%s: %w", e.values["port"].pos, err)
	}
	for _, single := range []string{"hostname", "user", "port", "proxyjump"} {
		r.word(single, "") // refuses a second word
	}
	s.readRoute(r)
	s.readHostKeys(r)
	s.readAlgorithms(r)
	s.readLogin(r)
	s.readStay(r)
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}

func (s *Settings) readRoute(r *reader) {
	if ent, ok := r.e.values["proxyjump"]; ok {
		jumps, err := parseJumps(ent.args[0], false)
		r.fail(ent, err)
		s.Jumps, s.ProxySource = jumps, ent.pos.String()
	}
	if ent, ok := r.e.values["proxycommand"]; ok && len(s.Jumps) == 0 && !strings.EqualFold(ent.rest, "none") {
		s.ProxyCommand, s.ProxySource = ent.rest, ent.pos.String()
	}
	s.ProxyUseFdpass = r.flag("proxyusefdpass", false)
	s.FdpassSource = r.e.values["proxyusefdpass"].pos.String()
	s.ConnectTimeout = r.duration("connecttimeout", 0)
	s.ConnectAttempts = max(1, r.number("connectionattempts", 1))
	s.AddressFamily = r.oneOf("addressfamily", "any", "any", "inet", "inet6")
	s.BindAddress = r.word("bindaddress", "")
	s.BindInterface = r.word("bindinterface", "")
	s.IPQoS = r.words("ipqos", nil)
	s.TCPKeepAlive = r.flag("tcpkeepalive", true)
	s.ServerAliveInterval = r.duration("serveraliveinterval", 0)
	s.ServerAliveCountMax = r.number("serveralivecountmax", 3)
	s.RekeyLimit = r.words("rekeylimit", nil)
	s.LogLevel = strings.ToUpper(r.word("loglevel", "INFO"))
}

func (s *Settings) readHostKeys(r *reader) {
	s.HostKeyAlias = strings.ToLower(r.word("hostkeyalias", ""))
	s.UserKnownHostsFile = r.paths("userknownhostsfile", "~/.ssh/known_hosts", "~/.ssh/known_hosts2")
	s.GlobalKnownHostsFile = r.paths("globalknownhostsfile", globalKnownHosts()...)
	s.RevokedHostKeys = r.paths("revokedhostkeys")
	s.RequiredRSASize = max(1024, r.number("requiredrsasize", 1024)) // OpenSSH's own floor
	s.CASignatureAlgorithms = r.algorithms("casignaturealgorithms", defaultCA)
	s.StrictHostKeyChecking = r.word("stricthostkeychecking", "ask")
}

func globalKnownHosts() []string {
	file := filepath.Join(filepath.Dir(systemConfig()), "ssh_known_hosts")
	return []string{file, file + "2"}
}

func (s *Settings) readAlgorithms(r *reader) {
	s.HostKeyAlgorithms = r.algorithms("hostkeyalgorithms", defaultHostKey)
	first := r.word("hostkeyalgorithms", "+")[0]
	s.HostKeyAlgorithmsFixed = first != '+' && first != '-'
	s.KexAlgorithms = r.algorithms("kexalgorithms", defaultKex)
	s.Ciphers = r.algorithms("ciphers", defaultCiphers)
	s.MACs = r.algorithms("macs", defaultMACs)
	s.PubkeyAcceptedAlgorithms = r.algorithms("pubkeyacceptedalgorithms", defaultHostKey)
}

func (s *Settings) readLogin(r *reader) {
	s.IdentityFile, s.IdentityFileSet = r.identityFiles(), len(r.e.lists["identityfile"]) > 0
	for _, ent := range r.e.lists["certificatefile"] {
		if !strings.EqualFold(ent.args[0], "none") {
			s.CertificateFile = append(s.CertificateFile, r.path(ent, ent.args[0]))
		}
	}
	s.IdentityAgent = r.agent()
	s.IdentitiesOnly = r.flag("identitiesonly", false)
	s.PubkeyAuthentication = r.word("pubkeyauthentication", "yes") != "no"
	s.BatchMode = r.flag("batchmode", false)
}

func (s *Settings) readStay(r *reader) {
	interval, giveUp := DefaultInterval, DefaultGiveUp
	if s.ServerAliveInterval > 0 {
		interval = s.ServerAliveInterval
		giveUp = time.Duration(max(1, s.ServerAliveCountMax)) * interval
	}
	s.StayInterval = r.duration("stayinterval", interval)
	s.StayGiveUp = r.duration("staygiveup", giveUp)
	s.StayPatience = r.duration("staypatience", DefaultPatience)
	s.StayKeep = r.duration("staykeep", DefaultKeep)
	s.StayResume = r.oneOf("stayresume", "no", "no", "target", "jump")
}

// reader turns entries into values and keeps the first error.
type reader struct {
	e   *evaluator
	err error
}

func (r *reader) fail(ent entry, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %s: %w", ent.pos, ent.keyword, err)
	}
}

func (r *reader) words(key string, def []string) []string {
	if ent, ok := r.e.values[key]; ok {
		return ent.args
	}
	return def
}

func (r *reader) word(key, def string) string {
	ent, ok := r.e.values[key]
	if !ok {
		return def
	}
	if len(ent.args) > 1 {
		r.fail(ent, fmt.Errorf("extra arguments at end of line"))
	}
	return ent.args[0]
}

func (r *reader) oneOf(key, def string, allowed ...string) string {
	got := strings.ToLower(r.word(key, def))
	for _, a := range allowed {
		if got == a {
			return got
		}
	}
	r.fail(r.e.values[key], fmt.Errorf("unsupported option %q: want %s", got, strings.Join(allowed, ", ")))
	return def
}

func (r *reader) flag(key string, def bool) bool {
	switch got := strings.ToLower(r.word(key, "")); got {
	case "":
		return def
	case "yes", "true":
		return true
	case "no", "false":
		return false
	default:
		r.fail(r.e.values[key], fmt.Errorf("unsupported option %q: want yes or no", got))
		return def
	}
}

func (r *reader) number(key string, def int) int {
	got := r.word(key, "")
	if got == "" {
		return def
	}
	n, err := strconv.ParseUint(got, 10, 31)
	if err != nil {
		r.fail(r.e.values[key], fmt.Errorf("integer value %q invalid", got))
	}
	return int(n)
}

func (r *reader) duration(key string, def time.Duration) time.Duration {
	got := r.word(key, "")
	if got == "" || got == "none" {
		return def
	}
	d, err := parseTime(got)
	r.fail(r.e.values[key], err)
	return d
}

// parseTime parses sshd_config(5) TIME FORMATS: 90, 1m30s, 2h, 1d, 1w.
func parseTime(s string) (time.Duration, error) {
	var total, n int64
	digits := false
	units := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}
	for i := range len(s) {
		switch c := s[i] | 0x20; {
		case s[i] >= '0' && s[i] <= '9':
			n, digits = n*10+int64(s[i]-'0'), true
		case digits && units[c] != 0:
			total, n, digits = total+n*units[c], 0, false
		default:
			return 0, fmt.Errorf("invalid time value %q", s)
		}
		if n > 1<<31 || total > 1<<31 {
			return 0, fmt.Errorf("time value %q is too large", s)
		}
	}
	return time.Duration(total+n) * time.Second, nil
}

func (r *reader) path(ent entry, arg string) string {
	p, err := r.e.expandPath(arg)
	r.fail(ent, err)
	return p
}

func (r *reader) paths(key string, defaults ...string) []string {
	ent, ok := r.e.values[key]
	if !ok {
		ent = entry{line: line{keyword: key}, args: defaults}
	}
	if len(ent.args) == 1 && strings.EqualFold(ent.args[0], "none") {
		return nil
	}
	var out []string
	for _, arg := range ent.args {
		out = append(out, r.path(ent, arg))
	}
	return out
}

// identityFiles are the configured ones, or ssh's defaults.
func (r *reader) identityFiles() []string {
	ents := r.e.lists["identityfile"]
	if len(ents) == 0 {
		for _, name := range []string{"id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"} {
			ents = append(ents, entry{args: []string{"~/.ssh/" + name}})
		}
	}
	var out []string
	for _, ent := range ents {
		if !strings.EqualFold(ent.args[0], "none") {
			out = append(out, r.path(ent, ent.args[0]))
		}
	}
	return out
}

// agent is IdentityAgent as a path: $NAME is taken from the environment.
func (r *reader) agent() string {
	ent, ok := r.e.values["identityagent"]
	if !ok {
		return ""
	}
	arg := ent.args[0]
	switch {
	case strings.EqualFold(arg, "none"):
		return "none"
	case arg == "SSH_AUTH_SOCK":
		return ""
	case strings.HasPrefix(arg, "$") && !strings.HasPrefix(arg, "${"):
		return cmp.Or(os.Getenv(arg[1:]), "none")
	}
	return r.path(ent, arg)
}

func (r *reader) algorithms(key, defaults string) []string {
	list, err := algorithmList(r.word(key, ""), defaults)
	r.fail(r.e.values[key], err)
	return list
}
