package config

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// NameError is a host or user name that OpenSSH 10.6 would refuse on its
// command line. It carries the name unescaped: print it with %q.
type NameError struct {
	Kind string // "host name" or "user name"
	Name string
}

func (e *NameError) Error() string { return fmt.Sprintf("invalid %s %q", e.Kind, e.Name) }

// CheckHost applies the rules of OpenSSH 10.6's ssh_valid_hostname.
func CheckHost(name string) error {
	bad := name == "" || name[0] == '-' ||
		strings.ContainsAny(name, "'`\"$\\;&<>|(){},") ||
		strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
	if bad {
		return &NameError{"host name", name}
	}
	return nil
}

// CheckUser applies the rules of OpenSSH 10.6's ssh_valid_ruser, which also
// forbids the $ and \ that 10.5 still took (CVE-2026-106583, CVE-2026-110925).
func CheckUser(name string) error {
	bad := name == "" || name[0] == '-' ||
		strings.ContainsAny(name, "'`\";&<>|(){}$\\") ||
		strings.ContainsFunc(name, unicode.IsControl)
	for i := 1; i < len(name) && !bad; i++ {
		bad = name[i] == '-' && name[i-1] == ' '
	}
	if bad {
		return &NameError{"user name", name}
	}
	return nil
}

// Jump is one element of a ProxyJump list. User and Port are zero where the
// element does not name them.
type Jump struct {
	User string
	Host string
	Port int
}

func (j Jump) String() string {
	s := j.Host
	if strings.Contains(s, ":") {
		s = "[" + s + "]"
	}
	if j.Port != 0 {
		s = fmt.Sprintf("[%s]:%d", j.Host, j.Port)
	}
	if j.User != "" {
		s = j.User + "@" + s
	}
	return s
}

// ParseJumps parses a ProxyJump list, "none" as an empty one. Elements are
// [user@]host[:port] or ssh:// URIs; IPv6 addresses stand in brackets. The
// names are checked as CheckHost and CheckUser do.
func ParseJumps(list string) ([]Jump, error) { return parseJumps(list, true) }

// parseJumps checks the names of a command line alone: what a user's own file
// says is taken as it is, as by readconf.c.
func parseJumps(list string, check bool) ([]Jump, error) {
	if strings.EqualFold(list, "none") {
		return nil, nil
	}
	var jumps []Jump
	for elem := range strings.SplitSeq(list, ",") {
		j, err := parseJump(elem, check)
		if err != nil {
			return nil, fmt.Errorf("ProxyJump %q: %w", list, err)
		}
		jumps = append(jumps, j)
	}
	return jumps, nil
}

func parseJump(elem string, check bool) (Jump, error) {
	rest, isURI := strings.CutPrefix(elem, "ssh://")
	if isURI {
		rest = strings.TrimSuffix(rest, "/")
		// readconf.c takes no path, and escapes in the user alone.
		if host := rest[strings.LastIndexByte(rest, '@')+1:]; strings.ContainsAny(host, "/%") {
			return Jump{}, fmt.Errorf("bad URI %q", elem)
		}
	}
	var j Jump
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		j.User, rest = rest[:at], rest[at+1:]
		if isURI {
			j.User, _, _ = strings.Cut(j.User, ";") // RFC draft: user;c-param
		}
	}
	host, port, err := splitPort(rest)
	if err != nil {
		return Jump{}, err
	}
	j.Host, j.Port = host, port
	if isURI {
		if j.User, err = url.PathUnescape(j.User); err != nil {
			return Jump{}, fmt.Errorf("bad escape in user: %w", err)
		}
	}
	if !check {
		return j, nil
	}
	if err := CheckHost(j.Host); err != nil {
		return Jump{}, err
	}
	if strings.Contains(elem, "@") {
		if err := CheckUser(j.User); err != nil {
			return Jump{}, err
		}
	}
	return j, nil
}

func splitPort(s string) (host string, port int, err error) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		host, s, ok = strings.Cut(rest, "]")
		if !ok || s != "" && s[0] != ':' {
			return "", 0, fmt.Errorf("bad address %q", "["+rest)
		}
		s = strings.TrimPrefix(s, ":")
	} else {
		host, s, _ = strings.Cut(s, ":")
	}
	if host == "" {
		return "", 0, fmt.Errorf("no host name")
	}
	if s == "" {
		return host, 0, nil
	}
	port, err = ParsePort(s)
	return host, port, err
}

// ParsePort parses a TCP port, 1 to 65535.
func ParsePort(s string) (int, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("bad port %q: want 1 to 65535", s)
	}
	return int(port), nil
}
