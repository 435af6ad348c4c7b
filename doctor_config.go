package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"ssh-stay/config"
	"ssh-stay/doctor"
	"ssh-stay/state"
	"ssh-stay/wrapper"
)

// checkConfig tells what the configuration comes to, and what decides.
func (x *exam) checkConfig(ctx context.Context) []doctor.Finding {
	if x.err != nil {
		return one(finding(doctor.Fail, x.fixConfig(x.err), "%v", x.err))
	}
	var found []doctor.Finding
	for i, st := range x.way {
		name := st.told["hostname"]
		text := fmt.Sprintf("%s is %s%s port %d%s user %s%s", st.s.Alias, st.s.HostName, name.at(),
			st.s.Port, st.told["port"].at(), st.s.User, st.told["user"].at())
		if i > 0 {
			text += ", behind " + x.way[i-1].s.Alias + st.told["proxyjump"].at()
		} else if st.s.ProxyCommand != "" {
			text += ", by ProxyCommand" + st.told["proxycommand"].at()
		}
		found = append(found, fine("%s", text))
	}
	for _, st := range x.way {
		found = append(found, compareEngines(ctx, st)...)
	}
	return slices.Concat(found, x.checkMode(), x.checkInstalled(ctx))
}

// fixConfig is what may help against an error of the configuration. ssh's own
// words for a file that others may write are part of ssh's interface.
func (x *exam) fixConfig(err error) string {
	if hint := hints(err, x.alias); len(hint) > 0 {
		return strings.Join(hint, "\n")
	}
	if _, file, ok := strings.Cut(err.Error(), "Bad owner or permissions on "); ok {
		return fmt.Sprintf("chmod go-w %s && chown \"$(id -un)\" %s", shellWord(file), shellWord(file))
	}
	return "ssh -G " + x.sshFlags() + shellWord(x.alias) + "    # what ssh itself says of it"
}

// sshFlags are ours as far as ssh has them too, with a blank after each.
func (x *exam) sshFlags() string {
	if x.file == "" {
		return ""
	}
	return "-F " + shellWord(x.file) + " "
}

// shellWord quotes what needs it.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%_+=:,./-", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// maxDifferences is how many lines are shown that two engines differ in.
const maxDifferences = 5

// compareEngines has both evaluate the files of a host.
func compareEngines(ctx context.Context, st *station) []doctor.Finding {
	ours, err := printed(ctx, st.query, config.EngineBuiltin)
	if cannot := (*config.UnsupportedError)(nil); errors.As(err, &cannot) {
		return one(finding(doctor.Note, "", "%s: ssh -G is asked, at some 5 ms each time: %v", st.s.Alias, err))
	}
	if err != nil {
		return one(finding(doctor.Warn, "ProxyCommand ssh-stay proxy --config-engine ssh --alias '%n' --user '%r' %h %p",
			"%s: only ssh -G can read the configuration: %v", st.s.Alias, err))
	}
	theirs, err := printed(ctx, st.query, config.EngineSSH)
	if errors.Is(err, exec.ErrNotFound) {
		return one(finding(doctor.Note, "", "no ssh in PATH to compare the configuration with"))
	}
	if err != nil {
		return one(finding(doctor.Warn, "ssh -G "+shellWord(st.s.Alias), "%s: ssh -G does not take the configuration: %v", st.s.Alias, err))
	}
	var differ []string
	for _, line := range ours {
		if !slices.Contains(theirs, line) {
			differ = append(differ, "ours "+strconv.Quote(line))
		}
	}
	for _, line := range theirs {
		if !slices.Contains(ours, line) {
			differ = append(differ, "ssh's "+strconv.Quote(line))
		}
	}
	if len(differ) == 0 {
		return one(fine("%s: ssh -G agrees with all %d lines", st.s.Alias, len(ours)))
	}
	return one(finding(doctor.Warn, "ProxyCommand ssh-stay proxy --config-engine ssh --alias '%n' --user '%r' %h %p",
		"%s: ssh -G reads the configuration otherwise: %s", st.s.Alias, strings.Join(differ[:min(len(differ), maxDifferences)], ", ")))
}

