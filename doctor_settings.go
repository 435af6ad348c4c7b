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
	"ssh-stay/config"
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
		agent, asked := x.agents[login.AgentSocket]
		if !asked {
			agent = checkAgent(ctx, st.s, login.AgentSocket)
		}
		if login.AgentSocket != "" { // none may be by will, or by chance
			x.agents[login.AgentSocket] = agent
		}
		if f := agent.found; f != nil && !seen[f.What] {
			seen[f.What] = true
			found = append(found, *f)
		}
		for _, file := range login.IdentityFiles {
			if seen[file] {
				continue
			}
			seen[file] = true
			if f := x.checkKey(file, login.FilesConfigured, agent.keys); f != nil {
				found = append(found, *f)
			}
		}
	}
	if len(found) == 0 {
		found = one(fine("all key files can be used"))
	}
	return found
}

// agentAnswer is what an agent has answered, or that it has not.
type agentAnswer struct {
	keys  []ssh.PublicKey
	found *doctor.Finding // nil: nothing to say
	late  bool            // no login of ours waits for it again
}

// agentLimit is for the list of an agent's keys, which it asks nobody for.
const agentLimit = 5 * time.Second

// checkAgent asks the agent of a host for its keys. There is nothing to say of
// one that the user has turned off.
func checkAgent(ctx context.Context, s *config.Settings, socket string) (a agentAnswer) {
	fix := "eval \"$(ssh-agent)\" && ssh-add"
	if socket == "" {
		if s.IdentityAgent == "none" {
			return a
		}
		f := finding(doctor.Warn, fix, "no agent: SSH_AUTH_SOCK is not set")
		a.found = &f
		return a
	}
	if s.IdentityAgent != "" {
		fix = under(s.Alias, "IdentityAgent SSH_AUTH_SOCK    # or none, or the socket of an agent that runs")
	}
	asking, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	keys, err := auth.AgentKeys(asking, socket)
	a.keys, a.late = keys, errors.Is(err, context.DeadlineExceeded)
	var f doctor.Finding
	switch {
	case a.late:
		f = finding(doctor.Fail, fix, "the agent at %s does not answer within %v, and ssh waits for it at every login: looked at without", socket, agentLimit)
	case err != nil:
		f = finding(doctor.Warn, fix, "the agent does not answer: %v", err)
	case len(keys) == 0:
		f = finding(doctor.Note, "ssh-add", "the agent at %s holds no keys", socket)
	default:
		f = fine("the agent at %s holds %d keys", socket, len(keys))
	}
	a.found = &f
	return a
}

// checkKey tells what is wrong with a key file; nil for nothing.
func (x *exam) checkKey(file string, configured bool, held []ssh.PublicKey) *doctor.Finding {
	var open *auth.TooOpenError
	var locked *auth.EncryptedKeyError
	var token *auth.SecurityKeyError
	var f doctor.Finding
	switch err := auth.CheckKey(file); {
	case err == nil, errors.Is(err, fs.ErrNotExist) && !configured:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		f = finding(doctor.Note, "", "IdentityFile %s does not exist", file)
	case errors.As(err, &open):
		f = finding(doctor.Warn, "chmod 600 "+shellWord(file), "%v: ssh ignores the key", err)
	case errors.As(err, &token) && auth.HoldsKey(file, held):
		return nil
	case errors.As(err, &token):
		f = finding(doctor.Note, "", "%v: ssh or an agent uses it", err)
	case errors.As(err, &locked) && auth.HoldsKey(file, held):
		return nil
	case errors.As(err, &locked):
		how := ""
		if x.noAskpass != "" {
			how = ", on a terminal alone: " + x.noAskpass
		}
		f = finding(doctor.Note, "ssh-add "+shellWord(file), "%v: its passphrase is asked for at every login%s", err, how)
	default:
		f = finding(doctor.Warn, "ssh-keygen -y -f "+shellWord(file)+"    # what ssh says of it", "%v", err)
	}
	return &f
}
