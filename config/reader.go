package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ssh-stay/pattern"
)

func (s *Settings) readRoute(r *reader) {
	if v, ok := r.e.values["proxyjump"]; ok {
		jumps, err := parseJumps(v.args[0], false)
		r.fail("proxyjump", err)
		s.Jumps, s.ProxySource = jumps, v.pos.String()
	}
	if v, ok := r.e.values["proxycommand"]; ok && len(s.Jumps) == 0 && !strings.EqualFold(v.args[0], "none") {
		s.ProxyCommand, s.ProxySource = v.args[0], v.pos.String()
	}
	s.ProxyUseFdpass = r.flag("proxyusefdpass", false)
	s.FdpassSource = r.e.values["proxyusefdpass"].pos.String()
	s.ConnectTimeout = r.seconds("connecttimeout", 0)
	s.ConnectAttempts = max(1, r.number("connectionattempts", 1))
	s.AddressFamily = r.word("addressfamily", "any")
	s.BindAddress = r.word("bindaddress", "")
	s.BindInterface = r.word("bindinterface", "")
	s.IPQoS = r.qos()
	s.TCPKeepAlive = r.flag("tcpkeepalive", true)
	s.ServerAliveInterval = r.seconds("serveraliveinterval", 0)
	s.ServerAliveCountMax = r.number("serveralivecountmax", 3)
	if n, err := strconv.ParseInt(r.word("rekeylimit", "0"), 10, 64); err == nil && n > 0 {
		s.RekeyBytes = uint64(n)
	}
	s.LogLevel = r.word("loglevel", "INFO")
}

func (s *Settings) readHostKeys(r *reader) {
	s.HostKeyAlias = pattern.Lower(r.word("hostkeyalias", ""))
	for _, file := range r.words("userknownhostsfile", []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2"}) {
		s.UserKnownHostsFile = append(s.UserKnownHostsFile, r.path("userknownhostsfile", file))
	}
	for _, file := range r.words("globalknownhostsfile", globalKnownHosts()) {
		path, err := r.e.tilde(file) // and no tokens (ssh.c)
		r.failLate(r.e.values["globalknownhostsfile"].pos, "globalknownhostsfile", err)
		s.GlobalKnownHostsFile = append(s.GlobalKnownHostsFile, path)
	}
	for _, file := range r.words("revokedhostkeys", nil) {
		s.RevokedHostKeys = append(s.RevokedHostKeys, r.latePath(r.e.values["revokedhostkeys"].pos, "revokedhostkeys", file))
	}
	s.RequiredRSASize = max(1024, r.number("requiredrsasize", 1024)) // OpenSSH's own floor
	s.StrictHostKeyChecking = r.word("stricthostkeychecking", "ask")
	s.KnownHostsCommand = r.line("knownhostscommand")
	s.CheckHostIP = r.flag("checkhostip", false)
	s.HashKnownHosts = r.flag("hashknownhosts", false)
	s.FingerprintHash = r.word("fingerprinthash", "SHA256")
	s.NoHostAuthenticationForLocalhost = r.flag("nohostauthenticationforlocalhost", false)
}

func globalKnownHosts() []string {
	file := filepath.Join(filepath.Dir(systemConfig()), "ssh_known_hosts")
	return []string{file, file + "2"}
}

func (s *Settings) readAlgorithms(r *reader) {
	s.HostKeyAlgorithms = r.algorithms("hostkeyalgorithms", hostKeys)
	s.HostKeyAlgorithmsFixed = r.e.has("hostkeyalgorithms") && !r.relative("hostkeyalgorithms", hostKeys)
	s.KexAlgorithms = r.algorithms("kexalgorithms", kexes)
	s.Ciphers = r.algorithms("ciphers", ciphers)
	s.MACs = r.algorithms("macs", macs)
	s.PubkeyAcceptedAlgorithms = r.algorithms("pubkeyacceptedalgorithms", hostKeys)
	s.CASignatureAlgorithms = r.algorithms("casignaturealgorithms", signatures)
}

func (s *Settings) readLogin(r *reader) {
	s.IdentityFile, s.IdentityFileSet = r.identityFiles(), len(r.e.lists["identityfile"]) > 0
	for _, v := range r.e.lists["certificatefile"] {
		if !strings.EqualFold(v.args[0], "none") {
			s.CertificateFile = append(s.CertificateFile, r.latePath(v.pos, "certificatefile", v.args[0]))
		}
	}
	s.IdentityAgent = r.agent()
	s.IdentitiesOnly = r.flag("identitiesonly", false)
	s.PubkeyAuthentication = r.word("pubkeyauthentication", "true") != "false"
	s.GSSAPIAuthentication = r.flag("gssapiauthentication", false)
	s.HostbasedAuthentication = r.flag("hostbasedauthentication", false)
	s.PKCS11Provider = r.line("pkcs11provider")
	s.PasswordAuthentication = r.flag("passwordauthentication", true)
	s.KbdInteractiveAuthentication = r.flag("kbdinteractiveauthentication", true)
	s.PreferredAuthentications = r.word("preferredauthentications", "")
	s.NumberOfPasswordPrompts = r.number("numberofpasswordprompts", 3)
	if v := r.e.values["addkeystoagent"]; v.String() != "false" {
		s.AddKeysToAgent = v.args
	}
	s.BatchMode = r.flag("batchmode", false)
}

