package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/auth"
	"ssh-stay/doctor"
)

// under is a fix in ssh_config.
func under(host string, lines ...string) string {
	return "Host " + host + "\n    " + strings.Join(lines, "\n    ")
}

// checkSettings looks for settings that end connections, or let them end.
func (x *exam) checkSettings(context.Context) []doctor.Finding {
	st := x.target()
	s := st.s
	found := one(fine("probes after %v of silence, given up after %v%s", s.StayInterval, s.StayGiveUp, st.told["stayinterval"].at()))
	if s.StayInterval == 0 {
		found = one(finding(doctor.Warn, under(s.Alias, "StayInterval 30"), "StayInterval is 0%s: nothing probes", st.told["stayinterval"].at()))
	}
	if s.StayResume != "no" {
		return append(found, x.checkResume()...)
	}
	first := x.way[0]
	if !first.s.TCPKeepAlive && first.s.ProxyCommand == "" {
		at := first.told["tcpkeepalive"].at()
		if len(x.way) > 1 {
			found = append(found, finding(doctor.Note, "", "TCPKeepAlive is no%s: the hop is probed by SSH alone", at))
		} else {
			found = append(found, finding(doctor.Warn, under(s.Alias, "TCPKeepAlive yes"),
				"TCPKeepAlive is no%s: on a direct route nothing of ours probes", at))
		}
	}
	if first.s.ProxyCommand != "" {
		found = append(found, x.unprobed(first))
	}
	return found
}

// unprobed is about a first host that a command connects to: its socket is the
// command's, and nc and connect set no TCP keepalive. A hop is probed by SSH all
// the same.
func (x *exam) unprobed(first *station) doctor.Finding {
	program, at := strings.Fields(first.s.ProxyCommand)[0], first.told["proxycommand"].at()
	if len(x.way) > 1 {
		return finding(doctor.Note, "", "%s is reached by %s%s, whose socket is not ours to probe; the hop is, by SSH",
			first.s.Alias, program, at)
	}
	if first.s.ServerAliveInterval > 0 {
		return finding(doctor.Note, "", "%s is reached by %s%s, whose socket is not ours to probe; ssh's ServerAliveInterval does",
			first.s.Alias, program, at)
	}
	return finding(doctor.Warn, under(first.s.Alias, "ServerAliveInterval 30", "ServerAliveCountMax 30"),
		"%s is reached by %s%s, whose socket is not ours: nothing probes", first.s.Alias, program, at)
}

// checkResume looks for what does not go with StayResume.
func (x *exam) checkResume() []doctor.Finding {
	st := x.target()
	s := st.s
	found := one(fine("StayResume %s%s, kept for %v", s.StayResume, st.told["stayresume"].at(), s.StayKeep))
	if s.StayResume == "jump" && len(x.way) == 1 {
		found = one(finding(doctor.Warn, under(s.Alias, "StayResume target"), "StayResume jump%s does nothing: there is no jump host", st.told["stayresume"].at()))
	}
	if s.ServerAliveInterval > 0 && s.IsSet("serveraliveinterval") {
		found = append(found, finding(doctor.Warn, under(s.Alias, "ServerAliveInterval 0", fmt.Sprintf("StayInterval %d", int(s.StayInterval/time.Second))),
			"ServerAliveInterval is %v%s: ssh ends by itself %v after the line has gone down, which resume would have survived",
			s.ServerAliveInterval, st.told["serveraliveinterval"].at(), s.ServerAliveInterval*time.Duration(s.ServerAliveCountMax)))
	}
	if s.ProxyUseFdpass {
		found = append(found, finding(doctor.Fail, under(s.Alias, "ProxyUseFdpass no"), "StayResume and ProxyUseFdpass%s exclude each other", setting{source: s.FdpassSource}.at()))
	}
	if persist := st.told["controlpersist"]; persist.value != "" && persist.value != "no" {
		found = append(found, finding(doctor.Note, "", "ControlPersist is %s%s: a master that lingers holds its session and a relay for as long",
			persist.value, persist.at()))
	}
	return found
}

// checkKeys looks at the agent and the key files of all hosts.
func (x *exam) checkKeys(ctx context.Context) []doctor.Finding {
	var found []doctor.Finding
	seen := map[string]bool{}
	for _, st := range x.way {
		login := x.build.login(st.s)
		held, f := checkAgent(ctx, st, login.AgentSocket)
		if f != nil && !seen[f.What] {
			seen[f.What] = true
			found = append(found, *f)
		}
		for _, file := range login.IdentityFiles {
			if seen[file] {
				continue
			}
			seen[file] = true
			if f := checkKey(file, login.FilesConfigured, held); f != nil {
				found = append(found, *f)
			}
		}
	}
	if len(found) == 0 {
		found = one(fine("all key files can be used"))
	}
	return found
}

// checkAgent asks the agent of a host for its keys. There is nothing to say of
// one that the user has turned off.
func checkAgent(ctx context.Context, st *station, socket string) ([]ssh.PublicKey, *doctor.Finding) {
	if socket == "" {
		if st.s.IdentityAgent == "none" {
			return nil, nil
		}
		f := finding(doctor.Warn, "eval \"$(ssh-agent)\" && ssh-add", "no agent: SSH_AUTH_SOCK is not set")
		return nil, &f
	}
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	keys, err := auth.AgentKeys(asking, socket)
	var f doctor.Finding
	switch {
	case err != nil:
		f = finding(doctor.Warn, "eval \"$(ssh-agent)\" && ssh-add", "the agent does not answer: %v", err)
	case len(keys) == 0:
		f = finding(doctor.Note, "ssh-add", "the agent at %s holds no keys", socket)
	default:
		f = fine("the agent at %s holds %d keys", socket, len(keys))
	}
	return keys, &f
}

// checkKey tells what is wrong with a key file; nil for nothing.
func checkKey(file string, configured bool, held []ssh.PublicKey) *doctor.Finding {
	var open *auth.TooOpenError
	var locked *auth.EncryptedKeyError
	var f doctor.Finding
	switch err := auth.CheckKey(file); {
	case err == nil, errors.Is(err, fs.ErrNotExist) && !configured:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		f = finding(doctor.Note, "", "IdentityFile %s does not exist", file)
	case errors.As(err, &open):
		f = finding(doctor.Warn, "chmod 600 "+shellWord(file), "%v: ssh ignores the key", err)
	case errors.As(err, &locked) && auth.HoldsKey(file, held):
		return nil
	case errors.As(err, &locked):
		f = finding(doctor.Note, "ssh-add "+shellWord(file), "%v: its passphrase is asked for at every login", err)
	default:
		f = finding(doctor.Warn, "ssh-keygen -y -f "+shellWord(file)+"    # what ssh says of it", "%v", err)
	}
	return &f
}
