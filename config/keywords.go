package config

import (
	"slices"
	"sync"
)

// keyword is one keyword of ssh_config(5), or of ours.
type keyword struct {
	name  string
	read  kind
	def   string // what `ssh -G` prints where it is unset; "" for no line
	form  form
	since version // of OpenSSH; 0 for all that we know

	family family // of a list of algorithms
}

// form says how the values of a keyword come about and are printed.
type form int

const (
	single  form = iota // the first value wins
	ofLine              // the same, and the value is the rest of the line, verbatim
	inList              // all values count, each once
	always              // the first value wins, in blocks that do not apply too
	hidden              // no line of its own in `ssh -G`
	refused             // Host, Match and Include: not for a command line
)

// keywords are those of OpenSSH 9.2 to 10.3 in the order of `ssh -G`, then our
// own.
func keywords() []keyword {
	return slices.Concat(flagKeywords(), textKeywords(), listKeywords(), otherKeywords())
}

// table has them by name. Nobody changes it.
var table = sync.OnceValue(func() map[string]keyword {
	m := make(map[string]keyword, 160)
	for _, kw := range keywords() {
		m[kw.name] = kw
	}
	return m
})

func flagKeywords() []keyword {
	ask := func() kind { return choice("true yes", "false no", "ask") }
	return []keyword{
		{name: "hostname", read: text(), form: hidden},
		{name: "user", read: text(), form: hidden},
		{name: "port", read: port(), form: hidden},
		{name: "addressfamily", read: choice("inet", "inet6", "any"), def: "any"},
		{name: "batchmode", read: flag(), def: "no"},
		{name: "canonicalizefallbacklocal", read: flag(), def: "yes"},
		{name: "canonicalizehostname", read: choice("true yes", "false no", "always"), def: "false"},
		{name: "checkhostip", read: flag(), def: "no"},
		{name: "compression", read: choice("yes", "no"), def: "no"},
		{name: "controlmaster", read: choice("true yes", "false no", "auto", "ask", "autoask"), def: "false"},
		{name: "enablesshkeysign", read: flag(), def: "no"},
		{name: "clearallforwardings", read: flag(), def: "no"},
		{name: "exitonforwardfailure", read: flag(), def: "no"},
		{name: "fingerprinthash", read: choice("MD5", "SHA1", "SHA256", "SHA384", "SHA512"), def: "SHA256"},
		{name: "forwardx11", read: flag(), def: "no"},
		{name: "forwardx11trusted", read: flag(), def: "no"},
		{name: "gatewayports", read: flag(), def: "no"},
		{name: "gssapiauthentication", read: flag(), def: "no"},
		{name: "gssapikeyexchange", read: flag(), def: "no"},
		{name: "gssapidelegatecredentials", read: flag(), def: "no"},
		{name: "gssapitrustdns", read: flag(), def: "no"},
		{name: "gssapirenewalforcesrekey", read: flag(), def: "no"},
		{name: "gssapiclientidentity", read: text()},
		{name: "gssapiserveridentity", read: text()},
		{name: "gssapikexalgorithms", read: gssKex(), def: defaultGSSKex},
		{name: "hashknownhosts", read: flag(), def: "no"},
		{name: "hostbasedauthentication", read: flag(), def: "no"},
		{name: "identitiesonly", read: flag(), def: "no"},
		{name: "kbdinteractiveauthentication", read: flag(), def: "yes"},
		{name: "nohostauthenticationforlocalhost", read: flag(), def: "no"},
		{name: "passwordauthentication", read: flag(), def: "yes"},
		{name: "permitlocalcommand", read: flag(), def: "no"},
		{name: "proxyusefdpass", read: flag(), def: "no"},
		{name: "pubkeyauthentication", read: choice("true yes", "false no", "unbound", "host-bound"), def: "true"},
		{name: "requesttty", read: choice("true yes", "false no", "force", "auto"), def: "auto"},
		{name: "sessiontype", read: choice("none", "subsystem", "default"), def: "default"},
		{name: "stdinnull", read: flag(), def: "no"},
		{name: "forkafterauthentication", read: flag(), def: "no"},
		{name: "streamlocalbindunlink", read: flag(), def: "no"},
		{name: "stricthostkeychecking", read: choice("true yes", "false no off", "ask", "accept-new"), def: "ask"},
		{name: "tcpkeepalive", read: flag(), def: "yes"},
		{name: "tunnel", read: choice("ethernet", "point-to-point true yes", "false no"), def: "false"},
		{name: "verifyhostkeydns", read: ask(), def: "false"},
		{name: "visualhostkey", read: flag(), def: "no"},
		{name: "updatehostkeys", read: ask(), def: "true"},
		{name: "enableescapecommandline", read: flag(), def: "no"},
		{name: "warnweakcrypto", read: choice("yes true", "no false no-pq-kex"), def: "yes", since: v10_1},
		{name: "canonicalizemaxdots", read: number(), def: "1"},
		{name: "connectionattempts", read: number(), def: "1"},
		{name: "forwardx11timeout", read: interval(), def: "1200"},
		{name: "numberofpasswordprompts", read: number(), def: "3"},
		{name: "serveralivecountmax", read: number(), def: "3"},
		{name: "serveraliveinterval", read: interval(), def: "0"},
		{name: "requiredrsasize", read: number(), def: "1024"},
		{name: "obscurekeystroketiming", read: keystrokes(), def: "yes", since: v9_5},
	}
}

