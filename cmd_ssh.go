package main

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ssh-stay/config"
	"ssh-stay/wrapper"
)

func newSSHCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ssh [ssh options] DESTINATION [COMMAND...]",
		Short: "Run ssh through ssh-stay",
		Long: "Runs the real ssh, with ssh-stay as its ProxyCommand. The options are ssh's own, and\n" +
			"-o StayResume=target and the like besides. The word ssh may be left out where the\n" +
			"destination is no command's name; a link named ssh does the same.",
		Example: "  ssh-stay me@host uptime\n" +
			"  ssh-stay -J gate -L 8888:localhost:8888 -N host\n" +
			"  ssh-stay -o StayResume=target host\n" +
			"  ln -s ssh-stay ~/bin/ssh    # every ssh of yours, if ~/bin comes first in PATH",
		DisableFlagsInUseLine: true,
		DisableFlagParsing:    true,
		ValidArgsFunction:     completeSSH,
		// run sees the command before cobra does; this is for help alone.
		Run: func(*cobra.Command, []string) {},
	}
}

// forSSH says whether arguments are ssh's: the first is neither a command of ours
// nor a long option, of which ssh has none.
func forSSH(root *cobra.Command, args []string) bool {
	if len(args) == 0 {
		return false
	}
	first := args[0]
	switch {
	case first == "--":
		return true
	case first == "-h", first == "help", first == "completion", strings.HasPrefix(first, "__complete"):
		return false
	case strings.HasPrefix(first, "--"):
		return false
	}
	return !slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool {
		return c.Name() == first || c.HasAlias(first)
	})
}

// runSSH becomes the real ssh.
func runSSH(args []string) int {
	path, err := wrapper.FindSSH()
	if err != nil {
		return report(&noConnection{err}, "")
	}
	if shell, set := os.LookupEnv("SHELL"); set {
		os.Setenv("SHELL", wrapper.Shell(shell)) // for Match exec here, too
	}
	env, err := wrapper.Enter(os.Getpid(), os.Environ())
	if err != nil {
		return report(&noConnection{err}, "", path+" runs ssh-stay: let it be a link to ssh-stay, or the real ssh")
	}
	self, err := wrapper.Self()
	if err != nil {
		return report(&noConnection{err}, "")
	}
	line := wrapper.Parse(args, func() bool { return takesTag(path) })
	var s *config.Settings
	if !line.Plain {
		// An ssh before 9.6 puts any name into our ProxyCommand, for a shell to read.
		if err := config.CheckHost(line.Host); err != nil {
			return report(&noConnection{err}, "")
		}
		q := line.Query()
		q.SSH = path
		// What is wrong with the files, ssh and the proxy will say.
		s, _ = config.Resolve(context.Background(), q)
	}
	status, err := becomeSSH(path, line.Args(self, s), env)
	if err != nil {
		return report(&noConnection{err}, "")
	}
	return status
}

// takesTag asks an ssh whether it is one whose -P takes a value.
func takesTag(ssh string) bool {
	banner, _ := exec.Command(ssh, "-V").CombinedOutput()
	return wrapper.TakesTag(string(banner))
}
