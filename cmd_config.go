package main

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ssh-stay/config"
)

func newConfigCommand() *cobra.Command {
	var o proxyOptions
	var explain bool
	cmd := &cobra.Command{
		Use:   "config [flags] HOST",
		Short: "Print what the configuration means for a host, in the format of ssh -G",
		Example: "  ssh-stay config --explain work\n" +
			"  diff <(ssh -G work) <(ssh-stay config work)",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.setDestination(args[0]); err != nil {
				return fail(args[0], &noConnection{err})
			}
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

// setDestination takes [user@]host or ssh://[user@]host[:port], as ssh does.
func (o *proxyOptions) setDestination(text string) error {
	host := text
	if strings.HasPrefix(text, "ssh://") {
		jumps, err := config.ParseJumps(text)
		if err != nil || len(jumps) != 1 {
			return fmt.Errorf("bad destination %q", text)
		}
		host = jumps[0].Host
		o.user = cmp.Or(o.user, jumps[0].User)
		if jumps[0].Port != 0 {
			o.options = append([]string{fmt.Sprintf("Port=%d", jumps[0].Port)}, o.options...)
		}
	} else if at := strings.LastIndexByte(text, '@'); at >= 0 {
		host = text[at+1:]
		o.user = cmp.Or(o.user, text[:at])
	}
	o.host, o.alias = host, host
	return nil
}
