package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// QUIET stands for SILENT where Debian's patch takes it: they mean the same.
const logLevels = "SILENT QUIET|FATAL|ERROR|INFO|VERBOSE|DEBUG DEBUG1|DEBUG2|DEBUG3"

const facilities = "DAEMON|USER|AUTH|AUTHPRIV|LOCAL0|LOCAL1|LOCAL2|LOCAL3|LOCAL4|LOCAL5|LOCAL6|LOCAL7"

// escapeChar reads a character, ^X or none.
func escapeChar(s string) (string, error) {
	switch {
	case s == "none":
		return s, nil
	case len(s) == 1:
		return visible(s[0]), nil
	case len(s) == 2 && s[0] == '^' && s[1] >= 64 && s[1] < 128:
		return visible(s[1] & 31), nil
	}
	return "", fmt.Errorf("bad escape character %q", s)
}

// visible is vis(3) with VIS_WHITE.
func visible(c byte) string {
	switch {
	case c == ' ':
		return `\040`
	case c == '\\':
		return `\\`
	case c > ' ' && c < 0x7f:
		return string(rune(c))
	case c == 0xa0:
		return `\240`
	}
	prefix := `\`
	if c&0x80 != 0 {
		c, prefix = c&0x7f, `\M`
	}
	switch {
	case c == 0x7f:
		return prefix + "^?"
	case c < ' ':
		return prefix + "^" + string(rune(c+'@'))
	}
	return prefix + "-" + string(rune(c))
}

// qosNames are the words of IPQoS. Values shared by two words print the first.
func qosNames() []string {
	return []string{"none", "af11", "af12", "af13", "af21", "af22", "af23", "af31", "af32", "af33", "af41", "af42", "af43",
		"cs0", "cs1", "cs2", "cs3", "cs4", "cs5", "cs6", "cs7", "ef", "le", "lowdelay", "throughput", "reliability"}
}

// qos reads IPQoS: names or numbers, one for all traffic, or interactive and bulk.
func qos(args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, errMissing
	}
	if len(args) > 2 {
		return nil, errExtra
	}
	var out []string
	for _, arg := range args {
		name := strings.ToLower(arg)
		if _, ok := strtol(name, 255); !ok && !slices.Contains(qosNames(), name) {
			return nil, fmt.Errorf("bad IPQoS value %q", arg)
		}
		out = append(out, name)
	}
	return []string{out[0], out[len(out)-1]}, nil
}

// strtol reads a number in C's notation, decimal, octal or hexadecimal.
func strtol(s string, limit int) (int, bool) {
	s = strings.TrimPrefix(strings.TrimLeft(s, space), "+")
	if strings.ContainsAny(s, "_oObB+-") && !strings.HasPrefix(s, "0x") {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 0, 31)
	return int(n), err == nil && int(n) <= limit
}

// qosName is a word of IPQoS as ssh prints it: numbers by name. Since OpenSSH
// 10.1 lowdelay, throughput and reliability mean none.
func (d dialect) qosName(word string) string {
	names := qosNames()
	values := []int{-1, 0x28, 0x30, 0x38, 0x48, 0x50, 0x58, 0x68, 0x70, 0x78, 0x88, 0x90, 0x98,
		0, 0x20, 0x40, 0x60, 0x80, 0xa0, 0xc0, 0xe0, 0xb8, 0x04, 0x10, 0x08, 0x04}
	gone := len(names) - 3 // where those begin
	i := slices.Index(names, word)
	n, number := strtol(word, 255)
	switch {
	case number:
		if i = slices.Index(values, n); i < 0 || i >= gone && d.version >= v10_1 {
			return fmt.Sprintf("0x%02x", n)
		}
	case i >= gone && d.version >= v10_1:
		return "none"
	case word == "reliability": // the same byte
		return "le"
	}
	return names[i]
}

// rekeyLimit reads a size and, when given, a time. Its two halves are settled by
// themselves (readconf.c): an empty second one leaves the time to later lines.
func rekeyLimit(args []string) ([]string, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, errMissing
	}
	size := int64(0)
	if args[0] != "default" {
		var err error
		if size, err = scaled(args[0]); err != nil {
			return nil, err
		}
		if size != 0 && size < 16 {
			return nil, errors.New("RekeyLimit too small")
		}
	}
	out := []string{strconv.FormatUint(uint64(size), 10), ""}
	if len(args) == 1 || args[1] == "none" && len(args) == 2 {
		return out, nil
	}
	time, err := one(args[1:], interval)
	if err == nil && len(time) > 0 {
		out[1] = time[0]
	}
	return out, err
}

// scaled reads a number with a unit of 1024s (fmt_scaled.c). A fraction counts
// where a unit follows.
func scaled(s string) (int64, error) {
	bad := fmt.Errorf("bad number %q", s)
	m := regexp.MustCompile(`^[ \t\n\v\f\r]*([-+]?)([0-9]*)(?:\.([0-9]*))?(?:$|([bBkKmMgGtTpPeE])(?:$|[^a-zA-Z0-9]))`).FindStringSubmatch(s)
	if m == nil {
		return 0, bad
	}
	var whole int64
	if m[2] != "" {
		var err error
		if whole, err = strconv.ParseInt(m[2], 10, 64); err != nil || len(m[2]) > 18 {
			return 0, bad
		}
	}
	unit := int64(1)
	if m[4] != "" {
		unit <<= 10 * strings.Index("bkmgtpe", strings.ToLower(m[4]))
	}
	if whole > math.MaxInt64/unit {
		return 0, bad
	}
	whole *= unit
	if m[3] != "" && m[4] != "" {
		digits := m[3][:min(len(m[3]), 17)]
		f, _ := strconv.ParseFloat("0."+digits, 64)
		whole += int64(f * float64(unit))
	}
	if m[1] == "-" {
		whole = -whole
	}
	return whole, nil
}

// tunnelDevice reads LOCAL[:REMOTE], numbers or "any".
func tunnelDevice(s string) (string, error) {
	unit := func(s string) (string, error) {
		if strings.EqualFold(s, "any") {
			return "any", nil
		}
		n, err := strtonum(s, math.MaxInt32-2)
		return strconv.FormatInt(n, 10), err
	}
	local, remote, ok := strings.Cut(s, ":")
	if !ok {
		remote = "any"
	}
	l, err := unit(local)
	if err != nil {
		return "", errors.New("bad tun device")
	}
	r, err := unit(remote)
	if err != nil {
		return "", errors.New("bad tun device")
	}
	return l + ":" + r, nil
}

// bindMask reads octal digits up to the first that is none.
func bindMask(s string) (string, error) {
	t := strings.TrimLeft(s, space)
	negative := strings.HasPrefix(t, "-")
	t = strings.TrimPrefix(strings.TrimPrefix(t, "-"), "+")
	end := strings.IndexFunc(t, func(r rune) bool { return r < '0' || r > '7' })
	if end < 0 {
		end = len(t)
	}
	n, err := strconv.ParseInt(t[:end], 8, 64)
	if err != nil || n > 0o777 || negative && n > 0 {
		return "", fmt.Errorf("bad mask %q", s)
	}
	return fmt.Sprintf("0%o", n), nil
}

// persist reads ControlPersist: yes, no, or a time that 0 makes endless.
func persist(s string) (string, error) {
	switch s {
	case "yes", "true":
		return "yes", nil
	case "no", "false":
		return "no", nil
	}
	d, err := ParseTime(s)
	if d == 0 && err == nil {
		return "yes", nil
	}
	return strconv.FormatInt(seconds(d), 10), err
}

// addKeys reads AddKeysToAgent: a word, a time, or "confirm" and a time.
func addKeys(args []string) ([]string, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, errMissing
	}
	if len(args) > 2 {
		return nil, errExtra
	}
	word, err := choice(args[:1], "true yes|false no|ask|confirm")
	var lifetime string
	switch {
	case err == nil && len(args) == 1:
		return word, nil
	case err == nil && word[0] == "confirm":
		lifetime = args[1]
	case err != nil && len(args) == 1:
		lifetime = args[0]
	default:
		return nil, errors.New("unsupported option")
	}
	d, err := ParseTime(lifetime)
	if err != nil {
		return nil, err
	}
	out := []string{strconv.FormatInt(seconds(d), 10)}
	switch {
	case len(args) == 1 && d == 0:
		return []string{"true"}, nil
	case len(args) == 2 && d == 0:
		return []string{"confirm"}, nil
	case len(args) == 2:
		out = append([]string{"confirm"}, out...)
	}
	return out, nil
}

// forwardAgent reads ForwardAgent: yes, no, or what agentPath reads.
func forwardAgent(args []string) ([]string, error) {
	if out, err := choice(args, yesNo); err == nil || len(args) != 1 || args[0] == "" {
		return out, err
	}
	return one(args, agentPath)
}

// agentPath reads a path, $NAME or a path with ${NAME}; the names must be set.
func agentPath(s string) (string, error) {
	if _, err := expandEnv(s); err != nil {
		return "", err
	}
	name, ok := strings.CutPrefix(s, "$")
	if ok && !strings.HasPrefix(name, "{") && !regexp.MustCompile(`^[A-Za-z0-9_]+$`).MatchString(name) {
		return "", fmt.Errorf("invalid environment name %q", s)
	}
	return s, nil
}

// keystrokes reads ObscureKeystrokeTiming (OpenSSH 9.5).
func keystrokes(s string) (string, error) {
	if ms, ok := strings.CutPrefix(s, "interval:"); ok {
		n, err := strtonum(ms, 1000)
		if err == nil && n == 0 {
			err = errors.New("value out of range")
		}
		if n == 20 {
			return "yes", err
		}
		return strconv.FormatInt(n, 10), err
	}
	if yes, err := choice([]string{s}, yesNo); err == nil {
		return yes[0], nil
	}
	return "", fmt.Errorf("unsupported argument %q", s)
}
