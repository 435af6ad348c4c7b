package faults

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

const (
	// slack is what a busy machine may add to any time of the plan.
	slack = 3 * time.Second
	// keep ends the relays of a test that was killed, and so cleans nothing up.
	keep = "StayKeep 15m"
	// interval and giveUp are the fast profile: a probe each 2 s, three of them.
	interval = 2 * time.Second
	giveUp   = 3 * interval
	detect   = giveUp + 2*time.Second
)

// long takes the outages of the plan as long as they stand there.
var long = os.Getenv("FAULTS_LONG") != ""

// lasts is how long an outage takes: now, or where there is all the time.
func lasts(short, full time.Duration) time.Duration {
	if long {
		return full
	}
	return short
}

// scene is one row played once: a user, hosts, a way between them that can fail,
// and all of it the row's own, so that many can play at once.
//
// A route is where the user's ssh goes: "direct", or by "jump"; under resume the
// relay is on the "target", or on the "jump" host, or on a target "behind" one.
type scene struct {
	sshtest.Rig
	seed           uint64
	rng            *rand.Rand
	resumed        bool
	route, flavour string

	bin, log     string
	program      string // that ssh runs; "" is bin
	via          string // ProxyJump, where it is not the jump host
	client       *sshtest.Client
	jump, target *sshtest.Sshd // jump is nil where there is none
	front        *sshtest.Sshd // of the two, the one that the user dials
	enter        *sshtest.Netns
	wrap         []string // runs ssh, in enter; nil for nothing
	faults       *sshtest.Faults
	path         *sshtest.Path

	env     []string // more for ssh
	paused  bool     // transfers wait before their first byte
	limit   int64    // of the transfer's bytes each way; 0 is none
	rate    int
	unheard bool // the relay may have a session that the client never heard of
	darkFar bool // the far end does not learn that we have gone: no place to look for leaks

	patience time.Duration // with an end that shall be INTACT; 0 is 30 s

	transfers []*transfer // all that were begun

	struck, healed time.Time
	result
}

// result is what a scene has to tell.
type result struct {
	verdict Verdict
	took    time.Duration // from the fault to a CLEAN end
	back    time.Duration // from its end to a session that goes on
	note    string
}

// loopbacks counts addresses of 127/8: each fault proxy has one of its own, on
// the port of its server, so that a relay there finds its sshd on localhost.
var loopbacks atomic.Int32

