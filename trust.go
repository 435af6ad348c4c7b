package main

import (
	"context"
	"encoding/base64"
	"slices"

	"golang.org/x/crypto/ssh"

	"ssh-stay/auth"
	"ssh-stay/config"
)

// hostKeys is whose key a hop may show, by its own stanza and by what the files
// say now.
func (b *routeBuilder) hostKeys(s *config.Settings) (*auth.HostKeys, error) {
	known, err := auth.ReadKnownHosts(slices.Concat(s.UserKnownHostsFile, s.GlobalKnownHostsFile))
	if err != nil {
		return nil, err
	}
	h := &auth.HostKeys{
		Host: s.HostName, Alias: s.HostKeyAlias, Port: s.Port, Known: known,
		MinRSABits: s.RequiredRSASize, CAAlgorithms: s.CASignatureAlgorithms, Permitted: s.HostKeyAlgorithms,
		CheckIP: s.CheckHostIP, TrustLocalhost: s.NoHostAuthenticationForLocalhost,
		Strict: strictness(s.StrictHostKeyChecking), Hash: s.HashKnownHosts, FingerprintHash: s.FingerprintHash,
		Warn: b.tell, Log: b.log,
	}
	if len(s.UserKnownHostsFile) > 0 {
		h.UserFile = s.UserKnownHostsFile[0]
	}
	if isQuiet(s) {
		h.Info = func(string) {}
	}
	if !s.BatchMode {
		h.FingerprintAsIn10 = s.AtLeast10_1
		h.Ask = func(ctx context.Context, text string) (string, error) {
			answer, err := b.ask(ctx, text, true, false)
			return string(answer), err
		}
	}
	if s.KnownHostsCommand != "" {
		h.Command = knownHostsCommand(s)
	}
	h.Revoked, err = auth.ReadRevoked(s.RevokedHostKeys)
	return h, err
}

func strictness(word string) auth.Strict {
	switch word {
	case "false":
		return auth.StrictNo
	case "accept-new":
		return auth.StrictAcceptNew
	case "ask":
		return auth.StrictAsk
	}
	return auth.StrictYes
}

// isSilent says whether not even errors shall be told.
func isSilent(s *config.Settings) bool {
	return slices.Contains([]string{"SILENT", "QUIET", "FATAL"}, s.LogLevel)
}

// isQuiet says whether only errors shall be told.
func isQuiet(s *config.Settings) bool {
	switch s.LogLevel {
	case "SILENT", "QUIET", "FATAL", "ERROR":
		return true
	}
	return false
}

// knownHostsCommand makes the command's arguments; its own tokens are those of
// ssh_config(5), KnownHostsCommand.
func knownHostsCommand(s *config.Settings) func(invocation, name string, key ssh.PublicKey) ([]string, error) {
	return func(invocation, name string, key ssh.PublicKey) ([]string, error) {
		tokens := map[byte]string{'I': invocation, 'H': name, 't': "NONE", 'f': "NONE", 'K': "NONE"}
		if key != nil {
			tokens['t'], tokens['f'] = key.Type(), ssh.FingerprintSHA256(key)
			tokens['K'] = base64.StdEncoding.EncodeToString(key.Marshal())
		}
		return s.ExpandKnownHostsCommand(tokens)
	}
}

// banner shows what a host says before the login, but not to those who want only
// errors (sshconnect2.c).
func (b *routeBuilder) banner(s *config.Settings) func(string) {
	if isQuiet(s) {
		return nil
	}
	return func(text string) { b.show(auth.Visible(text)) }
}