// printed are the lines of `ssh-stay config`.
func printed(ctx context.Context, q config.Query, e config.Engine) ([]string, error) {
	q.Engine = e
	s, err := config.Resolve(ctx, q)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := s.Print(&out, false); err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n"), nil
}

// checkMode looks at the file of -F, which ssh reads whoever may write it. Of
// ~/.ssh/config, and of what it includes, that would have been an error.
func (x *exam) checkMode() []doctor.Finding {
	if x.file == "" || strings.EqualFold(x.file, "none") || runtime.GOOS == "windows" {
		return nil
	}
	info, err := os.Stat(x.file)
	if err != nil || info.Mode().Perm()&0o022 == 0 {
		return nil
	}
	return one(finding(doctor.Warn, "chmod go-w "+shellWord(x.file), "%s has mode %04o: others may write it, and with it decide what you run",
		x.file, info.Mode().Perm()))
}

// checkInstalled asks ssh whether it would run us for the host.
func (x *exam) checkInstalled(ctx context.Context) []doctor.Finding {
	args := []string{"-G"}
	if x.file != "" {
		args = append(args, "-F", x.file)
	}
	cmd := exec.CommandContext(ctx, "ssh", append(args, "--", x.alias)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil // compareEngines has told
	}
	for line := range strings.Lines(string(out)) {
		if command, ok := strings.CutPrefix(line, "proxycommand "); ok && isOurs(command) {
			return one(fine("ssh %s goes through ssh-stay", x.alias))
		}
	}
	if sshIsOurs() {
		return one(fine("ssh in PATH is ssh-stay"))
	}
	fix := "ssh-stay setup " + shellWord(x.alias)
	if !strings.EqualFold(x.file, "none") {
		fix = "ssh-stay setup " + x.sshFlags() + shellWord(x.alias)
	}
	if jump := x.target().told["proxyjump"]; strings.Contains(string(out), "\nproxyjump ") {
		fix += "    # or put its ProxyCommand above the ProxyJump" + jump.at() + ": the first of the two counts"
	}
	return one(finding(doctor.Warn, fix, "ssh %s does not go through ssh-stay: it is not its ProxyCommand", x.alias))
}

// sshIsOurs says whether ssh is a link to this program, or a copy, which FindSSH
// looks past. As such it needs no ProxyCommand, and leaves `ssh -G` as it is.
func sshIsOurs() bool {
	first, err := exec.LookPath("ssh")
	if err != nil {
		return false
	}
	next, err := wrapper.FindSSH()
	// On Windows the first may be an ssh.bat, which FindSSH does not look for.
	return err == nil && first != next && filepath.Base(first) == filepath.Base(next)
}

// isOurs says whether a ProxyCommand runs us.
func isOurs(command string) bool {
	self, _ := os.Executable()
	words := strings.Fields(command)
	for i := range len(words) - 1 {
		base := strings.TrimSuffix(filepath.Base(strings.Trim(words[i], `'"`)), ".exe")
		if words[i+1] == "proxy" && (base == "ssh-stay" || base == strings.TrimSuffix(filepath.Base(self), ".exe")) {
			return true
		}
	}
	return false
}

// newsFor is how long a failure has to do with what is wrong now.
const newsFor = 24 * time.Hour

// checkState tells what went wrong the last time.
func (x *exam) checkState(context.Context) []doctor.Finding {
	failures, err := state.Default().Failures()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return one(finding(doctor.Warn, "chmod 700 "+shellWord(string(state.Default())), "%v", err))
	}
	for _, f := range failures {
		if f.Host == x.alias && time.Since(f.Time) < newsFor {
			ago := time.Since(f.Time).Round(time.Second)
			return one(finding(doctor.Note, "", "the last connection that failed, %v ago: %s", cmp.Or(ago, time.Second), f.Error))
		}
	}
	return one(fine("no connection that failed within a day is known"))
}
