package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"ssh-stay/setup"
)

// setupOptions are the flags and arguments of `ssh-stay setup`.
type setupOptions struct {
	file, resume, program string
	interval              time.Duration
	undo, yes             bool
	vscode, path          bool
}

const setupLong = `Puts ssh-stay before ssh: one Include line at the top of ~/.ssh/config, and a file
of its own beside it, ~/.ssh/ssh-stay.conf (with -F FILE: FILE.ssh-stay.conf). It shows what it would write and asks.
Each PATTERN is one of a Host line (none: all hosts), and !PATTERN leaves hosts out;
stanzas of several runs add up, and those of one pattern replace each other. Before
anything is written, ssh -G must show that nothing else changes, for any host.

With --vscode, the settings of Remote-SSH that matter, in settings.json of VS Code,
Insiders, VSCodium and Cursor:
`

func newSetupCommand() *cobra.Command {
	var o setupOptions
	cmd := &cobra.Command{
		Use:   "setup [flags] [PATTERN...]",
		Short: "Put ssh-stay into ~/.ssh/config, or take it out",
		Long:  setupLong + settingsHelp(),
		Example: "  ssh-stay setup                        # all hosts\n" +
			"  ssh-stay setup --resume target work   # sessions to work outlive their connection\n" +
			"  ssh-stay setup '*' '!github.com'      # all hosts but one\n" +
			"  ssh-stay setup --undo",
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     completeHosts,
		RunE:                  func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&o.file, "config", "F", "", "edit this file instead of ~/.ssh/config")
	fs.StringVar(&o.resume, "resume", "", "StayResume for the patterns: target, jump or no")
	fs.DurationVar(&o.interval, "interval", 0, "StayInterval for the patterns, as in 30s")
	fs.BoolVar(&o.undo, "undo", false, "take the stanzas of the patterns out; without any, everything")
	fs.BoolVarP(&o.yes, "yes", "y", false, "write without asking")
	fs.StringVar(&o.program, "program", "", "the ssh-stay that ssh shall run (default: this one)")
	fs.BoolVar(&o.vscode, "vscode", false, "edit settings.json of VS Code and its like instead")
	fs.BoolVar(&o.path, "path", false, "with --vscode: remote.SSH.path too, which the ProxyCommand makes unnecessary")
	return cmd
}

