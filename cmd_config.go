package main

import (
	"bytes"

	"github.com/spf13/cobra"

	"ssh-stay/config"
)

func newConfigCommand() *cobra.Command {
	var o proxyOptions
	var explain bool
	cmd := &cobra.Command{
		Use:   "config [flags] HOST",
		Short: "Print what the configuration means for a host, in the format of ssh -G",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.host, o.alias = args[0], args[0]
			q, err := o.query()
			if err != nil {
				return fail(args[0], &noConnection{err})
			}
			s, err := config.Resolve(cmd.Context(), q)
			if err != nil {
				return fail(args[0], &noConnection{err})
			}
			var out bytes.Buffer
			if err := s.Print(&out, explain); err != nil {
				return fail(args[0], &noConnection{err})
			}
			_, err = out.WriteTo(cmd.OutOrStdout())
			return fail(args[0], err)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	o.configFlags(fs)
	fs.BoolVar(&explain, "explain", false, "append the file and line that set each value")
	return cmd
}
