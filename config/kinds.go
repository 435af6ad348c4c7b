package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"ssh-stay/pattern"
)

// read reads the words of one setting as readconf.c does, and returns them as
// `ssh -G` prints them. Without words and error, the setting stays unset.
func (kw keyword) read(args []string) ([]string, error) {
	switch {
	case kw.choices != "":
		return choice(args, kw.choices)
	case kw.word != nil:
		return one(args, kw.word)
	}
	return kw.words(args)
}

var (
	errMissing = errors.New("missing argument")
	errExtra   = errors.New("extra arguments at end of line")
)

// one reads exactly one word.
func one(args []string, read func(string) (string, error)) ([]string, error) {
	switch {
	case len(args) == 0 || args[0] == "":
		return nil, errMissing
	case len(args) > 1:
		return nil, errExtra
	}
	s, err := read(args[0])
	if err != nil || s == "" {
		return nil, err
	}
	return []string{s}, nil
}

func text(s string) (string, error) { return s, nil }

// ignored reads what ssh passes over.
func ignored([]string) ([]string, error) { return nil, nil }

const yesNo = "yes true|no false"

// choice reads one of some words. Of a group of synonyms the first is printed.
func choice(args []string, groups string) ([]string, error) {
	return one(args, func(s string) (string, error) {
		for group := range strings.SplitSeq(groups, "|") {
			for name := range strings.FieldsSeq(group) {
				if strings.EqualFold(name, s) {
					first, _, _ := strings.Cut(group, " ")
					return first, nil
				}
			}
		}
		return "", fmt.Errorf("unsupported option %q", s)
	})
}

// strtonum reads a decimal number as OpenBSD's strtonum, which takes leading
// blanks and a sign.
func strtonum(s string, limit int64) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimLeft(s, space), 10, 64)
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("integer value %q invalid", s)
	}
	return n, nil
}

func number(s string) (string, error) {
	n, err := strtonum(s, math.MaxInt32)
	return strconv.FormatInt(n, 10), err
}

func port(s string) (string, error) {
	n, err := servicePort(s)
	return strconv.Itoa(n), err
}

// ParsePort parses a TCP port, 1 to 65535.
func ParsePort(s string) (int, error) {
	n, err := strtonum(s, math.MaxUint16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("bad port %q: want 1 to 65535", s)
	}
	return int(n), nil
}

// servicePort is ParsePort, and takes the name of a service as well.
func servicePort(s string) (int, error) {
	n, err := ParsePort(s)
	if err != nil && strings.ContainsFunc(s, unicode.IsLetter) && s == pattern.Lower(s) {
		if service, lookupErr := net.LookupPort("tcp", s); lookupErr == nil {
			return service, nil
		}
	}
	return n, err
}

// interval reads a time; "none" leaves it to later lines.
func interval(s string) (string, error) {
	if s == "none" {
		return "", nil
	}
	d, err := ParseTime(s)
	return strconv.FormatInt(seconds(d), 10), err
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// ParseTime parses the TIME FORMATS of sshd_config(5): 90, 1m30s, 2h, 1d, 1w.
func ParseTime(s string) (time.Duration, error) {
	units := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}
	var total int64
	for rest := s; rest != ""; {
		number := rest[:len(rest)-len(strings.TrimLeft(rest, space))]
		digits := strings.TrimLeft(rest, space+"+-0123456789")
		number, rest = rest[len(number):len(rest)-len(digits)], digits
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("invalid time value %q", s)
		}
		unit := int64(1)
		if rest != "" {
			if unit = units[rest[0]|0x20]; unit == 0 {
				return 0, fmt.Errorf("invalid time value %q", s)
			}
			rest = rest[1:]
		}
		if n > math.MaxInt32/unit || total+n*unit > math.MaxInt32 {
			return 0, fmt.Errorf("time value %q is too large", s)
		}
		total += n * unit
	}
	if s == "" {
		return 0, errors.New("missing time value")
	}
	return time.Duration(total) * time.Second, nil
}

