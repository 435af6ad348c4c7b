//go:build linux

package sshtest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Firewall is a client and a server with a stateful firewall between them that
// forgets idle connections: the kernel's own connection tracking in a third
// namespace. It lets the client open connections and passes what belongs to
// one it knows. Anything else it drops without a word, as do most of those in
// front of real servers, so a forgotten connection hangs and is not refused.
type Firewall struct {
	Client, Server *Netns // 198.51.100.2 and 203.0.113.2

	middle *Netns
}

// The rules of the middle. A packet from the middle of an unknown connection
// counts as invalid with tcp_loose off, and has no lone SYN, so none takes it.
const rules = `
table inet firewall {
	counter passed {}
	counter dropped {}
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established,related counter name passed accept
		iifname "client" ct state new tcp flags & (fin|syn|rst|ack) == syn counter name passed accept
		counter name dropped
	}
}
`

// NewFirewall makes one that forgets a connection after idle, to the second. It
// needs root. The caller closes it.
func NewFirewall(idle time.Duration) (*Firewall, error) {
	f := &Firewall{}
	if err := f.setUp(idle); err != nil {
		f.Close()
		return nil, fmt.Errorf("set up the firewall: %w", err)
	}
	return f, nil
}

func (f *Firewall) setUp(idle time.Duration) (err error) {
	if f.Client, err = newNetns("198.51.100.2"); err != nil {
		return err
	}
	if f.Server, err = newNetns("203.0.113.2"); err != nil {
		return err
	}
	if f.middle, err = newNetns(""); err != nil {
		return err
	}
	if err := f.join(f.Client, "client", "198.51.100.1"); err != nil {
		return err
	}
	if err := f.join(f.Server, "server", "203.0.113.1"); err != nil {
		return err
	}
	// The rules come first: they are what loads connection tracking here.
	if _, err := f.middle.run(rules, "nft", "-f", "-"); err != nil {
		return err
	}
	return errors.Join(
		f.middle.sysctl("net.netfilter.nf_conntrack_tcp_loose", "0"),
		f.middle.sysctl("net.netfilter.nf_conntrack_tcp_timeout_established", seconds(idle)),
		f.middle.sysctl("net.ipv4.ip_forward", "1"),
	)
}

// join links ns to the middle, where the device gets that name and address.
func (f *Firewall) join(ns *Netns, device, router string) error {
	for _, err := range []error{
		ns.IP("link add eth0 type veth peer name " + device + " netns " + f.middle.path()),
		ns.IP("addr add " + ns.Addr + "/24 dev eth0"),
		ns.IP("link set eth0 up"),
		f.middle.IP("addr add " + router + "/24 dev " + device),
		f.middle.IP("link set " + device + " up"),
		ns.IP("route add default via " + router),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// Dropped is how many packets the firewall has dropped: above zero when it has
// met one of a connection that it no longer knows.
func (f *Firewall) Dropped() (int, error) {
	out, err := f.middle.run("", "nft", "list", "counter", "inet", "firewall", "dropped")
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(out, "packets ")
	var packets int
	if _, err := fmt.Sscan(after, &packets); err != nil {
		return 0, fmt.Errorf("no count of packets in %q", out)
	}
	return packets, nil
}

// Known is how many established connections the firewall remembers. To look
// keeps none of them alive.
func (f *Firewall) Known() (int, error) {
	out, err := f.middle.run("", "conntrack", "-L", "-p", "tcp")
	return strings.Count(out, "ESTABLISHED"), err
}

// Close removes the namespaces, once what runs in them has ended.
func (f *Firewall) Close() error {
	return errors.Join(f.Client.Close(), f.Server.Close(), f.middle.Close())
}
