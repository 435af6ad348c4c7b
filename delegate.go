package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/auth"
	"ssh-stay/config"
	"ssh-stay/hop"
	"ssh-stay/prompt"
	"ssh-stay/proxy"
	"ssh-stay/wrapper"
)

// A hop that we cannot log in to, but ssh can, is left to `ssh -W`, which reaches
// it through a proxy of ours: for the way there, and for the hops before it. So
// the two kinds mix in one route.

// canDelegate: ssh on Windows runs a ProxyCommand by another shell than we quote
// for.
const canDelegate = runtime.GOOS != "windows"

// loginGrace is how long ssh may take with its user at a delegated hop: sshd's
// LoginGraceTime.
const loginGrace = 2 * time.Minute

// throughSSH dials over a delegated hop. before are its jumps, as far as they
// were given with it and are not its own stanza's.
func (b *routeBuilder) throughSSH(s *config.Settings, jump config.Jump, before []config.Jump) (proxy.DialFunc, error) {
	if !canDelegate {
		return nil, &settingError{"", "hop " + s.Alias + ": cannot be left to ssh on Windows", "under \"Host " + s.Alias + "\": StayClient builtin"}
	}
	// ssh puts these into the command line that a shell gets.
	if err := cmp.Or(config.CheckHost(s.HostName), config.CheckUser(s.User)); err != nil {
		return nil, err
	}
	// Two hops that are each other's jump would start processes without end.
	parents := os.Getenv(runningFor)
	if slices.Contains(strings.Split(parents, ","), "ssh:"+s.Alias) {
		return nil, &config.LoopError{Source: s.ProxySource, Host: s.Alias}
	}
	prepare := func(host string, port int, background bool) (*exec.Cmd, error) {
		args, err := b.sshArgs(s, jump, before)
		if err != nil {
			return nil, err
		}
		if err := config.CheckHost(host); err != nil {
			return nil, err
		}
		if background {
			args = append(args, unattended(s)...)
		}
		path, err := wrapper.FindSSH()
		if err != nil {
			return nil, err
		}
		return exec.Command(path, append(args, "-W", net.JoinHostPort(host, strconv.Itoa(port)), "--", jump.Host)...), nil
	}
	d := b.byCommand("ssh -W at hop "+s.Alias, parents+",ssh:"+s.Alias, prepare)
	if prompt.CanAskInBackground() {
		d.Patience = loginGrace
	}
	return d.Dial, nil
}

// byCommand dials by a command that runs for the hosts named. What it has to ask
// in the background it asks by askpass.
func (b *routeBuilder) byCommand(name, hosts string, prepare func(host string, port int, background bool) (*exec.Cmd, error)) *proxy.CommandDialer {
	d := &proxy.CommandDialer{Name: name, Stderr: os.Stderr, Background: b.background, Log: b.log}
	d.Prepare = func(host string, port int, background bool) (*exec.Cmd, error) {
		cmd, err := prepare(host, port, background)
		if err != nil {
			return nil, err
		}
		cmd.Env = append(os.Environ(), runningFor+"="+hosts)
		if background && prompt.CanAskInBackground() {
			cmd.Env = append(cmd.Env, "SSH_ASKPASS_REQUIRE=force")
		}
		return cmd, nil
	}
	return d
}

// unattended is what ssh is told when nobody waits for it. It accepts no new
// host key that it would have asked about, words its end as we know it, and does
// not take a dead network for a user who thinks.
func unattended(s *config.Settings) []string {
	timeout := reconnectTime
	if s.ConnectTimeout > 0 {
		timeout = min(timeout, s.ConnectTimeout)
	}
	args := []string{"-o", "LogLevel=INFO", "-o", fmt.Sprintf("ConnectTimeout=%d", max(1, int(timeout/time.Second)))}
	if strictness(s.StrictHostKeyChecking) == auth.StrictAsk {
		args = append(args, "-o", "StrictHostKeyChecking=yes")
	}
	if !prompt.CanAskInBackground() {
		args = append(args, "-o", "BatchMode=yes")
	}
	return args
}

func (b *routeBuilder) sshArgs(s *config.Settings, jump config.Jump, before []config.Jump) ([]string, error) {
	command, err := b.ownCommand(before)
	if err != nil {
		return nil, err
	}
	args := []string{"-o", "ProxyCommand=" + command, "-o", "ProxyUseFdpass=no", "-o", "TCPKeepAlive=no"}
	if b.file != "" {
		args = append(args, "-F", b.file)
	}
	if jump.User != "" {
		args = append(args, "-l", jump.User)
	}
	if jump.Port != 0 {
		args = append(args, "-p", strconv.Itoa(jump.Port))
	}
	if s.StayInterval > 0 {
		seconds := max(1, int(s.StayInterval/time.Second))
		args = append(args, "-o", fmt.Sprintf("ServerAliveInterval=%d", seconds),
			"-o", fmt.Sprintf("ServerAliveCountMax=%d", max(1, int(s.StayGiveUp/time.Second)/seconds)))
	}
	return args, nil
}

// ownCommand is the ProxyCommand by which ssh gets to a delegated hop. It goes
// through the user's shell, so what we put into it is quoted or checked.
func (b *routeBuilder) ownCommand(before []config.Jump) (string, error) {
	self, err := wrapper.Self()
	if err != nil {
		return "", err
	}
	var args []string
	if b.file != "" {
		args = append(args, "-F", b.file)
	}
	if len(before) > 0 {
		list := joinJumps(before)
		if _, err := config.ParseJumps(list); err != nil {
			return "", err
		}
		args = append(args, "-J", list)
	}
	return wrapper.ProxyCommand(self, true, args...), nil
}

// leaveToSSH says whether an error of a hop is one that ssh would not have, and
// why.
func leaveToSSH(err error) (name, why string, ok bool) {
	at := (*hop.HandshakeError)(nil)
	if !errors.As(err, &at) {
		return "", "", false
	}
	var (
		denied *auth.DeniedError
		none   *hop.NoAlgorithmError
		common *ssh.AlgorithmNegotiationError
	)
	switch {
	case errors.As(err, &denied) && len(denied.Beyond) > 0:
		return at.Hop, strings.Join(denied.Beyond, ", "), true
	case errors.As(err, &none), errors.As(err, &common):
		return at.Hop, err.Error(), true
	}
	return "", "", false
}
