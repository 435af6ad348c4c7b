package config

// keyword is one keyword of ssh_config(5), or of ours. Its value is read by one of
// choices, word and words, or, ofLine, by none.
type keyword struct {
	name    string
	choices string                           // those of its one word: groups of synonyms, "yes true|no false"
	word    func(string) (string, error)     // its one word
	words   func([]string) ([]string, error) // all of them
	def     string                           // what `ssh -G` prints where it is unset; "" for no line
	form    form
	since   version // of OpenSSH; 0 for all that we know

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

// find looks a keyword up by its own name.
func find(name string) (kw keyword, known bool) {
	for i := range keywords {
		if keywords[i].name == name {
			return keywords[i], true
		}
	}
	return keyword{}, false
}

func isKeyword(name string) bool { _, known := find(name); return known }

// keywords are those of OpenSSH 9.2 to 10.3 in the order of `ssh -G`, then our
// own. Nobody changes them: they are data of the file that all processes share,
// and take neither time nor memory of a start.
var keywords = []keyword{
	{name: "hostname", word: text, form: hidden},
	{name: "user", word: text, form: hidden},
	{name: "port", word: port, form: hidden},
	{name: "addressfamily", choices: "inet|inet6|any", def: "any"},
	{name: "batchmode", choices: yesNo, def: "no"},
	{name: "canonicalizefallbacklocal", choices: yesNo, def: "yes"},
	{name: "canonicalizehostname", choices: "true yes|false no|always", def: "false"},
	{name: "checkhostip", choices: yesNo, def: "no"},
	{name: "compression", choices: "yes|no", def: "no"},
	{name: "controlmaster", choices: "true yes|false no|auto|ask|autoask", def: "false"},
	{name: "enablesshkeysign", choices: yesNo, def: "no"},
	{name: "clearallforwardings", choices: yesNo, def: "no"},
	{name: "exitonforwardfailure", choices: yesNo, def: "no"},
	{name: "fingerprinthash", choices: "MD5|SHA1|SHA256|SHA384|SHA512", def: "SHA256"},
	{name: "forwardx11", choices: yesNo, def: "no"},
	{name: "forwardx11trusted", choices: yesNo, def: "no"},
	{name: "gatewayports", choices: yesNo, def: "no"},
	{name: "gssapiauthentication", choices: yesNo, def: "no"},
	{name: "gssapikeyexchange", choices: yesNo, def: "no"},
	{name: "gssapidelegatecredentials", choices: yesNo, def: "no"},
	{name: "gssapitrustdns", choices: yesNo, def: "no"},
	{name: "gssapirenewalforcesrekey", choices: yesNo, def: "no"},
	{name: "gssapiclientidentity", word: text},
	{name: "gssapiserveridentity", word: text},
	{name: "gssapikexalgorithms", word: gssKex, def: defaultGSSKex},
	{name: "hashknownhosts", choices: yesNo, def: "no"},
	{name: "hostbasedauthentication", choices: yesNo, def: "no"},
	{name: "identitiesonly", choices: yesNo, def: "no"},
	{name: "kbdinteractiveauthentication", choices: yesNo, def: "yes"},
	{name: "nohostauthenticationforlocalhost", choices: yesNo, def: "no"},
	{name: "passwordauthentication", choices: yesNo, def: "yes"},
	{name: "permitlocalcommand", choices: yesNo, def: "no"},
	{name: "proxyusefdpass", choices: yesNo, def: "no"},
	{name: "pubkeyauthentication", choices: "true yes|false no|unbound|host-bound", def: "true"},
	{name: "requesttty", choices: "true yes|false no|force|auto", def: "auto"},
	{name: "sessiontype", choices: "none|subsystem|default", def: "default"},
	{name: "stdinnull", choices: yesNo, def: "no"},
	{name: "forkafterauthentication", choices: yesNo, def: "no"},
	{name: "streamlocalbindunlink", choices: yesNo, def: "no"},
	{name: "stricthostkeychecking", choices: "true yes|false no off|ask|accept-new", def: "ask"},
	{name: "tcpkeepalive", choices: yesNo, def: "yes"},
	{name: "tunnel", choices: "ethernet|point-to-point true yes|false no", def: "false"},
	{name: "verifyhostkeydns", choices: "true yes|false no|ask", def: "false"},
	{name: "visualhostkey", choices: yesNo, def: "no"},
	{name: "updatehostkeys", choices: "true yes|false no|ask", def: "true"},
	{name: "enableescapecommandline", choices: yesNo, def: "no"},
	{name: "warnweakcrypto", choices: "yes true|no false no-pq-kex", def: "yes", since: v10_1},
	{name: "canonicalizemaxdots", word: number, def: "1"},
	{name: "connectionattempts", word: number, def: "1"},
	{name: "forwardx11timeout", word: interval, def: "1200"},
	{name: "numberofpasswordprompts", word: number, def: "3"},
	{name: "serveralivecountmax", word: number, def: "3"},
	{name: "serveraliveinterval", word: interval, def: "0"},
	{name: "requiredrsasize", word: number, def: "1024"},
	{name: "obscurekeystroketiming", word: keystrokes, def: "yes", since: v9_5},

	{name: "bindaddress", word: text},
	{name: "bindinterface", word: text},
	{name: "ciphers", word: text, family: ciphers},
	{name: "controlpath", word: text},
	{name: "hostkeyalgorithms", word: text, family: hostKeys},
	{name: "hostkeyalias", word: text},
	{name: "hostbasedacceptedalgorithms", word: text, family: hostKeys},
	{name: "identityagent", word: agentPath},
	{name: "ignoreunknown", word: text},
	{name: "kbdinteractivedevices", word: text},
	{name: "kexalgorithms", word: text, family: kexes},
	{name: "casignaturealgorithms", word: text, family: signatures},
	{name: "localcommand", form: ofLine},
	{name: "remotecommand", form: ofLine},
	{name: "loglevel", choices: logLevels, def: "INFO"},
	{name: "macs", word: text, family: macs},
	{name: "pkcs11provider", word: text},
	{name: "securitykeyprovider", word: text},
	{name: "preferredauthentications", word: text},
	{name: "pubkeyacceptedalgorithms", word: text, family: hostKeys},
	{name: "revokedhostkeys", words: files},
	{name: "xauthlocation", word: text, def: "/usr/bin/xauth"},
	{name: "knownhostscommand", form: ofLine},
	{name: "tag", word: text, since: v9_4},
	{name: "versionaddendum", form: ofLine, since: v10_0},

	{name: "dynamicforward", words: dynamicForward, form: inList},
	{name: "localforward", words: localForward, form: inList},
	{name: "remoteforward", words: remoteForward, form: inList},
	{name: "identityfile", word: text, form: inList},
	{name: "canonicaldomains", words: domains, def: "none"},
	{name: "certificatefile", word: text, form: inList},
	{name: "globalknownhostsfile", words: files, def: "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"},
	{name: "userknownhostsfile", words: files, def: "~/.ssh/known_hosts ~/.ssh/known_hosts2"},
	{name: "sendenv", words: sendEnv, form: inList},
	{name: "setenv", words: setEnv},
	{name: "logverbose", words: files, def: "none"},
	{name: "channeltimeout", words: channelTimeouts, def: "none", since: v9_5},
	{name: "permitremoteopen", words: remoteOpens, def: "any"},
	{name: "addkeystoagent", words: addKeys, def: "false"},
	{name: "forwardagent", words: forwardAgent, def: "no"},
	{name: "connecttimeout", word: interval, def: "none"},
	{name: "tunneldevice", word: tunnelDevice, def: "any:any"},
	{name: "canonicalizepermittedcnames", words: cnames, def: "none"},
	{name: "controlpersist", word: persist, def: "no"},
	{name: "escapechar", word: escapeChar, def: "~"},
	{name: "ipqos", words: qos, def: "af21 cs1"},
	{name: "rekeylimit", words: rekeyLimit, def: "0 0"},
	{name: "streamlocalbindmask", word: bindMask, def: "0177", form: always},
	{name: "syslogfacility", choices: facilities, def: "USER", form: always},
	{name: "proxycommand", form: ofLine},
	{name: "proxyjump", form: ofLine},

	// Those that `ssh -G` does not print.
	{name: "host", form: refused},
	{name: "match", form: refused},
	{name: "include", form: refused},
	{name: "refuseconnection", word: text, form: hidden, since: v10_1},
	{name: "stayinterval", word: interval, form: hidden},
	{name: "staygiveup", word: interval, form: hidden},
	{name: "stayresume", choices: "no|target|jump", form: hidden},
	{name: "stayclient", choices: "auto|builtin|openssh", form: hidden},
	{name: "staypatience", word: interval, form: hidden},
	{name: "staykeep", word: interval, form: hidden},

	// Deprecated or unsupported: ssh passes over them.
	{name: "protocol", words: ignored, form: hidden},
	{name: "cipher", words: ignored, form: hidden},
	{name: "fallbacktorsh", words: ignored, form: hidden},
	{name: "globalknownhostsfile2", words: ignored, form: hidden},
	{name: "rhostsauthentication", words: ignored, form: hidden},
	{name: "userknownhostsfile2", words: ignored, form: hidden},
	{name: "useroaming", words: ignored, form: hidden},
	{name: "usersh", words: ignored, form: hidden},
	{name: "useprivilegedport", words: ignored, form: hidden},
	{name: "afstokenpassing", words: ignored, form: hidden},
	{name: "kerberosauthentication", words: ignored, form: hidden},
	{name: "kerberostgtpassing", words: ignored, form: hidden},
	{name: "rsaauthentication", words: ignored, form: hidden},
	{name: "rhostsrsaauthentication", words: ignored, form: hidden},
	{name: "compressionlevel", words: ignored, form: hidden},
	{name: "useblacklistedkeys", words: ignored, form: hidden},
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
