//go:build linux

package vscode_test

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
	"ssh-stay/internal/vscode"
)

// scenario is a window and what happens to its network.
type scenario struct {
	name     string
	flavour  vscode.Flavour
	paused   bool                    // a window without keepalives
	copies   bool                    // scp beside it
	password bool                    // behind a jump host that wants one; the fault proxy is before it
	loopback bool                    // with a fault proxy instead of a firewall
	persist  bool                    // ControlMaster and ControlPersist
	forbids  string                  // why VS Code's own clocks start more than one ssh, whatever ssh does
	control  func(vscode.Score) bool // what stock ssh must suffer for the scenario to show something; nil: it may do well
	wrapped  bool                    // played as remote.SSH.path in the quick test too
	act      func(s *stage)
}

// What forbids that one ssh is enough.
const (
	// The window gives its connection up, asks the exec server, and starts another
	// ssh, which ends the first.
	silence = "VS Code replaces a connection after 20 s of silence, and its ssh 3 s later"
	// The local server ends its ssh when the window was silent for 5 s of wall time.
	deadMan = "VS Code's local server ends its ssh after 5 s of sleep"
)

// scenarios are the rows of the table.
func scenarios(p profile) []scenario {
	restarts := func(s vscode.Score) bool { return s.SSHSpawns > 1 }
	asks := func(s vscode.Score) bool { return s.Prompts > 1 }
	away := func(d time.Duration) string { return "network away for " + brief(d) + " without a word" }
	asleep := "asleep for " + brief(p.asleep)
	all := []scenario{
		{name: "idle for " + brief(p.idle) + " behind a firewall that forgets after " + brief(p.firewall), act: (*stage).idle},
		{name: "the same, by a window that sends no keepalives", paused: true, control: restarts, act: (*stage).idlePaused},
		{name: "cut (TCP reset) twice", loopback: true, control: restarts, wrapped: true, act: (*stage).cut},
		{name: away(p.short), act: (*stage).awayShort},
		{name: away(p.long), forbids: silence, act: (*stage).awayLong},
		{name: "network unplugged for " + brief(p.down), forbids: silence, control: func(s vscode.Score) bool { return s.ReloadWindow > 0 }, act: (*stage).unplugged},
		{name: "another address", control: restarts, act: (*stage).roam},
		{name: asleep, forbids: deadMan, act: (*stage).sleep},
		{name: asleep + ", ControlPersist", persist: true, act: (*stage).sleep},
		{name: asleep + ", terminal", flavour: vscode.Terminal, wrapped: true, act: (*stage).sleep},
		{name: asleep + " and awake at another address, terminal", flavour: vscode.Terminal, control: restarts, act: (*stage).sleepAndRoam},
		{name: "cut, behind a jump host with a password", password: true, control: asks, act: (*stage).cut},
		{name: "cut, behind the same jump host, terminal", flavour: vscode.Terminal, password: true, control: asks, act: (*stage).cut},
		{name: asleep + ", behind the same jump host", password: true, forbids: deadMan, act: (*stage).sleep},
		{name: asleep + ", behind it, ControlPersist", password: true, persist: true, act: (*stage).sleep},
		{name: "cut, terminal", flavour: vscode.Terminal, loopback: true, act: (*stage).cut},
		{name: "cut, -L (two ssh)", flavour: vscode.Forward, loopback: true, act: (*stage).cut},
		{name: "cut, Windows line", flavour: vscode.Piped, loopback: true, act: (*stage).cut},
		{name: "cut, scp beside it", copies: true, loopback: true, act: (*stage).cut},
	}
	for i := range all {
		if all[i].flavour == "" {
			all[i].flavour = vscode.LocalServer
		}
	}
	return all
}

// brief is a time as people write it.
func brief(d time.Duration) string {
	if d >= time.Minute && d%time.Minute == 0 {
		return strconv.Itoa(int(d/time.Minute)) + " min"
	}
	return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) + " s"
}

