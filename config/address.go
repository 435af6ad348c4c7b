package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"ssh-stay/pattern"
)

// canonical is what ssh makes of a host name once the files are read (ssh.c,
// resolve_canonicalize): an address in its usual form, 127.1 as 127.0.0.1; a
// name in lower case. A name that only DNS can complete is an UnsupportedError.
func (e *evaluator) canonical(name string) (string, error) {
	family := e.word("addressfamily", "any")
	if addr, ok := numericAddress(name, family); ok {
		if strings.EqualFold(addr, name) {
			return name, nil
		}
		return addr, nil
	}
	if strings.ContainsAny(name, "%:") || strings.Trim(name, "0123456789.") == "" {
		return name, nil // looks like an address, but is none
	}
	name = pattern.Lower(name)
	mode := e.word("canonicalizehostname", "false")
	cnames := e.word("canonicalizepermittedcnames", "none") != "none"
	if mode == "false" && !cnames || mode != "always" && (e.own || !e.direct()) {
		return name, nil
	}
	if cnames {
		return "", &UnsupportedError{e.values["canonicalizepermittedcnames"].pos, "CanonicalizePermittedCNAMEs needs DNS for " + name}
	}
	maxDots, _ := strconv.Atoi(e.word("canonicalizemaxdots", "1"))
	domains := e.values["canonicaldomains"].args
	anchored := strings.HasSuffix(name, ".")
	if !anchored && (strings.Count(name, ".") > maxDots) {
		return name, nil
	}
	if anchored || len(domains) > 0 && domains[0] != "none" {
		return "", &UnsupportedError{e.values["canonicalizehostname"].pos, "CanonicalizeHostname needs DNS for " + name}
	}
	if e.word("canonicalizefallbacklocal", "yes") == "no" {
		return "", fmt.Errorf("%s: Could not resolve host %q", e.values["canonicalizefallbacklocal"].pos, name)
	}
	return name, nil
}

// direct says whether the host is reached without jump or command.
func (e *evaluator) direct() bool {
	if !strings.EqualFold(e.word("proxycommand", "none"), "none") {
		return false
	}
	jump, ok := e.values["proxyjump"]
	// Up to 10.0 "none" counted as a jump here.
	return !ok || strings.EqualFold(jump.args[0], "none") && e.ssh().version >= v10_3
}

// numericAddress is getaddrinfo(3) and getnameinfo(3) for numeric hosts.
func numericAddress(name, family string) (string, bool) {
	if addr, ok := parseIPv4(name); ok {
		return addr.String(), family != "inet6"
	}
	addr, err := netip.ParseAddr(name)
	if err != nil || !strings.Contains(name, ":") || family == "inet" {
		return "", false
	}
	return addr.String(), true
}

// parseIPv4 is inet_aton(3): one to four numbers, decimal, octal or hexadecimal,
// of which the last fills what is left.
func parseIPv4(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, p := range parts {
		if p == "" || strings.ContainsAny(p, "_oObB") && !strings.HasPrefix(strings.ToLower(p), "0x") || strings.ContainsAny(p, "_+-") {
			return netip.Addr{}, false
		}
		n, err := strconv.ParseUint(p, 0, 32)
		if err != nil {
			return netip.Addr{}, false
		}
		left := 8 * (4 - i)
		if i < len(parts)-1 {
			if n > 255 {
				return netip.Addr{}, false
			}
			value |= n << (left - 8)
			continue
		}
		if n >= 1<<left {
			return netip.Addr{}, false
		}
		value |= n
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

// AddressCounts names the keyword by which ssh would check or trust the host for
// the address it connects to; "" for none. ssh does not know that address behind
// a ProxyCommand, so there the keyword has no effect (check_host_key,
// sshconnect.c). Of names, only localhost is known to be this machine's.
func (s *Settings) AddressCounts() string {
	text, numeric := numericAddress(s.HostName, "any")
	local := numeric && netip.MustParseAddr(text).IsLoopback() ||
		!numeric && (s.HostName == "localhost" || strings.HasSuffix(s.HostName, ".localhost"))
	// An address is checked against itself, but for an alias; at port 22 it is not.
	self := numeric && (s.HostKeyAlias == "" || s.Port == 22)
	switch {
	case s.NoHostAuthenticationForLocalhost && local && s.HostKeyAlias == "":
		return "NoHostAuthenticationForLocalhost"
	case s.CheckHostIP && !local && !self:
		return "CheckHostIP"
	}
	return ""
}
