package config

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// Print writes the settings as `ssh -G` of the installed ssh would, line by line,
// then our own. With explain, "# FILE:LINE" follows what was set.
func (s *Settings) Print(w io.Writer, explain bool) error {
	p := &printer{w: w, explain: explain, e: s.eval, s: s, d: s.eval.ssh()}
	if s.eval.asked != nil {
		for _, text := range s.eval.asked {
			name, val, _ := strings.Cut(text, " ")
			p.line(name, val, pos{})
		}
	} else {
		p.settings()
	}
	for _, own := range []struct {
		name string
		time.Duration
	}{
		{"stayinterval", s.StayInterval}, {"staygiveup", s.StayGiveUp},
		{"staypatience", s.StayPatience}, {"staykeep", s.StayKeep},
	} {
		p.line(own.name, strconv.FormatInt(seconds(own.Duration), 10), s.eval.values[own.name].pos)
	}
	p.line("stayresume", s.StayResume, s.eval.values["stayresume"].pos)
	p.line("stayclient", s.StayClient, s.eval.values["stayclient"].pos)
	return p.err
}

// settings prints what ssh prints.
func (p *printer) settings() {
	s := p.s
	p.fail(p.refusal())
	p.line("host", s.Alias, pos{})
	p.line("user", s.User, s.eval.values["user"].pos)
	p.line("hostname", s.HostName, s.eval.values["hostname"].pos)
	p.line("port", strconv.Itoa(s.Port), s.eval.values["port"].pos)
	for _, kw := range keywords {
		def, known := p.d.defaultOf(kw)
		moved := kw.name == "revokedhostkeys" && p.d.version >= v10_3 // then a list
		if known && kw.form != hidden && kw.form != refused && !moved {
			p.keyword(kw, def)
		}
		if kw.name == "userknownhostsfile" && p.d.version >= v10_3 {
			revoked, _ := find("revokedhostkeys")
			def, _ := p.d.defaultOf(revoked)
			p.keyword(revoked, def)
		}
	}
}

// printer prints one host's settings and keeps the first error.
type printer struct {
	w       io.Writer
	explain bool
	e       *evaluator
	s       *Settings
	d       dialect
	err     error
}

func (p *printer) line(name, value string, at pos) {
	if p.err != nil {
		return
	}
	var source string
	if p.explain && at != (pos{}) {
		source = "  # " + at.file
		if at.line > 0 {
			source += ":" + strconv.Itoa(at.line)
		}
	}
	_, p.err = fmt.Fprintf(p.w, "%s %s%s\n", name, value, source)
}

func (p *printer) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// keyword prints the lines of one keyword; those that ssh prints in a form of
// their own come first.
func (p *printer) keyword(kw keyword, def string) {
	v, set := p.e.values[kw.name]
	switch {
	case kw.family != 0:
		p.algorithms(kw, v)
	case kw.form == inList:
		p.list(kw.name)
	case kw.name == "proxyjump" || kw.name == "proxycommand":
		p.proxy(kw.name)
	case kw.name == "setenv":
		p.setEnv(v)
	case kw.name == "rekeylimit":
		t, at := p.e.values["rekeytime"], v.pos
		if !set {
			at = t.pos
		}
		p.line(kw.name, p.e.word("rekeylimit", "0")+" "+p.e.word("rekeytime", "0"), at)
	case kw.name == "canonicalizepermittedcnames":
		p.line("canonicalizePermittedcnames", orDefault(v.String(), def), v.pos) // its own spelling
	case !set && kw.form == ofLine, strings.EqualFold(v.String(), "none") && p.clearedByNone(kw.name):
	case set:
		p.line(kw.name, p.text(kw.name, v), v.pos)
	default:
		if def = p.implied(kw.name, def); def != "" {
			p.line(kw.name, def, pos{})
		}
	}
}

// clearedByNone lists the keywords that ssh does not print for "none".
func (p *printer) clearedByNone(name string) bool {
	switch name {
	case "revokedhostkeys":
		return p.d.version < v10_3
	case "localcommand", "remotecommand", "controlpath", "pkcs11provider", "securitykeyprovider", "knownhostscommand":
		return true
	}
	return false
}

// cannotAsk says whether ssh has no one to ask about UpdateHostKeys (ssh.c).
func (p *printer) cannotAsk() bool {
	level := p.e.word("loglevel", "INFO")
	return p.e.word("controlpersist", "no") != "no" && !strings.EqualFold(p.e.word("controlpath", "none"), "none") ||
		!strings.EqualFold(p.e.word("remotecommand", "none"), "none") || p.e.word("requesttty", "auto") == "false" ||
		level == "SILENT" || level == "FATAL" || level == "ERROR"
}

