//go:build man

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newManCommand writes the man pages, for `make man`. Others need neither it nor
// the library that it takes.
func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the man pages into a folder",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fail("", err)
			}
			cmd.Root().DisableAutoGenTag = true // no date: the same pages each time
			header := &doc.GenManHeader{Section: "1", Source: fmt.Sprintf("ssh-stay %s", version), Manual: "ssh-stay"}
			return fail("", doc.GenManTree(cmd.Root(), header, args[0]))
		},
	}
}
