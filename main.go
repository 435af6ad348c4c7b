// Command ssh-stay keeps SSH connections up. It stands between ssh and the
// network as a ProxyCommand; see README.md.
//
// The rules of its user interface:
//   - stdout of a proxy carries peer bytes alone; everything else is stderr's;
//   - silence on success; an error is one line, "ssh-stay: WHAT: WHY", and at
//     most two hints with something to paste;
//   - exit status 0: done, 1: failed, 2: wrong usage, 255: no connection.
package main

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/spf13/cobra"

	_ "ssh-stay/internal/oneproc"
	"ssh-stay/wrapper"
)

// version is set by the linker in release builds.
var version = "0.1.0-dev"

func main() {
	if wrapper.IsSSH(os.Args) {
		os.Exit(runSSH(os.Args[1:]))
	}
	os.Exit(run(os.Args[1:]))
}

// run dispatches the proxy before cobra: it is started for every connection. What
// is no command of ours is ssh's.
func run(args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "proxy":
			return runProxy(args[1:])
		case "relay":
			return runRelay(args[1:])
		case "ssh":
			if !slices.Equal(args[1:], []string{"--help"}) {
				return runSSH(args[1:])
			}
			args = []string{"help", "ssh"}
		case "--version":
			args = []string{"version"}
		}
	}
	root := newRoot()
	if forSSH(root, args) {
		return runSSH(args)
	}
	root.SetArgs(forCompletion(root, args))
	cmd, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return exitOK
	}
	if failed := (*failure)(nil); errors.As(err, &failed) {
		return report(failed.err, failed.host)
	}
	printError("%v", err)
	printHint("%s --help", cmd.CommandPath())
	return exitUsage
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "ssh-stay",
		Short:         "Keeps SSH connections up",
		Long:          "ssh-stay stands between ssh and the network, as a ProxyCommand, and keeps connections up\nbehind idle firewalls and NAT, directly and through jump hosts. What is no command of its\nown is ssh's: ssh-stay [ssh options] DESTINATION [COMMAND...]",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.ValidArgsFunction = completeHost
	if man := newManCommand(); man != nil {
		root.AddCommand(man)
	}
	root.AddCommand(newSSHCommand(), newProxyCommand(), newConfigCommand(), newSetupCommand(), newStatusCommand(), newDemoCommand(), newDoctorCommand(), newRelayCommand(), newVersionCommand())
	return root
}

// failure marks an error of running a command; others are wrong usage.
type failure struct {
	err  error
	host string
}

func (f *failure) Error() string { return f.err.Error() }

// fail wraps the error of a command about host, or of none.
func fail(host string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{err, host}
}
