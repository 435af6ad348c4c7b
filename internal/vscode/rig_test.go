//go:build linux

package vscode_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
	"ssh-stay/internal/vscode"
)

func TestMain(m *testing.M) {
	if status, ran := vscode.Main(); ran {
		os.Exit(status)
	}
	status := m.Run()
	os.RemoveAll(standinDir())
	os.Exit(status)
}

// variant is what runs as ssh, with which config.
type variant struct {
	name    string
	stay    bool // ssh-stay is the ProxyCommand
	resume  bool
	wrapper bool // ssh-stay is remote.SSH.path, and no ProxyCommand is configured
}

const (
	stock   = "stock ssh"
	resumed = "ssh-stay, resume"
)

var variants = []variant{
	{name: stock},
	{name: "ssh-stay", stay: true},
	{name: resumed, stay: true, resume: true},
	{name: "as remote.SSH.path, resume", wrapper: true, resume: true},
}

// profile is how long things last.
type profile struct {
	clocks   vscode.Clocks
	firewall time.Duration // idle time after which it forgets
	interval time.Duration // StayInterval
	idle     time.Duration
	short    time.Duration // of an absence that TCP gets over
	long     time.Duration
	asleep   time.Duration
	down     time.Duration // of a network that says so
	after    time.Duration // from a fault's end to the test's
	patience time.Duration // for the last answers
	limits
}

func realProfile() profile {
	return profile{clocks: vscode.RealClocks(), firewall: 20 * time.Second, interval: 10 * time.Second,
		idle: time.Minute, short: 10 * time.Second, long: 2 * time.Minute, asleep: 30 * time.Second,
		down: time.Minute, after: 40 * time.Second, patience: 90 * time.Second}
}

func quickProfile() profile {
	return profile{clocks: vscode.QuickClocks(), firewall: 4 * time.Second, interval: 2 * time.Second,
		idle: 9 * time.Second, short: 2500 * time.Millisecond, long: 14 * time.Second, asleep: 6 * time.Second,
		down: 14 * time.Second, after: 5 * time.Second, patience: 20 * time.Second}
}

// stage is one user, one target and the network between them: a firewall, or a
// fault proxy on loopback.
type stage struct {
	sshtest.Rig
	profile
	client   *sshtest.Client
	target   *sshtest.Sshd
	jump     *sshtest.Sshd    // nil for none
	account  *sshtest.Account // at the jump host
	firewall *sshtest.Firewall
	faults   *sshtest.Faults
	askpass  *sshtest.Askpass
	variant  variant
	bin      string

	cmd    *exec.Cmd
	stdin  io.Closer
	write  io.Writer
	events chan vscode.Event
	log    string
}

// standinDir is this process's alone.
func standinDir() string {
	return filepath.Join(os.TempDir(), "vscode-standin-"+strconv.Itoa(os.Getpid()))
}

// standin builds the server once.
var standin = sync.OnceValues(func() (string, error) {
	path := filepath.Join(standinDir(), "standin")
	cmd := exec.Command("go", "build", "-o", path, "ssh-stay/internal/vscode/standin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the stand-in: %w\n%s", err, out)
	}
	return path, nil
})

// loopbacks counts addresses of 127/8: each fault proxy has one of its own, on the
// port of its server, so that a relay there does not dial it again.
var loopbacks atomic.Int32

// newStage makes the network of a scenario.
func newStage(t *testing.T, p profile, sc *scenario, v variant) *stage {
	t.Helper()
	s := &stage{Rig: sshtest.For(t), profile: p, variant: v}
	s.bin, s.client = s.Build(), s.Client()
	lines := []string{"IgnoreUnknown Stay*"}
	if sc.persist {
		lines = append(lines, "ControlMaster auto", "ControlPath "+s.client.Dir+"/mux-%C", "ControlPersist 10m")
	}
	lines = append(lines, fmt.Sprintf("StayInterval %d", p.interval/time.Second), "StayKeep 10m")
	s.fail(s.client.Append(lines...))
	s.askpass = s.Askpass(nil)
	var own []string
	if v.stay {
		own = append(own, s.client.ProxyLine(s.bin, "--log", filepath.Join(s.client.Dir, "staylog")))
	}
	switch {
	case sc.password:
		s.passwordJump(own)
	case sc.loopback:
		s.throughFaults(own)
	default:
		s.throughFirewall(own)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"window.log", "staylog"} {
				text, _ := os.ReadFile(filepath.Join(s.client.Dir, name))
				t.Logf("%s:\n%s", name, text)
			}
		}
	})
	return s
}

