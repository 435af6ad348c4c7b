//go:build linux

package sshtest

import (
	"errors"
	"fmt"
)

// Link is a client and a server on one cable. It is unplugged at first: the
// client then has no route to the server, and connect answers so at once.
type Link struct {
	Client, Server *Netns // 192.0.2.1 and 192.0.2.2
}

// NewLink makes the two ends. It needs root. The caller closes it.
func NewLink() (*Link, error) {
	l := &Link{}
	if err := l.setUp(); err != nil {
		l.Close()
		return nil, fmt.Errorf("set up the link: %w", err)
	}
	return l, nil
}

func (l *Link) setUp() (err error) {
	if l.Client, err = newNetns("192.0.2.1"); err != nil {
		return err
	}
	if l.Server, err = newNetns("192.0.2.2"); err != nil {
		return err
	}
	if err := l.Client.IP("link add eth0 type veth peer name eth0 netns " + l.Server.path()); err != nil {
		return err
	}
	for _, ns := range []*Netns{l.Client, l.Server} {
		if err := ns.IP("addr add " + ns.Addr + "/30 dev eth0"); err != nil {
			return err
		}
	}
	return l.Server.IP("link set eth0 up")
}

// Up plugs the client in.
func (l *Link) Up() error { return l.Client.IP("link set eth0 up") }

// Down unplugs it: packets to the server have no route from then on, and open
// connections wait.
func (l *Link) Down() error { return l.Client.IP("link set eth0 down") }

// Close removes the namespaces, once what runs in them has ended.
func (l *Link) Close() error { return errors.Join(l.Client.Close(), l.Server.Close()) }
