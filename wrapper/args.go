package wrapper

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"ssh-stay/config"
)

// Query asks the configuration what the line means.
func (l *Line) Query() config.Query {
	q := config.Query{Host: l.Host, File: l.File, Options: l.Options}
	if l.Jump != "" {
		q.Options = append([]string{"ProxyJump=" + l.Jump}, q.Options...)
	}
	return q
}

// Args are the arguments for the real ssh: those of the line, behind ours, since
// of each kind the first counts. self is the program that shall be the
// ProxyCommand. s is what the configuration says; nil where only ssh can tell.
func (l *Line) Args(self string, s *config.Settings) []string {
	if l.Plain {
		return l.remaining(stayOption)
	}
	var ours []string
	add := func(format string, args ...any) { ours = append(ours, "-o", fmt.Sprintf(format, args...)) }
	if s == nil {
		add("ProxyCommand=%s", ProxyCommand(self, false, l.proxyArgs()...))
		return append(ours, l.remaining(stayOption, jumpOption)...)
	}
	left := leftToSSH(s)
	without := []cutKind{stayOption}
	if !left {
		add("ProxyCommand=%s", ProxyCommand(self, !strings.ContainsAny(s.User, unquotable), l.proxyArgs()...))
		without = append(without, jumpOption)
	}
	if path := socket(s); path != "" && !left && len(s.Jumps) > 0 {
		add("ControlPath=%s", configWord(path))
		without = append(without, socketOption)
	}
	direct := isDirect(s)
	if s.ProxyUseFdpass && !left && (!direct || resumes(s)) {
		add("ProxyUseFdpass=no") // ssh never passes a descriptor to a ProxyJump
	}
	switch {
	case left || !canonicalizes(s):
	case direct:
		add("CanonicalizeHostname=always")
	default: // the complete name may be what brings the jump: ssh looked it up before that
		add("HostName=%s", configWord(strings.ReplaceAll(s.HostName, "%", "%%")))
	}
	// Inside a stream that outlives its connection nothing may count its absence.
	// Debian's ssh counts by itself under BatchMode.
	switch seconds := int(s.StayInterval / time.Second); {
	case s.IsSet("serveraliveinterval"):
	case resumes(s) && !left:
		add("ServerAliveInterval=0")
	case s.StayInterval > 0:
		seconds = max(1, seconds)
		add("ServerAliveInterval=%d", seconds)
		add("ServerAliveCountMax=%d", max(1, int(s.StayGiveUp/time.Second)/seconds))
	}
	return append(ours, l.remaining(without...)...)
}

// unquotable is what the quotes around %r do not serve for, in one shell or the
// other. A user with such is left to the proxy to find.
const unquotable = "'\"\\!"

// proxyArgs hand on to the proxy all that the line sets: it is for the
// destination, as it is for ssh, and no jump host gets to know it. The first -v
// is for ssh alone: clients that give it read ssh's words.
func (l *Line) proxyArgs() []string {
	var args []string
	if l.File != "" {
		args = append(args, "-F", l.File)
	}
	if l.Jump != "" {
		args = append(args, "-J", l.Jump)
	}
	for _, option := range l.Options {
		args = append(args, "-o", option)
	}
	if l.Verbose > 1 {
		args = append(args, "-v")
	}
	return args
}

// leftToSSH is where no process of ours can stand: before a ProxyCommand that
// hands a socket to ssh, or is ssh's own stdin and stdout, and where ssh must know
// the peer's address, which it does not behind any ProxyCommand.
func leftToSSH(s *config.Settings) bool {
	return s.ProxyCommand == "-" || s.ProxyCommand != "" && s.ProxyUseFdpass ||
		isDirect(s) && !resumes(s) && s.AddressCounts() != ""
}

func isDirect(s *config.Settings) bool { return len(s.Jumps) == 0 && s.ProxyCommand == "" }

// socket is the ControlPath as ssh would expand it for the line as it stood: from
// OpenSSH 9.6 on the jump hosts have their share in its %C and %j, and our
// ProxyCommand hides them (ssh.c). "" for none.
func socket(s *config.Settings) string {
	path := printed(s, "controlpath")
	if strings.Contains(path, "${") {
		return "" // ssh would take it for a variable
	}
	return strings.ReplaceAll(path, "%", "%%")
}

// resumes says whether StayResume has an effect.
func resumes(s *config.Settings) bool {
	return s.StayResume == "target" || s.StayResume == "jump" && len(s.Jumps) > 0
}

// canonicalizes says whether ssh would look the name up to complete it, which it
// does not do in front of a ProxyCommand, unless it is told to always do so. The
// name decides under which one the host's key is known.
func canonicalizes(s *config.Settings) bool {
	if !s.IsSet("canonicalizehostname") {
		return false
	}
	return printed(s, "canonicalizehostname") == "true"
}

// printed is a keyword's value as `ssh -G` prints it; "" for none.
func printed(s *config.Settings, keyword string) string {
	var out bytes.Buffer
	if err := s.Print(&out, false); err != nil {
		return ""
	}
	for line := range strings.Lines(out.String()) {
		if value, ok := strings.CutPrefix(line, keyword+" "); ok {
			return strings.TrimSuffix(value, "\n")
		}
	}
	return ""
}