func (s *stage) resume(where string) (lines []string) {
	if s.variant.resume {
		lines = []string{"StayResume " + where}
	}
	return lines
}

// throughFirewall has the server behind it. The relay dials localhost there.
func (s *stage) throughFirewall(own []string) {
	s.Helper()
	s.firewall = s.Firewall(s.profile.firewall)
	s.target = s.Sshd(sshtest.SshdConfig{In: s.firewall.Server, Addr: "0.0.0.0"})
	s.target.Addr = s.firewall.Server.Addr
	s.install(s.target.Home)
	s.fail(s.client.AddHost("it", s.target, append(own, s.resume("target")...)...))
}

// throughFaults has a fault proxy before the server.
func (s *stage) throughFaults(own []string) {
	s.Helper()
	s.target = s.Sshd(sshtest.SshdConfig{})
	s.install(s.target.Home)
	ip := s.before(s.target)
	s.fail(s.client.AddHost("it", s.target, append(own, append(s.resume("target"), "HostName "+ip)...)...))
}

// accounts guards the making of accounts.
var accounts sync.Mutex

// passwordJump has a jump host that wants a password, with a fault proxy before it.
func (s *stage) passwordJump(own []string) {
	s.Helper()
	accounts.Lock() // of /etc/passwd, for which useradd does not wait
	s.account = s.Account()
	accounts.Unlock()
	s.askpass = s.Askpass(map[string]string{"password: ": s.account.Password})
	s.jump = s.Sshd(sshtest.SshdConfig{Lines: []string{"AuthenticationMethods password", "SetEnv HOME=" + s.account.Home}})
	s.Cleanup(func() { // a relay of the account is in no home that the server knows
		relays, _ := filepath.Glob(filepath.Join(s.account.Home, ".cache/ssh-stay/relay-*"))
		for _, relay := range relays {
			for _, pid := range sshtest.ProcessesOf(relay) {
				syscall.Kill(pid, syscall.SIGKILL)
				s.WaitGone(pid, 5*time.Second)
			}
		}
	})
	s.installRelay(s.account.Home)
	s.fail(exec.Command("chown", "-R", s.account.Name, s.account.Home).Run())
	s.target = s.Sshd(sshtest.SshdConfig{})
	s.install(s.target.Home)
	ip := s.before(s.jump)
	s.fail(s.client.AddHost("jump", s.jump, "HostName "+ip, "User "+s.account.Name, "BatchMode no"))
	s.fail(s.client.AddHost("it", s.target, append(own, append(s.resume("jump"), "ProxyJump jump", "BatchMode no")...)...))
}

// before puts a fault proxy before a server, and has the user know it there.
func (s *stage) before(server *sshtest.Sshd) (ip string) {
	s.Helper()
	ip = fmt.Sprintf("127.0.2.%d", 1+loopbacks.Add(1))
	s.faults = s.Faults(&sshtest.Faults{Target: server.HostPort(), Listen: fmt.Sprintf("%s:%d", ip, server.Port)})
	f, err := os.OpenFile(s.client.KnownHosts, os.O_APPEND|os.O_WRONLY, 0o600)
	s.fail(err)
	defer f.Close()
	_, err = f.WriteString(sshtest.KnownHost(s.faults.Addr(), server.HostKey))
	s.fail(err)
	return ip
}

// install puts the stand-in server into a home, and a relay.
func (s *stage) install(home string) {
	s.Helper()
	server, err := standin()
	s.fail(err)
	dir := filepath.Join(home, ".vscode-server")
	s.fail(os.MkdirAll(dir, 0o700))
	s.fail(os.Link(server, filepath.Join(dir, "standin")))
	s.installRelay(home)
}

// installRelay puts the relay's program where an upload would, which takes seconds
// on a machine under load.
func (s *stage) installRelay(home string) {
	s.Helper()
	program, err := os.ReadFile(s.bin)
	s.fail(err)
	cache := filepath.Join(home, ".cache", "ssh-stay")
	s.fail(os.MkdirAll(cache, 0o700))
	s.fail(os.WriteFile(filepath.Join(cache, fmt.Sprintf("relay-%x", sha256.Sum256(program))), program, 0o700))
}