func textKeywords() []keyword {
	return []keyword{
		{name: "bindaddress", read: text()},
		{name: "bindinterface", read: text()},
		{name: "ciphers", read: text(), family: ciphers},
		{name: "controlpath", read: text()},
		{name: "hostkeyalgorithms", read: text(), family: hostKeys},
		{name: "hostkeyalias", read: text()},
		{name: "hostbasedacceptedalgorithms", read: text(), family: hostKeys},
		{name: "identityagent", read: agentPath()},
		{name: "ignoreunknown", read: text()},
		{name: "kbdinteractivedevices", read: text()},
		{name: "kexalgorithms", read: text(), family: kexes},
		{name: "casignaturealgorithms", read: text(), family: signatures},
		{name: "localcommand", form: ofLine},
		{name: "remotecommand", form: ofLine},
		{name: "loglevel", read: logLevel(), def: "INFO"},
		{name: "macs", read: text(), family: macs},
		{name: "pkcs11provider", read: text()},
		{name: "securitykeyprovider", read: text()},
		{name: "preferredauthentications", read: text()},
		{name: "pubkeyacceptedalgorithms", read: text(), family: hostKeys},
		{name: "revokedhostkeys", read: several("none", nil)},
		{name: "xauthlocation", read: text(), def: "/usr/bin/xauth"},
		{name: "knownhostscommand", form: ofLine},
		{name: "tag", read: text(), since: v9_4},
		{name: "versionaddendum", form: ofLine, since: v10_0},
	}
}