// refusal is what ssh refuses without a command, as `ssh -G` is run.
func (p *printer) refusal() error {
	v := p.e.values["forkafterauthentication"]
	command := p.e.word("remotecommand", "none")
	if v.String() == "yes" && strings.EqualFold(command, "none") && p.e.word("sessiontype", "default") != "none" {
		return fmt.Errorf("%s: Cannot fork into background without a command to execute", v.pos)
	}
	v = p.e.values["proxycommand"]
	if v.String() == "-" && len(p.s.Jumps) == 0 && p.s.ProxyUseFdpass {
		return fmt.Errorf("%s: ProxyCommand=- and ProxyUseFDPass are incompatible", v.pos)
	}
	return nil
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// implied is the default of a keyword as others imply it.
func (p *printer) implied(name, def string) string {
	switch name {
	case "userknownhostsfile":
		return strings.Join(p.s.UserKnownHostsFile, " ")
	case "serveraliveinterval":
		if p.d.debian && p.s.BatchMode { // Debian's patch
			return "300"
		}
	case "updatehostkeys":
		files := p.e.values["userknownhostsfile"]
		if p.e.word("verifyhostkeydns", "false") != "false" || len(files.args) > 0 && files.String() != "~/.ssh/known_hosts" {
			return "false"
		}
	}
	return def
}

// text is a value that was set, expanded where `ssh -G` does.
func (p *printer) text(name string, v value) string {
	text := v.String()
	var err error
	switch name {
	case "proxyusefdpass":
		if len(p.s.Jumps) > 0 {
			text = "no"
		}
	case "controlpath", "identityagent":
		text, err = p.e.expandPath(text)
	case "tunnel":
		if p.e.word("clearallforwardings", "no") == "yes" {
			text = "false"
		}
	case "updatehostkeys":
		if text == "ask" && p.cannotAsk() {
			text = "false"
		}
	case "forwardagent":
		if path, ok := p.e.values["forwardagentpath"]; ok {
			text, err = p.e.expandPath(path.String())
			if _, statErr := os.Stat(text); statErr != nil && p.e.word("exitonforwardfailure", "no") == "yes" && err == nil {
				err = statErr
			}
		}
	case "remotecommand":
		text, err = p.e.expandValue(text, false)
	case "versionaddendum":
		text, err = p.e.expandValue(text, true)
	case "userknownhostsfile":
		text = orDefault(strings.Join(p.s.UserKnownHostsFile, " "), "none")
	case "globalknownhostsfile":
		if strings.EqualFold(text, "none") {
			text = "none"
		}
	case "revokedhostkeys":
		if p.d.version >= v10_3 {
			text = orDefault(strings.Join(p.s.RevokedHostKeys, " "), "none")
		}
	case "loglevel":
		if !p.d.debian && text == "SILENT" {
			text = "QUIET"
		}
	case "ipqos":
		text = p.qos(v.args)
	}
	if err != nil {
		p.fail(fmt.Errorf("%s: %s: %w", v.pos, name, err))
	}
	return text
}

func (p *printer) qos(args []string) string {
	return p.d.qosName(args[0]) + " " + p.d.qosName(args[1])
}

func (p *printer) algorithms(kw keyword, v value) {
	list, err := p.d.list(kw.family, v.String())
	if err != nil {
		p.fail(fmt.Errorf("%s: %s: %w", v.pos, kw.name, err))
	}
	p.line(kw.name, strings.Join(list, ","), v.pos)
}

func (p *printer) list(name string) {
	values := p.e.lists[name]
	if name == "identityfile" && len(values) == 0 {
		for _, file := range p.d.identities() {
			p.line(name, file, pos{})
		}
	}
	if strings.HasSuffix(name, "forward") {
		p.forwards(name)
		return
	}
	for _, v := range values {
		p.line(name, v.String(), v.pos)
	}
}

// forwards prints forwardings. Dynamic ones stand in the list of local ones; a
// local one to a socket is printed as both.
func (p *printer) forwards(name string) {
	if p.e.word("clearallforwardings", "no") == "yes" {
		return
	}
	from := name
	if name == "dynamicforward" {
		from = "localforward"
	}
	for _, v := range p.e.lists[from] {
		listen, connect := v.args[0], v.args[1]
		dynamic, isPath := strings.HasPrefix(connect, "[socks]:"), !strings.HasPrefix(connect, "[")
		if name == "localforward" && dynamic || name == "dynamicforward" && !dynamic && !isPath {
			continue
		}
		for _, side := range []*string{&listen, &connect} {
			if strings.Contains(*side, "/") && !strings.HasPrefix(*side, "[") {
				expanded, err := p.e.expandValue(*side, false)
				if err != nil {
					p.fail(fmt.Errorf("%s: %s: %w", v.pos, from, err))
				}
				*side = expanded
			}
		}
		if name != "dynamicforward" {
			listen += " " + connect
		}
		p.line(name, listen, v.pos)
	}
}

// setEnv prints assignments; OpenSSH 10.0 expands their values.
func (p *printer) setEnv(v value) {
	for _, arg := range v.args {
		name, text, _ := strings.Cut(arg, "=")
		if p.d.version >= v10_0 {
			var err error
			if text, err = p.e.expandValue(text, true); err != nil {
				p.fail(fmt.Errorf("%s: setenv: %w", v.pos, err))
			}
		}
		p.line("setenv", name+"="+text, v.pos)
	}
}

// proxy prints the way to the host, in the one slot of ProxyJump and ProxyCommand.
func (p *printer) proxy(name string) {
	v, ok := p.e.values[name]
	switch {
	case !ok || strings.EqualFold(v.String(), "none"):
	case name == "proxycommand" && len(p.s.Jumps) == 0:
		p.line(name, v.String(), v.pos)
	case name == "proxyjump":
		last := p.s.Jumps[len(p.s.Jumps)-1]
		var text string
		if list := v.String(); strings.Contains(list, ",") {
			text = list[:strings.LastIndexByte(list, ',')+1]
		}
		if last.User != "" {
			text += last.User + "@"
		}
		if strings.Contains(last.Host, ":") || strings.Trim(last.Host, "1234567890.") == "" {
			text += "[" + last.Host + "]"
		} else {
			text += last.Host
		}
		if last.Port > 0 {
			text += ":" + strconv.Itoa(last.Port)
		}
		p.line(name, text, v.pos)
	}
}
