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

	"github.com/spf13/cobra"
)

// version is set by the linker in release builds.
var version = "0.1.0-dev"

func main() { os.Exit(run(os.Args[1:])) }

// run dispatches the proxy before cobra: it is started for every connection.
func run(args []string) int {
	if len(args) > 0 && args[0] == "proxy" {
		return runProxy(args[1:])
	}
	if len(args) > 0 && args[0] == "relay" {
		return runRelay(args[1:])
	}
	root := newRoot()
	root.SetArgs(args)
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
		Long:          "ssh-stay stands between ssh and the network, as a ProxyCommand, and keeps connections up\nbehind idle firewalls and NAT, directly and through jump hosts.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newProxyCommand(), newConfigCommand(), newStatusCommand(), newDemoCommand(), newRelayCommand(), newVersionCommand())
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
