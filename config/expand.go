package config

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

func systemConfig() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("ProgramData"), "ssh", "ssh_config")
	}
	return "/etc/ssh/ssh_config"
}

// hostName is the HostName in force, or the name as typed; %h in it is the
// name as typed.
func (e *evaluator) hostName() (string, error) {
	ent, ok := e.values["hostname"]
	if !ok {
		return strings.ToLower(e.Host), nil
	}
	name, err := expand(ent.args[0], func(c byte) (string, bool) {
		if c == 'h' {
			return e.Host, true
		}
		return "", false
	})
	if err != nil {
		return "", fmt.Errorf("%s: hostname: %w", ent.pos, err)
	}
	return strings.ToLower(name), nil
}

func (e *evaluator) user() string {
	if e.User != "" {
		return e.User
	}
	if ent, ok := e.values["user"]; ok {
		return ent.args[0]
	}
	return e.LocalUser
}

func (e *evaluator) port() string {
	if e.Port != 0 {
		return strconv.Itoa(e.Port)
	}
	if ent, ok := e.values["port"]; ok {
		return ent.args[0]
	}
	return "22"
}

// expandTokens expands the tokens of ssh_config(5) TOKENS that paths and
// Match exec take. %C and %j changed meaning after OpenSSH 10.6 and %T needs a
// tunnel: they are errors, never guesses.
func (e *evaluator) expandTokens(s string) (string, error) {
	host, err := e.hostName()
	if err != nil {
		return "", err
	}
	return expand(s, func(c byte) (string, bool) {
		switch c {
		case 'd':
			return e.Home, true
		case 'h':
			return host, true
		case 'i':
			return strconv.Itoa(os.Getuid()), true
		case 'k':
			if ent, ok := e.values["hostkeyalias"]; ok {
				return strings.ToLower(ent.args[0]), true
			}
			return e.Host, true
		case 'L', 'l':
			name, _ := os.Hostname()
			if c == 'L' {
				name, _, _ = strings.Cut(name, ".")
			}
			return name, true
		case 'n':
			return e.Host, true
		case 'p':
			return e.port(), true
		case 'r':
			return e.user(), true
		case 'u':
			return e.LocalUser, true
		}
		return "", false
	})
}

// expand replaces %x by what lookup says; %% is a per cent sign.
func expand(s string, lookup func(c byte) (string, bool)) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf("%q ends in a lone %%", s)
		}
		if s[i] == '%' {
			b.WriteByte('%')
			continue
		}
		v, ok := lookup(s[i])
		if !ok {
			return "", fmt.Errorf("unknown key %%%c in %q", s[i], s)
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

// expandPath expands ${ENV}, tokens and a leading ~, in that order of meaning.
func (e *evaluator) expandPath(s string) (string, error) {
	s, err := expandEnv(s)
	if err != nil {
		return "", err
	}
	if s, err = e.tilde(s); err != nil {
		return "", err
	}
	return e.expandTokens(s)
}

func expandEnv(s string) (string, error) {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, "${")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		name, rest, ok := strings.Cut(after, "}")
		if !ok {
			return "", fmt.Errorf("no closing } in %q", s)
		}
		v, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("environment variable %s is not set", name)
		}
		b.WriteString(v)
		s = rest
	}
}

// tilde expands ~ and ~user at the start of a path.
func (e *evaluator) tilde(s string) (string, error) {
	if !strings.HasPrefix(s, "~") {
		return s, nil
	}
	name, rest, _ := strings.Cut(s[1:], "/")
	home := e.Home
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return "", fmt.Errorf("no such user %s: %w", name, err)
		}
		home = u.HomeDir
	}
	return filepath.Join(home, rest), nil
}

// ExpandCommand expands the tokens that ssh allows in a ProxyCommand. The
// command goes to the user's shell, so names that came from a command line
// must have passed CheckHost and CheckUser. host and port are what the command
// shall reach.
func (s *Settings) ExpandCommand(host string, port int) (string, error) {
	for _, name := range []string{host, s.Alias, s.keyName()} {
		if err := CheckHost(name); err != nil {
			return "", err
		}
	}
	if err := CheckUser(s.User); err != nil {
		return "", err
	}
	return expand(s.ProxyCommand, func(c byte) (string, bool) {
		switch c {
		case 'h':
			return host, true
		case 'k':
			return strings.ToLower(s.keyName()), true
		case 'n':
			return s.Alias, true
		case 'p':
			return strconv.Itoa(port), true
		case 'r':
			return s.User, true
		}
		return "", false
	})
}

func (s *Settings) keyName() string {
	if s.HostKeyAlias != "" {
		return s.HostKeyAlias
	}
	return s.Alias
}