// several reads a list of words. An empty one is an error, and so are those of
// alone in company. check may change a word.
func several(args []string, alone string, check func(string) (string, error)) ([]string, error) {
	var out []string
	for _, arg := range args {
		if arg == "" {
			return nil, errors.New("empty argument")
		}
		if word := strings.ToLower(arg); strings.Contains(" "+alone+" ", " "+word+" ") {
			if len(args) > 1 {
				return nil, fmt.Errorf("%q argument must appear alone", arg)
			}
		}
		arg, err := check(arg)
		if err != nil {
			return nil, err
		}
		out = append(out, arg)
	}
	return out, nil
}

func files(args []string) ([]string, error)           { return several(args, "none", text) }
func domains(args []string) ([]string, error)         { return several(args, "none", domain) }
func cnames(args []string) ([]string, error)          { return several(args, "none", cname) }
func channelTimeouts(args []string) ([]string, error) { return several(args, "none", channelTimeout) }
func remoteOpens(args []string) ([]string, error)     { return several(args, "none any", remoteOpen) }

// domain is valid_domain (misc.c): the name in lower case, without its last dot.
func domain(name string) (string, error) {
	name = strings.ToLower(name)
	valid := regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*\.?$`)
	if !valid.MatchString(name) {
		return "", fmt.Errorf("domain name %q is not valid", name)
	}
	return strings.TrimSuffix(name, "."), nil
}

// cname is a rule of CanonicalizePermittedCNAMEs, SOURCES:TARGETS.
func cname(rule string) (string, error) {
	switch {
	case rule == "*":
		return "*:*", nil
	case strings.EqualFold(rule, "none"):
		return "none", nil
	}
	rule = pattern.Lower(rule)
	if _, to, ok := strings.Cut(rule, ":"); !ok || to == "" {
		return "", fmt.Errorf("invalid permitted CNAME %q", rule)
	}
	return rule, nil
}

// channelTimeout is a TYPE=TIME of ChannelTimeout (OpenSSH 9.5).
func channelTimeout(arg string) (string, error) {
	name, limit, ok := strings.Cut(arg, "=")
	if strings.EqualFold(arg, "none") {
		return arg, nil
	}
	if _, err := ParseTime(limit); err != nil || !ok || name == "" {
		return "", fmt.Errorf("invalid channel timeout %q", arg)
	}
	return arg, nil
}

// remoteOpen is a HOST:PORT of PermitRemoteOpen.
func remoteOpen(arg string) (string, error) {
	if strings.EqualFold(arg, "any") || strings.EqualFold(arg, "none") {
		return arg, nil
	}
	rest := arg
	if strings.HasPrefix(rest, "[") {
		_, after, ok := strings.Cut(rest, "]")
		if !ok {
			return "", fmt.Errorf("missing host in %q", arg)
		}
		rest = after
	}
	i := strings.IndexAny(rest, ":/")
	if i < 0 || rest[i] == '/' || rest != arg && i > 0 {
		return "", fmt.Errorf("bad port number in %q", arg)
	}
	if p := rest[i+1:]; p != "*" {
		if _, err := servicePort(p); err != nil {
			return "", err
		}
	}
	return arg, nil
}

func sendEnv(args []string) ([]string, error) { return environment(args, false) }
func setEnv(args []string) ([]string, error)  { return environment(args, true) }

// environment reads an array of words that hold an = sign, or none.
func environment(args []string, assigned bool) ([]string, error) {
	var out []string
	have := map[string]bool{}
	for _, arg := range args {
		name, _, ok := strings.Cut(arg, "=")
		if ok != assigned || arg == "" {
			return nil, fmt.Errorf("invalid environment %q", arg)
		}
		if !have[name] || !assigned {
			out = append(out, arg)
		}
		have[name] = true
	}
	return out, nil
}
