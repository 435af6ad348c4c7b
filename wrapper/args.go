package wrapper

import (
	"bytes"
	"fmt"
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
		return l.remaining(true)
	}
	var ours []string
	add := func(format string, args ...any) { ours = append(ours, "-o", fmt.Sprintf(format, args...)) }
	left := s != nil && leftToSSH(s)
	if !left {
		add("ProxyCommand=%s", ProxyCommand(self, l.proxyArgs()...))
	}
	if s == nil {
		return append(ours, l.remaining(left)...)
	}
	direct := len(s.Jumps) == 0 && s.ProxyCommand == ""
	if s.ProxyUseFdpass && !left && (!direct || resumes(s)) {
		add("ProxyUseFdpass=no") // ssh never passes a descriptor to a ProxyJump
	}
	if direct && canonicalizes(s) {
		add("CanonicalizeHostname=always")
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
	return append(ours, l.remaining(left)...)
}

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

// leftToSSH is a ProxyCommand that no process can stand before: one that hands
// a socket to ssh, or ssh's own stdin and stdout.
func leftToSSH(s *config.Settings) bool {
	return s.ProxyCommand == "-" || s.ProxyCommand != "" && s.ProxyUseFdpass
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
	var out bytes.Buffer
	return s.Print(&out, false) == nil && bytes.Contains(out.Bytes(), []byte("\ncanonicalizehostname true\n"))
}
