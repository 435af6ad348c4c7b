package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ssh-stay/state"
)

func newStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what waits for a connection, and the last error of each host, also where ssh hid it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			failures, err := state.Default().Failures()
			if err != nil {
				return fail("", err)
			}
			waiting, err := state.Default().Waiting()
			if err != nil {
				return fail("", err)
			}
			for _, w := range waiting {
				failures = slices.Insert(failures, 0, state.Failure{Host: w.Host, Time: w.Since, Error: "waiting for a connection: " + w.Error})
			}
			for _, f := range failures {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %s\n", f.Time.Format(time.RFC3339), escape(f.Host), escape(f.Error))
				if err != nil {
					return fail("", err)
				}
			}
			return nil
		},
	}
}
