package config

import (
	"errors"
	"fmt"
	"net/url"
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
		j, err := parseJump(elem)
		if err == nil && check {
			if err = CheckHost(j.Host); err == nil && j.User != "" {
				err = CheckUser(j.User)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("ProxyJump %q: %w", list, err)
		}
		jumps = append(jumps, j)
	}
	return jumps, nil
}

// parseJump is parse_uri or parse_user_host_port (misc.c). Of a URI, the user
// alone is unescaped, up to a semicolon, and a path is an error.
func parseJump(elem string) (Jump, error) {
	rest, isURI := strings.CutPrefix(elem, "ssh://")
	at := strings.LastIndexByte(rest, '@')
	if isURI {
		at = strings.IndexByte(rest, '@')
	}
	var j Jump
	if at >= 0 {
		j.User, rest = rest[:at], rest[at+1:]
		if isURI {
			j.User, _, _ = strings.Cut(j.User, ";")
			var err error
			if j.User, err = url.QueryUnescape(j.User); err != nil {
				return Jump{}, fmt.Errorf("bad escape in user: %w", err)
			}
			if strings.Contains(j.User, "\x00") {
				return Jump{}, errors.New("user name holds a NUL byte")
			}
		}
		if j.User == "" {
			return Jump{}, errors.New("empty user name")
		}
	}
	host, delim, port, err := splitHost(rest)
	if err != nil {
		return Jump{}, err
	}
	j.Host = host
	if delim == '/' && !isURI {
		return Jump{}, fmt.Errorf("bad address %q", elem)
	}
	if isURI {
		if j.Host, err = domain(host); err != nil {
			return Jump{}, err
		}
		j.Host = strings.TrimSuffix(host, ".")
		if delim == '/' && port != "" {
			return Jump{}, fmt.Errorf("bad URI %q", elem)
		}
		var path string
		if port, path, _ = strings.Cut(port, "/"); path != "" {
			return Jump{}, fmt.Errorf("bad URI %q", elem)
		}
		if port == "" && delim == ':' && strings.Contains(rest, "/") {
			return Jump{}, fmt.Errorf("bad URI %q", elem)
		}
	}
	if port != "" {
		j.Port, err = servicePort(port)
	}
	return j, err
}

// splitHost takes a host, without its brackets, off s; delim is the colon or
// slash behind it (hpdelim2, misc.c).
func splitHost(s string) (host string, delim byte, rest string, err error) {
	end := strings.IndexAny(s, ":/")
	if strings.HasPrefix(s, "[") {
		end = strings.IndexByte(s, ']') + 1
		if end == 0 || end < len(s) && s[end] != ':' && s[end] != '/' {
			return "", 0, "", fmt.Errorf("bad address %q", s)
		}
	}
	if end < 0 || end == len(s) {
		host = s
	} else {
		host, delim, rest = s[:end], s[end], s[end+1:]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
		host = strings.TrimSuffix(inner, "]")
	}
	if host == "" {
		return "", 0, "", errors.New("no host name")
	}
	return host, delim, rest, nil
}