func listKeywords() []keyword {
	return []keyword{
		{name: "dynamicforward", read: forwarding("dynamicforward"), form: inList},
		{name: "localforward", read: forwarding("localforward"), form: inList},
		{name: "remoteforward", read: forwarding("remoteforward"), form: inList},
		{name: "identityfile", read: text(), form: inList},
		{name: "canonicaldomains", read: several("none", domain), def: "none"},
		{name: "certificatefile", read: text(), form: inList},
		{name: "globalknownhostsfile", read: several("none", nil), def: "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"},
		{name: "userknownhostsfile", read: several("none", nil), def: "~/.ssh/known_hosts ~/.ssh/known_hosts2"},
		{name: "sendenv", read: environment(false), form: inList},
		{name: "setenv", read: environment(true)},
		{name: "logverbose", read: several("none", nil), def: "none"},
		{name: "channeltimeout", read: several("none", channelTimeout), def: "none", since: v9_5},
		{name: "permitremoteopen", read: several("none any", remoteOpen), def: "any"},
		{name: "addkeystoagent", read: addKeys, def: "false"},
		{name: "forwardagent", read: forwardAgent(), def: "no"},
		{name: "connecttimeout", read: interval(), def: "none"},
		{name: "tunneldevice", read: tunnelDevice(), def: "any:any"},
		{name: "canonicalizepermittedcnames", read: several("none", cname), def: "none"},
		{name: "controlpersist", read: persist(), def: "no"},
		{name: "escapechar", read: escapeChar(), def: "~"},
		{name: "ipqos", read: qos, def: "af21 cs1"},
		{name: "rekeylimit", read: rekeyLimit, def: "0 0"},
		{name: "streamlocalbindmask", read: bindMask(), def: "0177", form: always},
		{name: "syslogfacility", read: facility(), def: "USER", form: always},
		{name: "proxycommand", form: ofLine},
		{name: "proxyjump", form: ofLine},
	}
}

// otherKeywords are those that `ssh -G` does not print.
func otherKeywords() []keyword {
	list := []keyword{
		{name: "host", form: refused},
		{name: "match", form: refused},
		{name: "include", form: refused},
		{name: "refuseconnection", read: text(), form: hidden, since: v10_1},
		{name: "stayinterval", read: interval(), form: hidden},
		{name: "staygiveup", read: interval(), form: hidden},
		{name: "stayresume", read: choice("no", "target", "jump"), form: hidden},
		{name: "stayclient", read: choice("auto", "builtin", "openssh"), form: hidden},
		{name: "staypatience", read: interval(), form: hidden},
		{name: "staykeep", read: interval(), form: hidden},
	}
	for _, name := range []string{ // deprecated or unsupported: ssh passes over them
		"protocol", "cipher", "fallbacktorsh", "globalknownhostsfile2", "rhostsauthentication", "userknownhostsfile2",
		"useroaming", "usersh", "useprivilegedport", "afstokenpassing", "kerberosauthentication", "kerberostgtpassing",
		"rsaauthentication", "rhostsrsaauthentication", "compressionlevel", "useblacklistedkeys",
	} {
		list = append(list, keyword{name: name, read: ignored, form: hidden})
	}
	return list
}

// alias maps the other names of a keyword to its own.
func alias(name string) string {
	switch name {
	case "challengeresponseauthentication", "skeyauthentication", "tisauthentication":
		return "kbdinteractiveauthentication"
	case "dsaauthentication":
		return "pubkeyauthentication"
	case "identityfile2":
		return "identityfile"
	case "smartcarddevice":
		return "pkcs11provider"
	case "keepalive":
		return "tcpkeepalive"
	case "hostbasedkeytypes":
		return "hostbasedacceptedalgorithms"
	case "pubkeyacceptedkeytypes":
		return "pubkeyacceptedalgorithms"
	case "protocolkeepalives", "setuptimeout":
		return "serveraliveinterval"
	}
	return name
}

// debianOnly lists names that only Debian's ssh knows.
// Other vendors who build with the same GSSAPI patch are asked.
func debianOnly(name string) bool {
	switch name {
	case "protocolkeepalives", "setuptimeout", "useblacklistedkeys", "gssapikeyexchange", "gssapitrustdns",
		"gssapirenewalforcesrekey", "gssapiclientidentity", "gssapiserveridentity", "gssapikexalgorithms":
		return true
	}
	return false
}

func forwardAgent() kind {
	yesNo, path := flag(), agentPath()
	return func(args []string) ([]string, error) {
		if out, err := yesNo(args); err == nil || len(args) != 1 || args[0] == "" {
			return out, err
		}
		return path(args)
	}
}