// play is one scenario with one variant.
func play(t *testing.T, p profile, sc scenario, v variant) vscode.Score {
	t.Helper()
	s := newStage(t, p, &sc, v)
	s.open(&sc)
	s.tell(vscode.Type)
	pass(2 * p.clocks.KeepAlive)
	sc.act(s)
	score := s.end()
	if sc.copies && score.Copies != 1 {
		t.Error("scp did not copy")
	}
	if score.MessagesSent == 0 {
		t.Error("nothing was sent: nothing is tested")
	}
	return score
}

func (s *stage) idle() {
	s.tell(vscode.Quiet)
	pass(s.profile.idle)
	s.tell(vscode.Type)
	pass(s.after)
}

func (s *stage) idlePaused() {
	s.tell(vscode.Quiet)
	pass(s.profile.idle)
	before := s.dropped()
	s.tell(vscode.Type)
	pass(s.after)
	if forgot := s.dropped() > before; forgot == (s.variant.stay || s.variant.wrapper) {
		s.Errorf("the firewall met a connection that it had forgotten: %v", forgot)
	}
}

func (s *stage) dropped() int {
	s.Helper()
	n, err := s.firewall.Dropped()
	s.fail(err)
	return n
}

// cut resets the connection twice, as a firewall does that was restarted.
func (s *stage) cut() {
	for range 2 {
		before := s.faults.Stats().Reset
		s.faults.Reset()
		if s.faults.Stats().Reset == before {
			s.Error("no connection was cut")
		}
		pass(s.after / 2)
	}
}

func (s *stage) awayShort() { s.away(s.short) }
func (s *stage) awayLong()  { s.away(s.long) }

// away drops all packets at the server's door, and nobody is told.
func (s *stage) away(d time.Duration) {
	s.Helper()
	s.nft(`table inet away {
		counter dropped {}
		chain in { type filter hook prerouting priority -300; iifname eth0 counter name dropped drop; }
		chain out { type filter hook postrouting priority -300; oifname eth0 counter name dropped drop; }
	}`)
	pass(d)
	if out := s.nft("list counter inet away dropped"); strings.Contains(out, "packets 0 ") {
		s.Errorf("nothing was dropped: %s", out)
	}
	s.nft("delete table inet away")
	pass(s.after)
}

// unplugged: the client has no route, and connect says so at once.
func (s *stage) unplugged() {
	s.unplug()
	pass(s.down)
	s.plug()
	pass(s.after)
}

func (s *stage) unplug() {
	s.Helper()
	if s.firewall == nil {
		s.faults.Freeze(sshtest.Both)
		return
	}
	s.fail(s.firewall.Client.IP("link set eth0 down"))
}

// plug brings back the device, and the route that went with it.
func (s *stage) plug() {
	s.Helper()
	if s.firewall == nil {
		if s.faults.Stats().Withheld == 0 {
			s.Error("nothing was withheld")
		}
		s.faults.Thaw()
		return
	}
	s.fail(s.firewall.Client.IP("link set eth0 up"))
	s.fail(s.firewall.Client.IP("route add default via 198.51.100.1"))
}

// move gives the client another address, as another Wi-Fi does.
func (s *stage) move() {
	s.Helper()
	for _, args := range []string{"addr flush dev eth0", "addr add 198.51.100.77/24 dev eth0", "route add default via 198.51.100.1"} {
		s.fail(s.firewall.Client.IP(args))
	}
}

func (s *stage) roam() {
	s.move()
	pass(s.after)
}

// sleep stops all that is the client's, and takes its link away, as a laptop does.
// The user has stopped typing before, and goes on after.
func (s *stage) sleep() { s.sleepThen(s.plug) }

func (s *stage) sleepAndRoam() {
	s.sleepThen(func() {
		s.plug()
		s.move()
	})
}

func (s *stage) sleepThen(plug func()) {
	s.tell(vscode.Quiet)
	pass(s.clocks.Typing)
	s.unplug()
	wake := s.stop()
	pass(s.asleep)
	plug()
	wake()
	s.tell(vscode.Type)
	pass(s.after)
}

// nft runs nft in the server's namespace.
func (s *stage) nft(rules string) string {
	s.Helper()
	cmd := s.firewall.Server.Enter(exec.Command(s.Peer("nft"), "-f", "-"))
	cmd.Stdin = strings.NewReader(rules)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.Fatalf("nft: %v: %s", err, out)
	}
	return string(out)
}
