package main

import (
	"slices"

	"github.com/spf13/cobra"

	"ssh-stay/relay"
)

// newRelayCommand is for help alone, and hidden there too: run sees the command
// before cobra does. ssh-stay runs it at the far end, for StayResume.
func newRelayCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "relay open|attach|daemon|version",
		Short:  "Keep streams: the far end of StayResume",
		Hidden: true,
		Run:    func(*cobra.Command, []string) {},
	}
}

func runRelay(args []string) int {
	// Where no small relay was at hand, it is a copy of this whole program.
	if slices.Equal(args, []string{"daemon"}) {
		dropText()
	}
	return relay.Main(args, relay.NewServer)
}
