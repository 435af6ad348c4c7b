package main

import (
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
			return fail(args[0], s.Print(cmd.OutOrStdout(), explain))
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&o.file, "config", "F", "", "read this file instead of ~/.ssh/config and /etc/ssh/ssh_config; none for no file")
	fs.StringVarP(&o.jump, "jump", "J", "", "jump hosts, [user@]host[:port], separated by commas")
	fs.StringArrayVarP(&o.options, "option", "o", nil, "KEY=VALUE as in ssh_config; wins over files")
	fs.StringVar(&o.user, "user", "", "the user at the target")
	fs.BoolVar(&explain, "explain", false, "append the file and line that set each value")
	return cmd
}
