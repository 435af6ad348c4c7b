package demo

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"regexp"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// modeVariable says how the test binary plays ssh-stay: "keepalive", "silent"
// (a jump client without keepalive), "fail", or "hang" (deaf to all but SIGKILL).
const modeVariable = "SSH_STAY_DEMO_TEST_PROXY"

func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != "proxy" {
		os.Exit(m.Run())
	}
	if err := proxy(os.Args[2:], os.Getenv(modeVariable)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// proxy is the least a ProxyCommand with a jump host of its own can be.
func proxy(args []string, mode string) error {
	if mode == "fail" {
		return errors.New("out of order\x1b[1m")
	}
	if mode == "hang" {
		signal.Ignore()
		for {
			time.Sleep(time.Hour)
		}
	}
	flags := flag.NewFlagSet("proxy", flag.ContinueOnError)
	config := flags.String("F", "", "")
	alias := flags.String("alias", "", "")
	user := flags.String("user", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *alias != "stay" || *user != "demo" || flags.NArg() != 2 {
		return fmt.Errorf("got arguments %q", args)
	}
	if err := privateEnvironment(); err != nil {
		return err
	}
	jump, err := login(*config)
	if err != nil {
		return err
	}
	defer jump.Close()
	if err := noop(jump); err != nil {
		return err
	}
	if mode == "keepalive" {
		go func() { // ends with the process
			for range time.Tick(100 * time.Millisecond) {
				jump.SendRequest("keepalive@openssh.com", true, nil)
			}
		}()
	}
	return splice(jump, net.JoinHostPort(flags.Arg(0), flags.Arg(1)))
}

// privateEnvironment checks that the user's own agent and state are out of reach.
func privateEnvironment() error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	for name, want := range map[string]string{
		"SSH_AUTH_SOCK": "", "XDG_STATE_HOME": dir, "XDG_RUNTIME_DIR": dir, "XDG_CACHE_HOME": dir,
	} {
		if got := os.Getenv(name); got != want {
			return fmt.Errorf("got %s=%s, want %q", name, got, want)
		}
	}
	return nil
}

// login connects to the jump host that the config names for the alias stay.
func login(config string) (*ssh.Client, error) {
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	stay := regexp.MustCompile(`(?s)Host stay.*ProxyJump jump:(\d+)`).FindSubmatch(text)
	if stay == nil {
		return nil, errors.New("no jump host for stay in the config")
	}
	pem, err := os.ReadFile(identityFile)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, err
	}
	known, err := knownhosts.New(knownHostsFile)
	if err != nil {
		return nil, err
	}
	return ssh.Dial("tcp", "127.0.0.1:"+string(stay[1]), &ssh.ClientConfig{
		User:            "demo",
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: known,
	})
}

// noop runs a command on the jump host, where it must succeed at once, and
// checks that the jump host forwards to no port but the target's.
func noop(jump *ssh.Client) error {
	session, err := jump.NewSession()
	if err != nil {
		return err
	}
	if err := session.Run("true"); err != nil {
		return fmt.Errorf("run true on the jump host: %w", err)
	}
	if conn, err := jump.Dial("tcp", "127.0.0.1:1"); err == nil {
		conn.Close()
		return errors.New("the jump host forwards anywhere")
	} else if refused := new(ssh.OpenChannelError); !errors.As(err, &refused) || refused.Reason != ssh.Prohibited {
		return fmt.Errorf("got %v for a forward to port 1, want prohibited", err)
	}
	return nil
}

func splice(jump *ssh.Client, target string) error {
	conn, err := jump.Dial("tcp", target)
	if err != nil {
		return err
	}
	go func() { // ends with the process
		io.Copy(conn, os.Stdin)
		conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, conn)
	return err
}
