// Package config answers what ~/.ssh/config means for one host.
//
// github.com/kevinburke/ssh_config splits files into lines; what a line means
// (block order, first value wins, Match, Include, tokens, lists) is decided
// here, after ssh_config(5) and the answers of `ssh -G`. The package reads
// files and, for `Match exec`, runs the user's command; it opens no connection.
package config