func (s *Settings) readStay(r *reader) {
	interval, giveUp := DefaultInterval, DefaultGiveUp
	if s.ServerAliveInterval > 0 {
		interval = s.ServerAliveInterval
		giveUp = time.Duration(max(1, s.ServerAliveCountMax)) * interval
	}
	s.StayInterval = r.seconds("stayinterval", interval)
	s.StayGiveUp = r.seconds("staygiveup", giveUp)
	s.StayPatience = r.seconds("staypatience", DefaultPatience)
	s.StayKeep = r.seconds("staykeep", DefaultKeep)
	s.StayResume = r.word("stayresume", "no")
	s.StayClient = r.word("stayclient", "auto")
}

// reader turns values into settings and keeps the first error.
type reader struct {
	e       *evaluator
	err     error
	pathErr error
}

func (r *reader) fail(key string, err error) {
	if err == nil || r.err != nil {
		return
	}
	r.err = fmt.Errorf("%s: %s: %w", r.e.values[key].pos, key, err)
	if u := (*UnsupportedError)(nil); errors.As(err, &u) {
		r.err = &UnsupportedError{r.e.values[key].pos, key + ": " + u.what}
	}
}

// user is the user at the host. OpenSSH 10.0 expands one from a file.
func (r *reader) user() string {
	name := r.e.user()
	if r.e.User != "" || !r.e.has("user") || !strings.ContainsAny(name, "%$") || r.e.ssh().version < v10_0 {
		return name
	}
	expanded, err := expandBoth(name, true, r.e.tokens(r.e.host, r.e.Host, ""))
	if err == nil && expanded != name {
		err = CheckUser(expanded)
	}
	r.fail("user", err)
	return expanded
}

func (r *reader) word(key, def string) string { return r.e.word(key, def) }

// line is a command, "" for none.
func (r *reader) line(key string) string {
	if s := r.e.word(key, ""); !strings.EqualFold(s, "none") {
		return s
	}
	return ""
}

func (r *reader) flag(key string, def bool) bool {
	if !r.e.has(key) {
		return def
	}
	return r.e.word(key, "") == "yes"
}

func (r *reader) number(key string, def int) int {
	n, err := strconv.Atoi(r.e.word(key, ""))
	if err != nil {
		return def
	}
	return n
}

func (r *reader) seconds(key string, def time.Duration) time.Duration {
	n, err := strconv.Atoi(r.e.word(key, ""))
	if err != nil {
		return def
	}
	return time.Duration(n) * time.Second
}

func (r *reader) path(key, arg string) string {
	p, err := r.e.expandPath(arg)
	r.fail(key, err)
	return p
}

// latePath is a path that ssh expands when it connects, not for `ssh -G`.
func (r *reader) latePath(at pos, key, arg string) string {
	p, err := r.e.expandPath(arg)
	r.failLate(at, key, err)
	return p
}

func (r *reader) failLate(at pos, key string, err error) {
	if err != nil && r.pathErr == nil {
		r.pathErr = fmt.Errorf("%s: %s: %w", at, key, err)
	}
}

// words are those of a list, none for "none".
func (r *reader) words(key string, defaults []string) []string {
	v, ok := r.e.values[key]
	switch {
	case !ok:
		return defaults
	case len(v.args) == 1 && strings.EqualFold(v.args[0], "none"):
		return nil
	}
	return v.args
}

// identityFiles are the configured ones, or the defaults of OpenSSH 10.3, whose
// names older ones share.
func (r *reader) identityFiles() []string {
	values := r.e.lists["identityfile"]
	if len(values) == 0 {
		for _, name := range (dialect{version: newest}).identities() {
			values = append(values, value{args: []string{name}})
		}
	}
	var out []string
	for _, v := range values {
		if name := v.args[0]; !strings.EqualFold(name, "none") {
			out = append(out, r.latePath(v.pos, "identityfile", name))
		}
	}
	return out
}

// agent is IdentityAgent as a path: $NAME is taken from the environment.
func (r *reader) agent() string {
	arg := r.word("identityagent", "SSH_AUTH_SOCK")
	switch {
	case strings.EqualFold(arg, "none"):
		return "none"
	case arg == "SSH_AUTH_SOCK":
		return ""
	case strings.HasPrefix(arg, "$") && !strings.HasPrefix(arg, "${"):
		return cmp.Or(os.Getenv(arg[1:]), "none")
	}
	return r.path("identityagent", arg)
}

// qos are the words of IPQoS by their meaning for the installed ssh.
func (r *reader) qos() []string {
	var out []string
	for _, word := range r.e.values["ipqos"].args {
		if word == "lowdelay" || word == "throughput" || word == "reliability" {
			word = r.e.ssh().qosName(word)
		}
		out = append(out, word)
	}
	return out
}

// algorithms resolves a list. The version of ssh matters where it refers to the
// defaults; else those of the newest are as good, cut to what we can do.
func (r *reader) algorithms(key string, f family) []string {
	value := r.word(key, "")
	d := dialect{version: newest}
	if value != "" && (strings.ContainsAny(value[:1], "+-^") || strings.ContainsAny(value, "*?")) {
		d = r.e.ssh()
	} else if value != "" {
		d = dialect{version: v9_9, debian: true} // knows every name
	}
	list, err := d.list(f, value)
	r.fail(key, err)
	return list
}

// relative says whether a list was made from the defaults by + or -. Of a list
// that ssh has resolved, only its look tells: it begins with the defaults, or
// holds some of them in their order.
func (r *reader) relative(key string, f family) bool {
	list := r.word(key, "")
	if r.e.asked == nil {
		return strings.HasPrefix(list, "+") || strings.HasPrefix(list, "-")
	}
	defaults := r.e.ssh().defaults(f)
	names := strings.Split(list, ",")
	for _, d := range defaults {
		if len(names) > 0 && names[0] == d {
			names = names[1:]
		}
	}
	return len(names) == 0 || strings.HasPrefix(list, strings.Join(defaults, ","))
}
