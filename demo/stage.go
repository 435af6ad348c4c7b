package demo

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// The files in the demo's directory, where both ssh run.
const (
	configFile     = "config"
	identityFile   = "id"
	knownHostsFile = "known_hosts"
)

// stage is the network of the demo: two forwarders of one make, one for each
// side so that their flows are told apart, before one jump host.
//
//	stock ssh -> forwarder \
//	                         jump host -> target
//	ssh-stay  -> forwarder /
type stage struct {
	stock, stay *forwarder
}

// newStage starts the stage and writes keys and config to dir. What it starts
// ends with ctx and is counted in running, also if it fails.
func newStage(ctx context.Context, running *sync.WaitGroup, dir string, idle time.Duration, self string) (*stage, error) {
	user, err := newIdentity(filepath.Join(dir, identityFile))
	if err != nil {
		return nil, err
	}
	target, err := startServer(ctx, running, user, echoLines)
	if err != nil {
		return nil, err
	}
	jump, err := startServer(ctx, running, user, jumpTo(target.addr))
	if err != nil {
		return nil, err
	}
	st := &stage{}
	for _, f := range []**forwarder{&st.stock, &st.stay} {
		if *f, err = startForwarder(ctx, running, jump.addr, idle); err != nil {
			return nil, err
		}
	}
	known := knownhosts.Line([]string{st.stock.addr, st.stay.addr}, jump.key) + "\n" +
		knownhosts.Line([]string{target.addr}, target.key) + "\n"
	if err := os.WriteFile(filepath.Join(dir, knownHostsFile), []byte(known), 0o600); err != nil {
		return nil, err
	}
	config := config(self, port(target.addr), port(st.stock.addr), port(st.stay.addr))
	return st, os.WriteFile(filepath.Join(dir, configFile), []byte(config), 0o600)
}

// config is the ssh_config for both sides. Its paths are relative to where ssh
// runs, so that only self needs quotes. StayInterval is the hop's, hence under
// the jump host; all else that counts is the same for both.
func config(self, target, stock, stay string) string {
	return fmt.Sprintf(`IgnoreUnknown Stay*
User demo
HostName 127.0.0.1
IdentityFile %[1]s
IdentitiesOnly yes
IdentityAgent none
PreferredAuthentications publickey
BatchMode yes
StrictHostKeyChecking yes
UserKnownHostsFile %[2]s
GlobalKnownHostsFile %[2]s

Host jump
    StayInterval 1s

Host stock
    Port %[4]s
    ProxyJump jump:%[5]s

Host stay
    Port %[4]s
    ProxyCommand %[7]s proxy -F %[3]s --alias %%n --user %%r %%h %%p
    ProxyJump jump:%[6]s
`, identityFile, knownHostsFile, configFile, target, stock, stay, quoteCommand(self))
}

// quoteCommand quotes a path for ProxyCommand: ssh expands its percent signs
// and hands the line to /bin/sh, or to cmd.exe, where nothing more is needed.
func quoteCommand(path string) string {
	path = strings.ReplaceAll(path, "%", "%%")
	if runtime.GOOS != "windows" {
		path = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(path)
	}
	return `"` + path + `"`
}

// newIdentity writes a new private key to path and returns its public half.
func newIdentity(path string) (ssh.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "ssh-stay demo")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(public)
}

// listen opens a port on the loopback interface until ctx ends.
func listen(ctx context.Context) (net.Listener, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { ln.Close() })
	return ln, nil
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
