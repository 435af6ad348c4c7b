package config

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ask has `ssh -G` evaluate the configuration. It prints neither what it ignores
// nor what stands behind our own ProxyCommand. So where the files hold such, it
// reads copies of them as well, without that command, and with the Stay keywords
// as certificate files: these add up, are printed in order, and nothing takes
// them out again.
func ask(ctx context.Context, q Query, ssh func() dialect) (*Settings, error) {
	e := newEvaluator(ctx, q, ssh)
	args, err := e.sshArgs()
	if err != nil {
		return nil, err
	}
	out, err := run(ctx, q.SSH, append(slices.Clone(args), "--", q.Host)...)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "ssh-stay-config-")
	if err != nil {
		return nil, fmt.Errorf("copy configuration for ssh -G: %w", err)
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	c := &copier{e: e, dir: dir, copies: map[string]string{}}
	main, err := c.files()
	if err != nil {
		return nil, err
	}
	if c.err != nil {
		return nil, c.err
	}
	if c.changed {
		args = append(args, "-F", main)
		if e.ranOurs(out) {
			// ssh takes the host for proxied, and looks no name up.
			args = append(args, "-o", "CanonicalDomains=none", "-o", "CanonicalizePermittedCNAMEs=none", "-o", "CanonicalizeFallbackLocal=yes")
		}
		if out, err = run(ctx, q.SSH, append(args, "--", q.Host)...); err != nil {
			return nil, err
		}
	}
	if err := e.take(out, c.stays); err != nil {
		return nil, err
	}
	return newSettings(e)
}

// ranOurs says whether ssh would run our own ProxyCommand, and so, but for
// CanonicalizeHostname always, look no name up.
func (e *evaluator) ranOurs(out string) bool {
	_, command, found := strings.Cut("\n"+out, "\nproxycommand ")
	command, _, _ = strings.Cut(command, "\n")
	return found && isOwnCommand(command, e.self) && !strings.Contains("\n"+out, "\ncanonicalizehostname always\n")
}

// sshArgs are the arguments for `ssh -G`, but the host. Options of ours are
// evaluated instead.
func (e *evaluator) sshArgs() ([]string, error) {
	args := []string{"-G"}
	if e.File != "" {
		args = append(args, "-F", e.File)
	}
	for _, opt := range e.Options {
		l, _ := scanLine(opt)
		switch {
		case isStay(l.keyword):
			l.file = commandLine
			if err := e.set(l, true, true); err != nil {
				return nil, err
			}
		case l.keyword != "proxycommand" || !isOwnCommand(l.rest, e.self):
			args = append(args, "-o", opt)
		}
	}
	if e.User != "" {
		args = append(args, "-l", e.User)
	}
	if e.Port != 0 {
		args = append(args, "-p", strconv.Itoa(e.Port))
	}
	return args, nil
}

// run runs ssh and returns what it prints.
func run(ctx context.Context, ssh string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, cmp.Or(ssh, "ssh"), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if errors.Is(err, exec.ErrWaitDelay) { // a command of Match exec left a process behind
		err = nil
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", fmt.Errorf("ssh -G: %s", cmp.Or(complaint(stderr.String()), exit.String()))
	}
	if err != nil {
		return "", fmt.Errorf("ssh -G: %w", err)
	}
	return stdout.String(), nil
}

// complaint picks the line by which ssh says what is wrong: one that names a
// line of a file, else the last. Commands of Match exec may have said others.
func complaint(stderr string) string {
	var last string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, " line ") {
			return line
		}
		if line != "" && !strings.HasPrefix(line, "Pseudo-terminal will not be") {
			last = line
		}
	}
	return last
}

// copier makes the files that ssh reads.
type copier struct {
	e      *evaluator
	dir    string
	copies map[string]string // by the original's name
	stays  []line

	changed bool  // they differ from the originals
	err     error // why they would not mean the same
}

// marker names the certificate file that stands for a Stay keyword.
const marker = "/ssh-stay/keyword/"

// files copies what ssh would read, and returns the file for -F.
func (c *copier) files() (string, error) {
	var err error
	main := filepath.Join(c.dir, "main")
	var text string
	switch {
	case strings.EqualFold(c.e.File, "none"):
		return "none", nil
	case c.e.File != "":
		main, err = c.copy(c.e.File, source{user: true})
		return main, cannotOpen(c.e.File, err)
	}
	for _, f := range c.e.defaultFiles() {
		name, err := c.copy(f.name, f.source)
		if err != nil && cannotOpen(f.name, err) == err {
			return "", err
		}
		if err == nil {
			text += "Include " + quote(name) + "\n"
		}
	}
	return main, os.WriteFile(main, []byte(text), 0o600)
}

// copy copies a file and what it includes, line by line.
func (c *copier) copy(name string, src source) (string, error) {
	if to, ok := c.copies[name]; ok {
		return to, nil
	}
	text, err := c.e.read(name, src)
	if err != nil {
		return "", err
	}
	to := filepath.Join(c.dir, strconv.Itoa(len(c.copies)))
	c.copies[name] = to
	var out bytes.Buffer
	n := 0
	for raw := range bytes.Lines(text) {
		n++
		l, ok := scanLine(string(raw))
		l.pos = pos{name, n}
		switch {
		case ok && l.keyword == "include":
			line, err := c.include(l, src)
			if err != nil {
				return "", err
			}
			out.WriteString(line)
		case ok && l.keyword == "proxycommand" && isOwnCommand(strings.TrimLeft(l.rest, blanks+"="), c.e.self):
			out.WriteString("\n")
			c.changed = true
		case ok && isStay(l.keyword) && isKeyword(l.keyword):
			c.changed = true
			fmt.Fprintf(&out, "CertificateFile %s%d\n", marker, len(c.stays))
			c.stays = append(c.stays, l)
		default:
			if ok && losesQuotes(l) {
				c.err = fmt.Errorf("%s: %s: ssh -G does not tell file names with blanks apart", l.pos, l.keyword)
			}
			out.Write(raw)
		}
	}
	return to, os.WriteFile(to, out.Bytes(), 0o600)
}

