//go:build linux

package main

import (
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// inNetns is a user in one network namespace and a server in another. The relay
// on it dials localhost there.
func inNetns(t *testing.T, server *sshtest.Netns, lines ...string) *resumed {
	t.Helper()
	r := emptyResumed(t)
	r.host = r.Sshd(sshtest.SshdConfig{In: server, Addr: "0.0.0.0"})
	r.host.Addr = server.Addr
	r.target = r.host
	r.install()
	lines = append(lines, r.client.ProxyLine(r.bin, "--log", r.log), "StayResume target", testKeep)
	r.fail(r.client.AddHost("it", r.host, lines...))
	return r
}

// testAddressChange: as with another Wi-Fi, the old address goes with all that
// is bound to it.
func testAddressChange(t *testing.T) {
	rig := sshtest.For(t)
	link := rig.Link()
	if err := link.Up(); err != nil {
		t.Fatal(err)
	}
	r := inNetns(t, link.Server)
	r.fail(link.Server.IP("addr add 192.0.2.5/29 dev eth0"))
	s := r.open("it", link.Client.Enter).hello()
	for _, change := range [][]string{
		{"addr del 192.0.2.1/30 dev eth0", "addr add 192.0.2.6/29 dev eth0"},
		{"addr flush dev eth0", "addr add 192.0.2.4/29 dev eth0"},
	} {
		before := r.attached()
		for _, args := range change {
			r.fail(link.Client.IP(args))
		}
		// 3 s where no other test runs, and 7 s without word of the change.
		t.Logf("%s: back after %v", change[1], s.answers(5*time.Second))
		if r.attached() == before {
			t.Errorf("%s: the old link goes on: nothing is tested", change[1])
		}
	}
	s.end()
	if got := r.accepted(r.target, "127.0.0.1"); got != 1 {
		t.Errorf("ssh logged in %d times, want once", got)
	}
	for _, from := range []string{"192.0.2.1", "192.0.2.6", "192.0.2.4"} {
		if r.accepted(r.host, from) == 0 {
			t.Errorf("nobody logged in from %s", from)
		}
	}
}

// testForgotten: a firewall forgets the flow, since nothing comes by for longer
// than it remembers.
func testForgotten(t *testing.T) {
	fw := sshtest.For(t).Firewall(2 * time.Second)
	r := inNetns(t, fw.Server, "StayInterval 6")
	s := r.open("it", fw.Client.Enter).hello()
	r.Eventually(30*time.Second, "forgetting", func() bool {
		known, err := fw.Known()
		return err == nil && known == 0
	})
	before, err := fw.Dropped()
	r.fail(err)
	// What is typed waits for an answer: 10 s at most, and a new link is tried
	// beside the old one before.
	t.Logf("back %v after the first keystroke", s.answers(20*time.Second))
	after, err := fw.Dropped()
	if err != nil || after <= before || r.attached() == 0 {
		t.Errorf("%d packets dropped, then %d, %v; attached %d times", before, after, err, r.attached())
	}
	s.end()
	if got := r.accepted(r.target, "127.0.0.1"); got != 1 {
		t.Errorf("ssh logged in %d times, want once", got)
	}
}
