package config

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"ssh-stay/pattern"
)

func systemConfig() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("ProgramData"), "ssh", "ssh_config")
	}
	return "/etc/ssh/ssh_config"
}

// hostName is the HostName in force, or the name as typed; %h in it is the
// name as typed. Case and addresses are as written.
func (e *evaluator) hostName() (string, error) {
	v, ok := e.values["hostname"]
	if !ok {
		return e.Host, nil
	}
	name, err := expand(v.args[0], only('h', e.Host))
	if err != nil {
		return "", fmt.Errorf("%s: hostname: %w", v.pos, err)
	}
	return name, nil
}

// matchHost is what Match host and tokens mean by the host at this point.
func (e *evaluator) matchHost() (string, error) {
	if e.final {
		return e.host, nil
	}
	return e.hostName()
}

func (e *evaluator) user() string {
	if e.User != "" {
		return e.User
	}
	return e.word("user", e.LocalUser)
}

func (e *evaluator) port() string {
	if e.Port != 0 {
		return strconv.Itoa(e.Port)
	}
	return e.word("port", "22")
}

// tokens looks tokens of ssh_config(5) up. %C and %j changed their meaning with
// OpenSSH's versions, so ssh is asked for them.
func (e *evaluator) tokens(host, keyAlias, user string) lookup {
	return func(c byte) (string, error) {
		switch c {
		case 'C', 'j':
			return e.token(c, host)
		case 'd':
			return e.Home, nil
		case 'h':
			return host, nil
		case 'i':
			return strconv.Itoa(os.Getuid()), nil
		case 'k':
			return e.word("hostkeyalias", keyAlias), nil
		case 'L', 'l':
			name, _ := os.Hostname()
			if c == 'L' {
				name, _, _ = strings.Cut(name, ".")
			}
			return name, nil
		case 'n':
			return e.Host, nil
		case 'p':
			return e.port(), nil
		case 'r':
			if user != "" {
				return user, nil
			}
		case 'u':
			return e.LocalUser, nil
		}
		return "", errUnknownKey
	}
}

// lookup tells what a token stands for; errUnknownKey for nothing.
type lookup func(c byte) (string, error)

var errUnknownKey = errors.New("unknown key")

// only is the lookup of one token.
func only(token byte, text string) lookup {
	return func(c byte) (string, error) {
		if c == token {
			return text, nil
		}
		return "", errUnknownKey
	}
}

// expandTokens expands the tokens of Match exec and Include.
func (e *evaluator) expandTokens(s string) (string, error) {
	host, err := e.matchHost()
	if err != nil {
		return "", err
	}
	return expand(s, e.tokens(host, host, e.user()))
}

// expandEnvTokens expands ${ENV} as well; what comes from it is not looked at
// again.
func (e *evaluator) expandEnvTokens(s string) (string, error) {
	host, err := e.matchHost()
	if err != nil {
		return "", err
	}
	return expandBoth(s, true, e.tokens(host, host, e.user()))
}

// expandValue expands a value once all files are read: %k is then the name as
// typed where there is no HostKeyAlias.
func (e *evaluator) expandValue(s string, env bool) (string, error) {
	return expandBoth(s, env, e.tokens(e.host, e.Host, e.user()))
}

// expandPath expands ~, then tokens and ${ENV}.
func (e *evaluator) expandPath(s string) (string, error) {
	s, err := e.tilde(s)
	if err != nil {
		return "", err
	}
	return e.expandValue(s, true)
}

// expand replaces %x by what lookup says; %% is a per cent sign.
func expand(s string, look lookup) (string, error) {
	return expandBoth(s, false, look)
}

func expandBoth(s string, env bool, look lookup) (string, error) {
	if !strings.ContainsAny(s, "%$") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case env && strings.HasPrefix(s[i:], "${"):
			name, _, ok := strings.Cut(s[i+2:], "}")
			if !ok || name == "" {
				return "", fmt.Errorf("bad environment variable in %q", s)
			}
			v, ok := os.LookupEnv(name)
			if !ok {
				return "", fmt.Errorf("environment variable %s is not set", name)
			}
			b.WriteString(v)
			i += len(name) + 2
		case s[i] != '%' || look == nil:
			b.WriteByte(s[i])
		case i+1 == len(s):
			return "", fmt.Errorf("%q ends in a lone %%", s)
		case s[i+1] == '%':
			b.WriteByte('%')
			i++
		default:
			i++
			v, err := look(s[i])
			if err != nil {
				return "", fmt.Errorf("%w %%%c in %q", err, s[i], s)
			}
			b.WriteString(v)
		}
	}
	return b.String(), nil
}

// expandEnv expands ${ENV} alone.
func expandEnv(s string) (string, error) { return expandBoth(s, true, nil) }

// Tilde expands ~ and ~user at the start of a path on ssh's command line: ~ is the home
// that the password database knows.
func Tilde(path string) (string, error) {
	var q Query
	if err := q.fill(); err != nil {
		return "", err
	}
	return tilde(path, q.Home)
}

