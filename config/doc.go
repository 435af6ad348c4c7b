// Package config answers what ~/.ssh/config means for one host.
//
// What a line means (block order, first value wins, Match, Include, tokens,
// lists) is decided here, after ssh_config(5), readconf.c and the answers of
// `ssh -G`; github.com/kevinburke/ssh_config reads the lines that take effect.
// The rest is asked of the installed ssh. The package reads files, runs the
// user's command for `Match exec`, and ssh; it opens no connection.
package config