func settingsHelp() string {
	var b strings.Builder
	for _, s := range setup.RemoteSettings("ssh-stay") {
		fmt.Fprintf(&b, "  %s: %s\n", s.Key, s.Why)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// check finds what cannot go together.
func (o *setupOptions) check(fs *pflag.FlagSet, args []string) error {
	ssh := len(args) > 0 || fs.Changed("config") || fs.Changed("resume") || fs.Changed("interval") || o.undo
	switch {
	case o.vscode && ssh:
		return errors.New("--vscode goes with --path, --program and --yes alone")
	case o.path && !o.vscode:
		return errors.New("--path needs --vscode")
	case o.undo && (fs.Changed("resume") || fs.Changed("interval")):
		return errors.New("--undo excludes --resume and --interval")
	case fs.Changed("resume") && !slices.Contains([]string{"target", "jump", "no"}, o.resume):
		return fmt.Errorf("--resume: want target, jump or no, got %q", o.resume)
	case fs.Changed("interval") && (o.interval < 0 || o.interval%time.Second != 0):
		return fmt.Errorf("--interval: want whole seconds, got %v", o.interval)
	case fs.Changed("config") && (o.file == "" || strings.EqualFold(o.file, "none")):
		return errors.New("-F: want a file")
	case fs.Changed("program") && !filepath.IsAbs(o.program):
		return fmt.Errorf("--program: want an absolute path, got %q", o.program)
	}
	return setup.CheckPatterns(args)
}

func (o *setupOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.check(cmd.Flags(), args); err != nil {
		return err
	}
	if o.vscode {
		return fail("", o.editors(cmd.OutOrStdout()))
	}
	s, err := o.setup(args)
	if err != nil {
		return fail("", err)
	}
	change := setup.Change{Patterns: args, Resume: o.resume, Undo: o.undo}
	if cmd.Flags().Changed("interval") {
		change.Interval = &o.interval
	}
	plan, err := s.Plan(cmd.Context(), change)
	if read := (*setup.ReadOnlyError)(nil); errors.As(err, &read) {
		fmt.Fprint(cmd.OutOrStdout(), read.Lines)
	}
	if err != nil {
		return fail("", err)
	}
	wrote, err := o.write(cmd.OutOrStdout(), plan)
	if wrote && err == nil && !o.undo {
		o.next(cmd.OutOrStdout(), args)
	}
	return fail("", err)
}

// next says what to do now.
func (o *setupOptions) next(w io.Writer, patterns []string) {
	host := "HOST"
	for _, p := range patterns {
		if !strings.ContainsAny(p, "*?!") {
			host = p
			break
		}
	}
	from := ""
	if o.file != "" {
		from = "-F " + o.file + " "
	}
	fmt.Fprintf(w, "next: ssh %s%s\nif something is wrong: ssh-stay doctor %s%s\n", from, host, from, host)
}

// setup is this user's ssh.
func (o *setupOptions) setup(patterns []string) (*setup.Setup, error) {
	s := &setup.Setup{System: "/etc/ssh/ssh_config"}
	if runtime.GOOS == "windows" {
		s.System = filepath.Join(os.Getenv("ProgramData"), "ssh", "ssh_config")
	}
	var err error
	if s.Home, err = passwdHome(); err != nil {
		return nil, err
	}
	if o.file != "" {
		if s.Config, err = filepath.Abs(o.file); err != nil {
			return nil, err
		}
	}
	if o.undo && len(patterns) == 0 {
		return s, nil // writes no program's name
	}
	s.Program, err = o.lasting()
	return s, err
}

// passwdHome is where ssh looks for its config: not at HOME.
func passwdHome() (string, error) {
	u, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil {
		u, err = user.Current() // Windows, and users of directories
	}
	if err != nil {
		return "", fmt.Errorf("find the home of this user: %w", err)
	}
	return u.HomeDir, nil
}

// lasting is the program for others to run: one that is there, and stays there.
func (o *setupOptions) lasting() (string, error) {
	if o.program != "" {
		return o.program, setup.CheckProgram(o.program)
	}
	path, err := selfAsCalled()
	if err == nil {
		err = setup.CheckLasting(path)
	}
	return path, err
}

// selfAsCalled is the path by which this program was called, where that is known:
// it outlives the versioned folder that a link of a package manager leads to.
func selfAsCalled() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	is, err := os.Stat(exe)
	if err != nil {
		return "", err
	}
	found, _ := exec.LookPath(os.Args[0])
	for _, path := range []string{found, os.Args[0]} {
		path, err := filepath.Abs(cmp.Or(path, exe))
		if err != nil {
			continue
		}
		if info, err := os.Stat(path); err == nil && os.SameFile(is, info) {
			return path, nil
		}
	}
	return exe, nil
}

// editors edits what VS Code and its like read.
func (o *setupOptions) editors(w io.Writer) error {
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	editors := setup.Editors(runtime.GOOS, home, os.Getenv)
	if len(editors) == 0 {
		return errors.New("no settings of VS Code, Insiders, VSCodium or Cursor below " + home)
	}
	path := ""
	if o.path {
		if path, err = o.lasting(); err != nil {
			return err
		}
	}
	settings := setup.RemoteSettings(path)
	plan, err := setup.PlanEditors(editors, settings)
	if err != nil {
		return err
	}
	if !plan.Empty() {
		for _, s := range settings {
			fmt.Fprintf(w, "# %s: %s\n", s.Key, s.Why)
		}
	}
	_, err = o.write(w, plan)
	return err
}

// errNotWritten ends a setup that nobody has agreed to.
var errNotWritten = errors.New("nothing was written")

// needsYes is the end of a setup that there is nobody to ask about.
type needsYes struct{}

func (needsYes) Error() string { return "nothing was written: there is no terminal to ask on" }

// write shows a plan, asks, and writes it.
func (o *setupOptions) write(w io.Writer, plan *setup.Plan) (wrote bool, err error) {
	for _, note := range plan.Notes {
		fmt.Fprintf(w, "# %s\n", escape(note))
	}
	if plan.Empty() {
		fmt.Fprintln(w, "nothing to do")
		return false, nil
	}
	fmt.Fprint(w, plan.Diff())
	if !o.yes {
		if !term.IsTerminal(int(os.Stdin.Fd())) {
			return false, needsYes{}
		}
		fmt.Fprint(w, "Write this? [y/N] ")
		answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return false, errNotWritten
		}
	}
	if err := plan.Apply(); err != nil {
		return false, err
	}
	fmt.Fprintln(w, "written")
	return true, nil
}