// tilde expands ~ and ~user at the start of a path (tilde_expand, misc.c).
func (e *evaluator) tilde(s string) (string, error) { return tilde(s, e.Home) }

func tilde(s, home string) (string, error) {
	if !strings.HasPrefix(s, "~") {
		return s, nil
	}
	name, rest, _ := strings.Cut(s[1:], "/")
	if name != "" {
		var err error
		if home, err = homeOf(name); err != nil {
			return "", fmt.Errorf("no such user %s: %w", name, err)
		}
	}
	return strings.TrimSuffix(home, "/") + "/" + strings.TrimLeft(rest, "/"), nil
}

// homeOf asks the password database, and getent(1) for users that a static
// binary does not see there.
func homeOf(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u = systemUser(name); u == nil {
			return "", err
		}
	}
	return u.HomeDir, nil
}

// systemUser asks getent(1) for a user by name or number; nil if there is none.
func systemUser(key string) *user.User {
	out, err := exec.Command("getent", "passwd", "--", key).Output()
	fields := strings.Split(strings.TrimSpace(string(out)), ":")
	if err != nil || len(fields) < 7 {
		return nil
	}
	return &user.User{Username: fields[0], HomeDir: fields[5]}
}

// isOwnCommand says whether a ProxyCommand runs `ssh-stay proxy`.
func isOwnCommand(command, self string) bool {
	args, err := words(command)
	if err != nil {
		return false
	}
	if len(args) > 0 && args[0] == "exec" {
		args = args[1:]
	}
	if len(args) < 2 || args[1] != "proxy" {
		return false
	}
	base := args[0][strings.LastIndexAny(args[0], `/\`)+1:]
	base = strings.TrimSuffix(base, ".exe")
	if base == "ssh" && (len(args) < 3 || args[2] != "--alias") {
		return false // a host named proxy; we may be a file named ssh
	}
	called := filepath.Base(os.Args[0])
	return base == "ssh-stay" || base == self || base == strings.TrimSuffix(called, ".exe")
}

func selfName() string {
	exe, err := os.Executable()
	if err != nil {
		return "ssh-stay"
	}
	return strings.TrimSuffix(filepath.Base(exe), ".exe")
}

// ExpandCommand expands the tokens that ssh allows in a ProxyCommand. The
// command goes to the user's shell, so names that came from a command line
// must have passed CheckHost, and the user, where it stands there, CheckUser. host
// and port are what the command shall reach.
func (s *Settings) ExpandCommand(host string, port int) (string, error) {
	for _, name := range []string{host, s.Alias, s.keyName()} {
		if err := CheckHost(name); err != nil {
			return "", err
		}
	}
	return expand(s.ProxyCommand, s.proxyTokens(host, port))
}

// ExpandJumps is Jumps with their tokens expanded, which are those of a ProxyCommand:
// that is what ssh makes of ProxyJump. host and port are what the jumps shall reach.
func (s *Settings) ExpandJumps(host string, port int) ([]Jump, error) {
	jumps := slices.Clone(s.Jumps)
	tokens := s.proxyTokens(host, port)
	for i := range jumps {
		j := &jumps[i]
		var err error
		if strings.Contains(j.Host, "%") {
			if j.Host, err = expand(j.Host, tokens); err == nil {
				err = CheckHost(j.Host)
			}
		}
		if err == nil && strings.Contains(j.User, "%") {
			if j.User, err = expand(j.User, tokens); err == nil {
				err = CheckUser(j.User)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return jumps, nil
}

// proxyTokens are those of ProxyCommand and ProxyJump.
func (s *Settings) proxyTokens(host string, port int) func(c byte) (string, error) {
	return func(c byte) (string, error) {
		switch c {
		case 'h':
			return host, nil
		case 'k':
			return pattern.Lower(s.keyName()), nil
		case 'n':
			return s.Alias, nil
		case 'p':
			return strconv.Itoa(port), nil
		case 'r':
			return s.User, CheckUser(s.User)
		}
		return "", errUnknownKey
	}
}

// ExpandKnownHostsCommand is the arguments of KnownHostsCommand, with tokens of
// its own beside the usual ones.
func (s *Settings) ExpandKnownHostsCommand(tokens map[byte]string) ([]string, error) {
	args, err := words(s.KnownHostsCommand)
	if err != nil {
		return nil, err
	}
	usual := s.eval.tokens(s.HostName, s.Alias, s.User)
	for i, arg := range args {
		args[i], err = expandBoth(arg, true, func(c byte) (string, error) {
			if text, ok := tokens[c]; ok {
				return text, nil
			}
			return usual(c)
		})
		if err != nil {
			return nil, err
		}
	}
	return args, nil
}

// AtLeast10_1 says whether the installed ssh is OpenSSH 10.1 or newer.
func (s *Settings) AtLeast10_1() bool { return s.eval.ssh().version >= v10_1 }

func (s *Settings) keyName() string {
	if s.HostKeyAlias != "" {
		return s.HostKeyAlias
	}
	return s.Alias
}
