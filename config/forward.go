package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// forward is one port or socket forwarding (parse_forward, readconf.c). A side
// is a path, or a port with an optional host.
type forward struct {
	listen, connect side
	dynamic         bool // to wherever the SOCKS client asks
}

type side struct {
	path, host string
	hasHost    bool
	port       int
}

func (s side) String() string {
	switch {
	case s.path != "":
		return s.path
	case s.hasHost:
		return fmt.Sprintf("[%s]:%d", s.host, s.port)
	}
	return strconv.Itoa(s.port)
}

// socks is the connecting side of a dynamic forwarding.
const socks = "[socks]:0"

func localForward(args []string) ([]string, error)   { return forwarding(args, false, false) }
func remoteForward(args []string) ([]string, error)  { return forwarding(args, false, true) }
func dynamicForward(args []string) ([]string, error) { return forwarding(args, true, false) }

// forwarding reads LocalForward, RemoteForward or DynamicForward. Its value is
// the listening and the connecting side.
func forwarding(args []string, dynamic, remote bool) ([]string, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, errMissing
	}
	spec, used := args[0], 1
	if !dynamic {
		switch {
		case len(args) > 1 && args[1] != "":
			spec, used = args[0]+":"+args[1], 2
		case !remote:
			return nil, errors.New("missing target argument")
		default:
			dynamic, used = true, min(len(args), 2)
		}
	}
	f, err := parseForward(spec, dynamic, remote)
	if err != nil {
		return nil, err
	}
	if len(args) > used {
		return nil, errExtra
	}
	if f.dynamic {
		return []string{f.listen.String(), socks}, nil
	}
	return []string{f.listen.String(), f.connect.String()}, nil
}

func parseForward(spec string, dynamic, remote bool) (forward, error) {
	bad := fmt.Errorf("bad forwarding specification %q", spec)
	spec = spec[:min(len(spec), 255)] // as readconf.c's buffer
	spec, err := expandEnv(spec)
	if err != nil {
		return forward{}, bad
	}
	fields, err := forwardFields(strings.TrimLeft(spec, space))
	if err != nil {
		return forward{}, bad
	}
	f, ok := assembleForward(fields)
	n := len(fields)
	switch {
	case !ok, dynamic && n > 2:
		return forward{}, bad
	case !dynamic && n < 3 && f.connect.path == "" && f.listen.path == "":
		return forward{}, bad
	case !dynamic && f.connect.port <= 0 && f.connect.path == "":
		return forward{}, bad
	case f.listen.path == "" && (f.listen.port < 0 || f.listen.port == 0 && !remote):
		return forward{}, bad
	case len(f.connect.host) >= 1025 || len(f.listen.host) >= 1025 || len(f.connect.path) >= 108 || len(f.listen.path) >= 108:
		return forward{}, bad
	}
	return f, nil
}

// forwardField is one part between colons; a slash makes it a path.
type forwardField struct {
	text string
	path bool
}

func (f forwardField) port() int {
	if f.text == "0" {
		return 0
	}
	n, err := servicePort(f.text)
	if err != nil {
		return -1
	}
	return n
}

// forwardFields splits at colons outside brackets; a backslash escapes.
func forwardFields(s string) ([]forwardField, error) {
	bad := errors.New("bad field")
	var out []forwardField
	for s != "" {
		if len(out) == 4 {
			return nil, bad
		}
		if s[0] == '[' {
			text, rest, ok := strings.Cut(s[1:], "]")
			if !ok || rest != "" && rest[0] != ':' {
				return nil, bad
			}
			out = append(out, forwardField{text, strings.Contains(text, "/")})
			s = strings.TrimPrefix(rest, ":")
			continue
		}
		var f forwardField
		var text []byte
		i := 0
		for ; i < len(s) && s[i] != ':'; i++ {
			if s[i] == '\\' {
				if i++; i == len(s) {
					return nil, bad
				}
			} else if s[i] == '/' {
				f.path = true
			}
			text = append(text, s[i])
		}
		f.text = string(text)
		out = append(out, f)
		s = strings.TrimPrefix(s[i:], ":")
	}
	return out, nil
}

func assembleForward(a []forwardField) (f forward, ok bool) {
	onPort := func(p forwardField) side { return side{port: p.port()} }
	onHost := func(h, p forwardField) side { return side{host: h.text, hasHost: true, port: p.port()} }
	onPath := func(p forwardField) side { return side{path: p.text} }
	switch len(a) {
	case 1:
		f.dynamic = true
		if a[0].path {
			f.listen = onPath(a[0])
		} else {
			f.listen = onPort(a[0])
		}
	case 2:
		switch {
		case a[0].path && a[1].path:
			f.listen, f.connect = onPath(a[0]), onPath(a[1])
		case a[1].path:
			f.listen, f.connect = onPort(a[0]), onPath(a[1])
		default:
			f.listen, f.dynamic = onHost(a[0], a[1]), true
		}
	case 3:
		switch {
		case a[0].path:
			f.listen, f.connect = onPath(a[0]), onHost(a[1], a[2])
		case a[2].path:
			f.listen, f.connect = onHost(a[0], a[1]), onPath(a[2])
		default:
			f.listen, f.connect = onPort(a[0]), onHost(a[1], a[2])
		}
	case 4:
		f.listen, f.connect = onHost(a[0], a[1]), onHost(a[2], a[3])
	}
	return f, len(a) > 0
}