// losesQuotes says whether a line lists a file name with a blank, which `ssh -G`
// prints without its quotes.
func losesQuotes(l line) bool {
	switch l.keyword {
	case "userknownhostsfile", "globalknownhostsfile", "revokedhostkeys":
		args, _ := words(l.rest)
		return slices.ContainsFunc(args, func(a string) bool { return strings.ContainsAny(a, space) })
	}
	return false
}

// include is an Include line for the copies of what it names.
func (c *copier) include(l line, src source) (string, error) {
	args, err := words(l.rest)
	if err != nil || slices.Contains(args, "") {
		return "Include " + l.rest + "\n", nil // ssh tells what is wrong
	}
	names := []string{filepath.Join(c.dir, "none")} // ssh wants a word
	for _, arg := range args {
		if strings.Contains(arg, "%") && c.e.ssh().version >= v9_9 {
			c.err = fmt.Errorf("%s: Include with tokens cannot be passed on to ssh -G", l.pos)
			c.changed = true
		}
		path, ok, err := c.e.includePath(arg, src)
		if err != nil {
			return "", failAt(l, err)
		}
		if !ok {
			continue
		}
		for _, f := range glob(path) {
			name, err := c.copy(f, source{user: src.user, check: true})
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return "", cannotOpen(f, err)
			}
			names = append(names, quote(name))
		}
	}
	return "Include " + strings.Join(names, " ") + "\n", nil
}

// quote makes one word of a name that no pattern takes for more.
func quote(path string) string {
	return `"` + strings.NewReplacer(`*`, `\\*`, `?`, `\\?`, `[`, `\\[`, `\`, `\\\\`, `"`, `\"`).Replace(path) + `"`
}

// take fills the evaluator with what ssh printed. What is the default counts as
// unset.
func (e *evaluator) take(out string, stays []line) error {
	at := pos{file: "ssh -G"}
	for text := range strings.Lines(out) {
		text = strings.TrimRight(text, "\n")
		name, val, _ := strings.Cut(text, " ")
		if i, ok := strings.CutPrefix(val, marker); ok && name == "certificatefile" {
			n, err := strconv.Atoi(i)
			if err != nil || n >= len(stays) {
				return fmt.Errorf("ssh -G: unexpected line %q", text)
			}
			// On the command line, so to speak: ssh has let it pass.
			kw, _ := find(stays[n].keyword)
			args, err := words(stays[n].rest)
			if err == nil {
				args, err = kw.read(args)
			}
			if err != nil {
				return failAt(stays[n], err)
			}
			if len(args) > 0 {
				e.first(kw.name, value{stays[n].pos, args, true})
			}
			continue
		}
		e.asked = append(e.asked, text)
		e.takeLine(strings.ToLower(name), val, at)
	}
	// Debian's ssh makes it 300 by itself under BatchMode.
	if v := e.values["serveraliveinterval"]; v.String() == "300" && e.word("batchmode", "no") == "yes" && e.ssh().debian {
		delete(e.values, "serveraliveinterval")
	}
	if own := e.lists["identityfile"]; slices.EqualFunc(own, e.ssh().identities(), func(v value, name string) bool { return v.args[0] == name }) {
		delete(e.lists, "identityfile")
	}
	return nil
}

func (e *evaluator) takeLine(name, val string, at pos) {
	args := []string{val}
	switch name {
	case "host":
		return
	case "hostname":
		e.host = val
	case "userknownhostsfile":
		args = strings.Fields(strings.ReplaceAll(val, "%", "%%"))
	case "globalknownhostsfile", "revokedhostkeys", "ipqos", "addkeystoagent":
		args = strings.Fields(val)
	case "rekeylimit":
		args = strings.Fields(val)[:1]
	case "identityagent":
		args = []string{strings.ReplaceAll(val, "%", "%%")}
	}
	kw, _ := find(name)
	if def, _ := e.ssh().defaultOf(kw); val == def || kw.family != 0 && val == strings.Join(e.ssh().defaults(kw.family), ",") {
		return
	}
	if kw.form == inList {
		e.lists[name] = append(e.lists[name], value{at, args, true})
		return
	}
	e.first(name, value{at, args, true})
}

// sshToken asks ssh for a token whose meaning depends on its version.
func (e *evaluator) sshToken(ctx context.Context, token byte, host string) (string, error) {
	if _, address := numericAddress(host, "any"); !address && host != strings.ToLower(host) {
		return "", &UnsupportedError{what: "only ssh can tell"} // it would lower the name
	}
	args := []string{
		"-G", "-F", "none", "-o", "ControlPath=%" + string(rune(token)), "-o", "HostName=" + quote(strings.ReplaceAll(host, "%", "%%")),
		"-o", "AddressFamily=" + e.word("addressfamily", "any"), "-o", "Port=" + e.port(), "-l", e.user(),
	}
	if jump, ok := e.values["proxyjump"]; ok {
		args = append(args, "-o", "ProxyJump="+jump.args[0])
	}
	out, err := run(ctx, e.SSH, append(args, "--", e.Host)...)
	if err != nil {
		return "", &UnsupportedError{what: err.Error()}
	}
	for text := range strings.Lines(out) {
		if val, ok := strings.CutPrefix(text, "controlpath "); ok {
			return strings.TrimSuffix(val, "\n"), nil
		}
	}
	return "", nil
}