func (s *scene) fail(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// user makes the client alone.
func (s *scene) user() {
	s.Helper()
	s.bin, s.client = s.Build(), s.Rig.Client()
	s.log = filepath.Join(s.client.Dir, "log")
	s.fail(s.client.Append("IgnoreUnknown Stay*"))
	s.Cleanup(func() {
		if s.Failed() {
			text, _ := os.ReadFile(s.log)
			s.Logf("log of the proxy:\n%s", tail(text, 6000))
		}
	})
}

func tail(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

func (s *scene) jumps() bool { return s.route == "jump" || s.route == "behind" }

// hosts starts the servers, in a namespace or in ours (nil). The lines are for
// sshd_config of the front.
func (s *scene) hosts(in *sshtest.Netns, cfg ...string) {
	s.Helper()
	start := func(lines []string) *sshtest.Sshd {
		c := sshtest.SshdConfig{In: in, Lines: lines}
		if in != nil {
			c.Addr = "0.0.0.0" // and so at localhost, where a relay looks
		}
		h := s.Sshd(c)
		if in != nil {
			h.Addr = in.Addr
		}
		return h
	}
	if !s.jumps() {
		s.target = start(cfg)
		s.front = s.target
		return
	}
	s.target, s.jump = start(nil), start(cfg)
	s.front = s.jump
}

// relayHost is where the relay is.
func (s *scene) relayHost() *sshtest.Sshd {
	if s.route == "jump" {
		return s.jump
	}
	return s.target
}

// names makes the alias "it" for the route, and "jump" for the jump host. ip is
// where the front is dialed; "" is its own address.
func (s *scene) names(ip string, lines ...string) {
	s.Helper()
	times := []string{fmt.Sprintf("StayInterval %d", interval/time.Second)}
	if !s.resumed {
		times = append(times, fmt.Sprintf("StayGiveUp %d", giveUp/time.Second))
	}
	lines = append(append(lines, times...), s.client.ProxyLine(cmp.Or(s.program, s.bin), "--log", s.log), keep)
	switch {
	case s.resumed && s.route == "jump":
		lines = append(lines, "StayResume jump")
	case s.resumed:
		lines = append(lines, "StayResume target")
	}
	if s.via != "" {
		lines = append(lines, "ProxyJump "+s.via)
	}
	var at []string
	if ip != "" {
		at = []string{"HostName " + ip}
	}
	if s.jumps() {
		var own []string // of the lines, what a jump host takes from its own block
		for _, line := range lines {
			if strings.HasPrefix(line, "StayInterval ") || strings.HasPrefix(line, "StayGiveUp ") {
				own = append(own, line)
			}
		}
		s.fail(s.client.AddHost("jump", s.jump, append(at, own...)...))
		lines, at = append(lines, "ProxyJump jump"), nil
	}
	s.fail(s.client.AddHost("it", s.target, append(at, lines...)...))
	if s.resumed {
		s.install(s.relayHost())
	}
}

// install puts the relay's program where an upload would, which takes seconds on
// a busy machine; other tests show it.
func (s *scene) install(h *sshtest.Sshd) {
	s.Helper()
	dir := filepath.Join(h.Home, ".cache", "ssh-stay")
	s.fail(os.MkdirAll(dir, 0o700))
	name := filepath.Join(dir, "relay-"+hashOfFile(s.bin))
	if os.Link(s.bin, name) == nil {
		return
	}
	program, err := os.ReadFile(s.bin) // the home may be on another disk
	s.fail(err)
	s.fail(os.WriteFile(name, program, 0o700))
}

var hashes sync.Map // of programs, by path

func hashOfFile(path string) string {
	if h, ok := hashes.Load(path); ok {
		return h.(string)
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	io.Copy(h, f)
	sum := fmt.Sprintf("%x", h.Sum(nil))
	hashes.Store(path, sum)
	return sum
}

// overFaults sets all up with a fault proxy before the front.
func (s *scene) overFaults(lines ...string) {
	s.Helper()
	s.user()
	s.hosts(nil)
	s.behindFaults(lines...)
}

// behindFaults puts a fault proxy before the front, and names it.
func (s *scene) behindFaults(lines ...string) {
	s.Helper()
	n := loopbacks.Add(1)
	ip := fmt.Sprintf("127.0.%d.%d", 2+n/200, 1+n%200)
	s.faults = s.Faults(&sshtest.Faults{Target: s.front.HostPort(), Listen: fmt.Sprintf("%s:%d", ip, s.front.Port)})
	s.know(s.faults.Addr(), s.front)
	s.names(ip, lines...)
}

// know adds a host to known_hosts under another address.
func (s *scene) know(addr string, h *sshtest.Sshd) {
	s.Helper()
	f, err := os.OpenFile(s.client.KnownHosts, os.O_APPEND|os.O_WRONLY, 0o600)
	s.fail(err)
	defer f.Close()
	_, err = f.WriteString(sshtest.KnownHost(addr, h.HostKey))
	s.fail(err)
}

// overPath sets all up with a network of packets between user and hosts.
func (s *scene) overPath(lines ...string) {
	s.Helper()
	s.user()
	s.path = s.Path(s.seed)
	s.enter = s.path.Client
	s.hosts(s.path.Server)
	s.names("", lines...)
}

// inside sets all up with the user in one namespace and the hosts in another.
func (s *scene) inside(client, server *sshtest.Netns, lines ...string) {
	s.Helper()
	s.user()
	s.enter = client
	s.hosts(server)
	s.names("", lines...)
}

// phase lets a random time pass, so that a fault strikes at any point.
func (s *scene) phase() { <-time.After(time.Duration(s.rng.Int64N(int64(900 * time.Millisecond)))) }

// strike notes when the fault begins.
func (s *scene) strike() { s.struck = time.Now() }

// fired fails the scene unless the fault is seen to have struck.
func (s *scene) fired(what string, seen func() bool) {
	s.Helper()
	s.soon(5*time.Second, "sign of the fault ("+what+")", seen)
}

// soon is Eventually for what is costly to look at.
func (s *scene) soon(d time.Duration, what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(d); !ok(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("no %s within %v", what, d)
		}
	}
}

// text is the log of the proxies.
func (s *scene) text() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// logged waits for a text in the log of the proxies.
func (s *scene) logged(d time.Duration, text string) {
	s.Helper()
	s.soon(d, fmt.Sprintf("word of %q in the log", text), func() bool { return strings.Contains(s.text(), text) })
}

var attachedLine = regexp.MustCompile(`(?m)msg=attached generation=\d+ `)

// attached is how often the stream got a link again.
func (s *scene) attached() int { return len(attachedLine.FindAllString(s.text(), -1)) }

// ours are the proxies of this user.
func (s *scene) ours() (pids []int) {
	for _, pid := range sshtest.ProcessesOf(s.bin) {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if bytes.Contains(env, []byte("HOME="+s.client.Dir+"\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// proxyPid is the one proxy that runs.
func (s *scene) proxyPid() int {
	s.Helper()
	pids := s.ours()
	if len(pids) != 1 {
		s.Fatalf("got proxies %v, want one", pids)
	}
	return pids[0]
}

// relayPid is the relay that runs.
func (s *scene) relayPid() int {
	s.Helper()
	for _, pid := range s.relayHost().Relays() {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(line), "\x00daemon\x00") {
			return pid
		}
	}
	s.Fatal("no relay runs")
	return 0
}

// running are the processes whose command line has the text.
func running(text string) (pids []int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range lines {
		if line, err := os.ReadFile(name); err == nil && bytes.Contains(line, []byte(text)) {
			var pid int
			fmt.Sscanf(name, "/proc/%d/", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// leaves fails the scene if a process or a socket of the user is left, or, where
// the far end can know that we have gone, of the session there.
func (s *scene) leaves() {
	s.Helper()
	s.soon(8*time.Second, "end of our processes", func() bool { return len(s.ours()) == 0 })
	if !s.darkFar {
		s.soon(15*time.Second, "end of the session at the far end", func() bool {
			return !isSelfAmong(running(s.client.Dir + "/far"))
		})
	}
	if left := sockets(s.client.Dir); len(left) > 0 {
		s.Errorf("sockets %v are left", left)
	}
}

// nothingWrong fails the scene if an end has got a wrong byte after its session was
// judged: the far end may get some when ssh has gone.
func (s *scene) nothingWrong() {
	s.Helper()
	for _, t := range s.transfers {
		if wrong := wrongs(&End{Near: t.near, Far: t.far}); len(wrong) > 0 {
			s.Errorf("after the end: %q", wrong)
		}
	}
}

// relayLeaves waits for the relay's end, which takes it 10 to 20 s, and three minutes
// more where it has a session that the client never heard of.
func (s *scene) relayLeaves() {
	s.Helper()
	if !s.resumed || s.darkFar || s.relayHost() == nil {
		return
	}
	h := s.relayHost()
	<-time.After(8 * time.Second) // many scenes wait here, and to look is work
	gone := func() bool { return len(h.Relays()) == 0 }
	patience := 40 * time.Second
	if s.unheard {
		patience += 3 * time.Minute
	}
	for end := time.Now().Add(patience); !gone(); <-time.After(500 * time.Millisecond) {
		if time.Now().After(end) {
			for _, pid := range h.Relays() {
				line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				fds, _ := sshtest.OpenFDs(pid)
				s.Errorf("relay %d (%q) is there still, with files %q", pid, line, fds)
			}
			return
		}
	}
	if left := sockets(filepath.Join(h.Home, ".cache")); len(left) > 0 {
		s.Errorf("sockets %v are left of the relay", left)
	}
}

// sockets are the unix sockets below a folder.
func sockets(dir string) (found []string) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSocket != 0 {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// self is the program of this test, which is the far end of its sessions too.
func self() string {
	path, _ := os.Executable()
	return path
}

// background is a context that ends with the test binary's patience alone.
func background(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// accepted is how often a host has let somebody in from an address.
func accepted(h *sshtest.Sshd, from string) (n int) {
	for line := range strings.Lines(h.Log()) {
		if strings.HasPrefix(line, "Accepted publickey") && strings.Contains(line, " from "+from+" port ") {
			n++
		}
	}
	return n
}