// setupHints are the hints of errors of setup.
func setupHints(err error) []string {
	if of := placeHints(err); of != nil {
		return of
	}
	var (
		refused   *setup.RefusedConfigError
		changed   *setup.ChangedHostError
		passing   *setup.PassingError
		canonical *setup.CanonicalError
		address   *setup.AddressError
		shared    *setup.SharedSocketError
	)
	switch {
	case errors.As(err, &refused) && refused.Undo:
		return []string{"take the Stay keywords out of it first, or put at its top: IgnoreUnknown Stay*"}
	case errors.As(err, &refused):
		return []string{"ssh -G HOST tells the same; mend the config first"}
	case errors.As(err, &passing) && passing.Host == "*":
		return []string{"name the hosts that it is for: ssh-stay setup HOST..."}
	case errors.As(err, &passing):
		return []string{"leave it out: ssh-stay setup '*' '!" + passing.Host + "'"}
	case errors.As(err, &canonical):
		return []string{"at the top of the config: CanonicalizeHostname always", "or leave the host out: '!" + canonical.Host + "'"}
	case errors.As(err, &address) && address.Host == "*":
		return []string{"at the top of the config: " + address.Keyword + " no"}
	case errors.As(err, &address):
		return []string{"leave the host out: '!" + address.Host + "'", fmt.Sprintf("or under \"Host %s\": %s no", address.Host, address.Keyword)}
	case errors.As(err, &shared):
		return []string{fmt.Sprintf("above, under \"Host %s\": ControlPath ~/.ssh/cm-%%n-%%C", shared.Host), "or leave the host out: '!" + shared.Host + "'"}
	case errors.Is(err, setup.ErrIndirect) && errors.As(err, &changed):
		return []string{fmt.Sprintf("above, under \"Host %s\": ProxyUseFdpass no", changed.Host)}
	case errors.As(err, &changed):
		return []string{"leave it out, if it is one of the patterns: '!" + changed.Host + "'"}
	}
	return nil
}

// placeHints are those of errors of files and programs.
func placeHints(err error) []string {
	var (
		program  *setup.ProgramError
		read     *setup.ReadOnlyError
		owner    *setup.OwnerError
		group    *setup.GroupError
		system   *setup.SystemConfigError
		foreign  *setup.ForeignFileError
		race     *setup.RaceError
		settings *setup.SettingsError
	)
	switch {
	case errors.As(err, &needsYes{}):
		return []string{"to write it: the same with --yes"}
	case errors.As(err, &program) && program.Missing:
		return []string{"name the ssh-stay that ssh shall run: --program PATH"}
	case errors.As(err, &program):
		return []string{"cp " + strconv.Quote(program.Path) + " /usr/local/bin/ssh-stay && /usr/local/bin/ssh-stay setup", "or name another: --program PATH"}
	case errors.As(err, &read) && read.Lines != "":
		return []string{"put the lines above at the top of " + read.Path + ", or of what makes it"}
	case errors.As(err, &read):
		return []string{"take our lines out of " + read.Path + ", or of what makes it"}
	case errors.As(err, &owner) && os.Geteuid() == 0:
		return []string{"sudo -u " + userName(owner.UID) + " ssh-stay setup"}
	case errors.As(err, &owner):
		return []string{fmt.Sprintf("if it should be yours: sudo chown %d %q", os.Geteuid(), owner.Path)}
	case errors.As(err, &group):
		return []string{fmt.Sprintf("chgrp %d %q", os.Getegid(), group.Path)}
	case errors.As(err, &system):
		return []string{"ssh-stay setup, without -F, is for a user's own"}
	case errors.As(err, &foreign):
		return []string{foreignHint(foreign)}
	case errors.As(err, &race):
		return []string{"run it again"}
	case errors.As(err, &settings):
		return []string{"mend it in the editor, which shows where"}
	}
	return nil
}

// foreignHint takes nothing away from another config, as long as there is one.
func foreignHint(foreign *setup.ForeignFileError) string {
	if foreign.Other == "" {
		return fmt.Sprintf("mv %q %q", foreign.Path, foreign.Path+".mine")
	}
	if _, err := os.Stat(foreign.Other); err != nil {
		return fmt.Sprintf("that config is gone, so: rm %q", foreign.Path)
	}
	return fmt.Sprintf("ssh-stay setup -F %q --undo", foreign.Other)
}

// userName is as sudo takes it, where the user has no name too.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("'#%d'", uid)
}
