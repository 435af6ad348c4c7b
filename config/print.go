package config

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Print writes the settings in the format of `ssh -G`: a lower-case keyword
// and its value a line. With explain, "# FILE line N" follows what was set.
func (s *Settings) Print(w io.Writer, explain bool) error {
	var err error
	put := func(key string, value any) {
		text := fmt.Sprint(value)
		if err != nil || text == "" {
			return
		}
		if at, ok := s.sources[key]; ok && explain {
			text += "  # " + at.String()
		}
		_, err = fmt.Fprintf(w, "%s %s\n", key, text)
	}
	s.printRoute(put)
	s.printTrust(put)
	put("stayinterval", seconds(s.StayInterval))
	put("staygiveup", seconds(s.StayGiveUp))
	put("stayresume", s.StayResume)
	put("staypatience", seconds(s.StayPatience))
	put("staykeep", seconds(s.StayKeep))
	return err
}

func (s *Settings) printRoute(put func(string, any)) {
	put("host", s.Alias)
	put("user", s.User)
	put("hostname", s.HostName)
	put("port", s.Port)
	put("addressfamily", s.AddressFamily)
	put("batchmode", yesNo(s.BatchMode))
	put("identitiesonly", yesNo(s.IdentitiesOnly))
	put("proxyusefdpass", yesNo(s.ProxyUseFdpass))
	put("pubkeyauthentication", s.PubkeyAuthentication)
	put("tcpkeepalive", yesNo(s.TCPKeepAlive))
	put("connectionattempts", s.ConnectAttempts)
	put("serveralivecountmax", s.ServerAliveCountMax)
	put("serveraliveinterval", seconds(s.ServerAliveInterval))
	timeout := "none"
	if s.IsSet("connecttimeout") {
		timeout = fmt.Sprint(seconds(s.ConnectTimeout))
	}
	put("connecttimeout", timeout)
	put("bindaddress", s.BindAddress)
	put("bindinterface", s.BindInterface)
	put("ipqos", strings.Join(s.IPQoS, " "))
	put("loglevel", s.LogLevel)
	var jumps []string
	for _, j := range s.Jumps {
		jumps = append(jumps, j.String())
	}
	put("proxyjump", strings.Join(jumps, ","))
	put("proxycommand", s.ProxyCommand)
}

func (s *Settings) printTrust(put func(string, any)) {
	put("hostkeyalias", s.HostKeyAlias)
	put("userknownhostsfile", strings.Join(s.UserKnownHostsFile, " "))
	put("globalknownhostsfile", strings.Join(s.GlobalKnownHostsFile, " "))
	put("revokedhostkeys", strings.Join(s.RevokedHostKeys, " "))
	put("requiredrsasize", s.RequiredRSASize)
	put("casignaturealgorithms", strings.Join(s.CASignatureAlgorithms, ","))
	put("stricthostkeychecking", s.StrictHostKeyChecking)
	put("hostkeyalgorithms", strings.Join(s.HostKeyAlgorithms, ","))
	put("kexalgorithms", strings.Join(s.KexAlgorithms, ","))
	put("ciphers", strings.Join(s.Ciphers, ","))
	put("macs", strings.Join(s.MACs, ","))
	put("pubkeyacceptedalgorithms", strings.Join(s.PubkeyAcceptedAlgorithms, ","))
	put("identityagent", s.IdentityAgent)
	for _, f := range s.IdentityFile {
		put("identityfile", f)
	}
	for _, f := range s.CertificateFile {
		put("certificatefile", f)
	}
}

func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
