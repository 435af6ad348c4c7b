//go:build linux

package sshtest

import (
	"strings"

	"golang.org/x/crypto/ssh"
)

// JumpConfig says what kind of jump host Jump starts.
type JumpConfig struct {
	Kind string // "sshd", as Debian sets it up: with PAM; "dropbear"; or "xcrypto", a Server
	// Methods is what it demands, in the words of AuthenticationMethods of
	// sshd_config. Keyboard-interactive is one round by PAM, two by xcrypto.
	Methods string
	// HostKey is the kind of its key, see NewKey, or "certificate": one of the
	// keyring's authority for the Names.
	HostKey string
	Names   []string
	Keyring *Keyring // who may log in
}

// Jump is a jump host of some kind.
type Jump struct {
	Addr   string
	Port   int
	Known  func(addr string) string // its line of known_hosts for HOST or HOST:PORT
	Logins func() int               // that it has let in so far
}

// Jump starts a jump host.
func (r Rig) Jump(cfg JumpConfig) *Jump {
	r.Helper()
	switch cfg.Kind {
	case "sshd":
		return r.jumpSshd(cfg)
	case "dropbear":
		return r.jumpDropbear(cfg)
	case "xcrypto":
		return r.jumpServer(cfg)
	}
	r.Fatalf("no kind of jump host %q", cfg.Kind)
	return nil
}

func (r Rig) jumpSshd(cfg JumpConfig) *Jump {
	r.Helper()
	lines, err := cfg.Keyring.Account.SshdLines()
	r.must(err)
	lines = append(lines, "AuthenticationMethods "+cfg.Methods, "UsePAM yes", "KbdInteractiveAuthentication yes",
		"TrustedUserCAKeys "+cfg.Keyring.CA.Path+".pub")
	sc := SshdConfig{HostKeys: []string{cfg.HostKey}, Lines: lines}
	if cfg.HostKey == "certificate" { // beside a plain key that users do not know
		key, _ := r.hostKey(cfg)
		sc.HostKeys = nil
		sc.Lines = append(lines, "HostKey "+key.Path, "HostCertificate "+key.Path+"-cert.pub")
	}
	s := r.Sshd(sc)
	accepted := func(line string) bool {
		return strings.HasPrefix(line, "Accepted ") && strings.Contains(line, " for "+cfg.Keyring.Account.Name+" from ")
	}
	return &Jump{s.Addr, s.Port, cfg.known(s.HostKey), func() int { return countLines(s.Log(), accepted) }}
}

func (r Rig) jumpDropbear(cfg JumpConfig) *Jump {
	r.Helper()
	var options []string
	switch cfg.Methods {
	case "publickey,password":
		options = []string{"-t"}
	case "publickey":
		options = []string{"-s"}
	}
	d := r.Dropbear(DropbearConfig{HostKey: cfg.HostKey, Options: options})
	accepted := func(line string) bool {
		return strings.Contains(line, " auth succeeded ") && !strings.Contains(line, "extra auth required")
	}
	return &Jump{d.Addr, d.Port, cfg.known(d.HostKey), func() int { return countLines(d.Log(), accepted) }}
}

func (r Rig) jumpServer(cfg JumpConfig) *Jump {
	r.Helper()
	config := Steps(cfg.Keyring.Account.Name, cfg.Keyring.steps(cfg.Methods)...)
	key, cert := r.hostKey(cfg)
	signer := key.Signer
	if cert != nil {
		var err error
		signer, err = ssh.NewCertSigner(cert, key.Signer)
		r.must(err)
	}
	config.AddHostKey(signer)
	s := r.Server(config)
	return &Jump{s.Addr, s.Port, cfg.known(key.Public()), s.Logins}
}

// hostKey makes the host's key, and its certificate if it has one.
func (r Rig) hostKey(cfg JumpConfig) (*Key, *ssh.Certificate) {
	r.Helper()
	if cfg.HostKey != "certificate" {
		return r.Key(cfg.HostKey), nil
	}
	key := r.Key("ecdsa")
	cert, err := cfg.Keyring.CA.SignHost(key, cfg.Names...)
	r.must(err)
	return key, cert
}

// known is how users know a host with that key: by it, or by who vouches for it.
func (cfg *JumpConfig) known(key ssh.PublicKey) func(addr string) string {
	if cfg.HostKey == "certificate" {
		return func(addr string) string { return KnownAuthority(addr, cfg.Keyring.CA.Public()) }
	}
	return func(addr string) string { return KnownHost(addr, key) }
}

// steps are methods for a Server.
func (k *Keyring) steps(methods string) []Step {
	keys := Step{CA: k.CA.Public()}
	for name, key := range k.Keys {
		if name != "certified" {
			keys.Keys = append(keys.Keys, key.Public())
		}
	}
	var steps []Step
	for method := range strings.SplitSeq(methods, ",") {
		switch method {
		case "publickey":
			steps = append(steps, keys)
		case "password":
			steps = append(steps, Step{Password: k.Account.Password})
		case "keyboard-interactive":
			steps = append(steps, Step{Rounds: []Round{
				{Question: "Password: ", Answer: k.Account.Password},
				{Question: "Code: ", Answer: k.Code, Echo: true},
			}})
		}
	}
	return steps
}

func countLines(text string, counts func(line string) bool) (n int) {
	for line := range strings.Lines(text) {
		if counts(line) {
			n++
		}
	}
	return n
}
