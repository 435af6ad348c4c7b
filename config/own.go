package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// isOwnCommand says whether a ProxyCommand runs `ssh-stay proxy`.
func isOwnCommand(command, self string) bool {
	_, own := ownFlags(command, self)
	return own
}

// isOwn says whether a line sets our own ProxyCommand.
func (l line) isOwn(self string) bool {
	return l.keyword == "proxycommand" && isOwnCommand(l.command(), self)
}

// command is the text of a ProxyCommand.
func (l line) command() string { return strings.TrimLeft(l.rest, blanks+"=") }

// ownFlags are the words behind `ssh-stay proxy`, where a ProxyCommand runs that.
func ownFlags(command, self string) (flags []string, own bool) {
	args, err := words(command)
	if err != nil {
		return nil, false
	}
	if len(args) > 0 && args[0] == "exec" {
		args = args[1:]
	}
	if len(args) < 2 || args[1] != "proxy" {
		return nil, false
	}
	base := args[0][strings.LastIndexAny(args[0], `/\`)+1:]
	base = strings.TrimSuffix(base, ".exe")
	if base == "ssh" && (len(args) < 3 || args[2] != "--alias") {
		return nil, false // a host named proxy; we may be a file named ssh
	}
	called := filepath.Base(os.Args[0])
	own = base == "ssh-stay" || base == self || base == strings.TrimSuffix(called, ".exe")
	return args[2:], own
}

func selfName() string {
	exe, err := os.Executable()
	if err != nil {
		return "ssh-stay"
	}
	return strings.TrimSuffix(filepath.Base(exe), ".exe")
}

// appendLine appends a line and, behind our own ProxyCommand, what its flags set.
// ssh runs that command for the host itself alone: as a jump host, or under the
// wrapper, a host is reached without it, and shall be reached in the same way.
func appendLine(lines []line, l line, self string) ([]line, error) {
	lines = append(lines, l)
	if !l.isOwn(self) {
		return lines, nil
	}
	flags, _ := ownFlags(l.command(), self)
	set, err := settingsOf(flags)
	if err != nil {
		return nil, failAt(l, err)
	}
	for _, text := range set {
		setting, ok := scanLine(text)
		if kw, _ := find(setting.keyword); kw.form == refused {
			return nil, failAt(l, fmt.Errorf("%s cannot be an option", setting.keyword))
		}
		if ok {
			setting.pos, setting.own = l.pos, true
			lines = append(lines, setting)
		}
	}
	return lines, nil
}

// settingsOf are the settings that flags of `ssh-stay proxy` make, as KEY=VALUE.
func settingsOf(flags []string) ([]string, error) {
	if end := slices.IndexFunc(flags, func(word string) bool { return strings.ContainsAny(word, "|&;<>") }); end >= 0 {
		flags = flags[:end] // the shell's
	}
	fs := pflag.NewFlagSet("proxy", pflag.ContinueOnError)
	fs.Usage = func() {}
	jump := fs.StringP("jump", "J", "", "")
	options := fs.StringArrayP("option", "o", nil, "")
	v4 := fs.BoolP("ipv4", "4", false, "")
	v6 := fs.BoolP("ipv6", "6", false, "")
	fs.CountP("verbose", "v", "")
	fs.StringP("config", "F", "", "")
	for _, name := range []string{"alias", "user", "log", "config-engine"} {
		fs.String(name, "", "")
	}
	if err := fs.Parse(flags); err != nil {
		return nil, fmt.Errorf("ssh-stay proxy: %w", err)
	}
	var set []string
	if *v6 {
		set = append(set, "AddressFamily=inet6")
	}
	if *v4 {
		set = append(set, "AddressFamily=inet")
	}
	if *jump != "" {
		set = append(set, "ProxyJump="+*jump)
	}
	return append(set, *options...), nil
}
