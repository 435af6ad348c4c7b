package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ssh-stay/setup"
)

// completeHost completes the one argument that is a host: [user@]name, of the names
// that the user's config mentions.
func completeHost(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return hostNames(begun), cobra.ShellCompDirectiveNoFileComp
}

// completeHosts completes any number of names, without users: patterns of Host.
func completeHosts(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(begun, "@") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return hostNames(begun), cobra.ShellCompDirectiveNoFileComp
}

// completeSSH completes a word of ssh's command line: a host or a file.
func completeSSH(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	return hostNames(begun), cobra.ShellCompDirectiveDefault
}

// forCompletion has what is begun of ssh's command line completed as that, also
// where the word ssh was left out. The last word is the one to complete.
func forCompletion(root *cobra.Command, args []string) []string {
	if len(args) > 2 && strings.HasPrefix(args[0], "__complete") && forSSH(root, args[1:]) {
		return slices.Insert(slices.Clone(args), 1, "ssh")
	}
	return args
}

func hostNames(begun string) []string {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	user, name, found := strings.Cut(begun, "@")
	if !found {
		user, name = "", begun
	}
	var all []string
	for _, host := range setup.Hosts(home, filepath.Join(home, ".ssh", "config")) {
		if !strings.HasPrefix(host, name) {
			continue
		}
		if found {
			host = user + "@" + host
		}
		all = append(all, host)
	}
	return all
}
