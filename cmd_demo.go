package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ssh-stay/demo"
)

func newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show on this machine what it is for: ssh behind an idle firewall, with and without",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fail("", err)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			d := &demo.Demo{Out: cmd.OutOrStdout(), Self: self, Terminal: term.IsTerminal(int(os.Stdout.Fd()))}
			return fail("", d.Run(ctx))
		},
	}
}