func (s *stage) fail(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// open starts the window and waits until it is connected.
func (s *stage) open(sc *scenario) {
	s.Helper()
	serverArgs := "--keepalive " + s.clocks.KeepAlive.String()
	if sc.paused {
		serverArgs = "--keepalive 1h"
	}
	ssh := s.Peer("ssh")
	if s.variant.wrapper {
		ssh = filepath.Join(s.client.Dir, "ssh")
		s.fail(os.Symlink(s.bin, ssh))
	}
	var answer string
	if s.account != nil {
		answer = s.account.Password
	}
	cmd, stdin, err := vscode.WindowCommand(&vscode.Window{
		SSH: ssh, SCP: s.Peer("scp"), ConfigFile: s.client.Config, Host: "it",
		Flavour: sc.flavour, Clocks: s.clocks, Askpass: filepath.Join(s.askpass.Dir, "askpass"), Answer: answer,
		ServerArgs: serverArgs, Paused: sc.paused, Copy: sc.copies, Dir: s.client.Dir,
	})
	s.fail(err)
	s.stdin, s.write = stdin, stdin
	cmd.Env, cmd.Dir = s.client.Env(), s.client.Dir
	if s.firewall != nil {
		cmd = s.firewall.Client.Enter(cmd)
	}
	s.log = filepath.Join(s.client.Dir, "window.log")
	log, err := os.Create(s.log)
	s.fail(err)
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	s.fail(err)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	s.opening <- struct{}{}
	s.fail(cmd.Start())
	cmd.Stdin.(*os.File).Close()
	s.cmd, s.events = cmd, make(chan vscode.Event, 1000)
	go s.listen(out) // ends with the process
	s.Cleanup(s.close)
	s.event("open", 60*time.Second)
	<-s.opening
}

func (s *stage) listen(out io.Reader) {
	defer close(s.events)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var e vscode.Event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			s.events <- e
		}
	}
}

// event waits for an event of that name and returns it.
func (s *stage) event(name string, d time.Duration) vscode.Event {
	s.Helper()
	late := time.After(d)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				s.Fatalf("the window ended, want event %q", name)
			}
			if e.Name == name {
				return e
			}
			if e.Name == "failed" {
				s.Fatalf("the window failed: %s", e.Why)
			}
		case <-late:
			s.Fatalf("no event %q within %v", name, d)
		}
	}
}

func (s *stage) tell(command string) {
	s.Helper()
	_, err := io.WriteString(s.write, command+"\n")
	s.fail(err)
}

// close kills what is left of the window.
func (s *stage) close() {
	left := append(sshtest.Descendants(s.cmd.Process.Pid), s.cmd.Process.Pid)
	for _, pid := range left {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	s.stdin.Close()
	for range s.events { // to its end
	}
	s.cmd.Wait()
	for _, pid := range left {
		s.WaitGone(pid, 5*time.Second)
	}
}

// end lets the window wait for its last answers and returns the score.
func (s *stage) end() vscode.Score {
	s.Helper()
	s.tell(vscode.End + " " + s.patience.String())
	score := *s.event("end", s.patience+10*time.Second).Score
	asked, err := s.askpass.Asked()
	s.fail(err)
	score.Prompts += len(asked)
	score.InnerSSH = s.inner()
	return score
}

// inner is how often the target let ssh in. With a relay there ssh comes from it,
// and ssh-stay itself from elsewhere.
func (s *stage) inner() (n int) {
	relayed := s.variant.resume && s.jump == nil
	for line := range strings.Lines(s.target.Log()) {
		if strings.HasPrefix(line, "Accepted publickey ") && (!relayed || strings.Contains(line, " from 127.0.0.1 port ")) {
			n++
		}
	}
	return n
}

// pass lets d go by: what a scenario is about is how long things last.
func pass(d time.Duration) { <-time.After(d) }

// stop stops all processes of the client, as a sleep does.
func (s *stage) stop() (wake func()) {
	var stopped []int
	pids := []int{s.cmd.Process.Pid}
	for len(pids) > 0 {
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGSTOP)
		}
		stopped = append(stopped, pids...)
		pids = nil
		for _, pid := range sshtest.Descendants(s.cmd.Process.Pid) {
			if !slices.Contains(stopped, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return func() {
		for _, pid := range stopped {
			syscall.Kill(pid, syscall.SIGCONT)
		}
	}
}
