//go:build linux

package sshtest

import (
	"errors"
	"net"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// NameFailure is how a server of names does not answer.
type NameFailure int

const (
	NoFailure NameFailure = iota
	NXDomain              // there is no such name
	ServFail              // there is no telling
	NoAnswer              // silence
)

// Names is a DNS server on 127.0.0.1:53 of a namespace, where a resolv.conf can
// name it.
type Names struct {
	conn    net.PacketConn
	serving sync.WaitGroup

	mu      sync.Mutex // guards what follows
	addrs   map[string][4]byte
	failure NameFailure
	failed  int
}

// NewNames starts a server that knows no names. The caller closes it.
func NewNames(in *Netns) (*Names, error) {
	n := &Names{addrs: make(map[string][4]byte)}
	err := in.Do(func() (err error) {
		n.conn, err = net.ListenPacket("udp", "127.0.0.1:53")
		return err
	})
	if err != nil {
		return nil, err
	}
	n.serving.Go(n.serve) // until Close
	return n, nil
}

// Set gives a name an IPv4 address, and no other.
func (n *Names) Set(name, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs[name+"."] = [4]byte(net.ParseIP(addr).To4())
}

// Fail has all questions fail from now on, and Mend none.
func (n *Names) Fail(f NameFailure) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failure = f
}

func (n *Names) Mend() { n.Fail(NoFailure) }

// Failed is how many questions have failed so.
func (n *Names) Failed() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.failed
}

func (n *Names) serve() {
	buf := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if answer := n.answer(buf[:size]); answer != nil {
			n.conn.WriteTo(answer, from)
		}
	}
}

// answer is what is said to a question; nil for nothing.
func (n *Names) answer(question []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	q := m.Questions[0]
	addr, known := n.addrs[q.Name.String()]
	switch {
	case n.failure != NoFailure:
		n.failed++
		m.RCode = map[NameFailure]dnsmessage.RCode{NXDomain: dnsmessage.RCodeNameError, ServFail: dnsmessage.RCodeServerFailure}[n.failure]
		if n.failure == NoAnswer {
			return nil
		}
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: addr},
		}}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// Close ends the server.
func (n *Names) Close() error {
	err := n.conn.Close()
	n.serving.Wait()
	return err
}

// Names starts a server of names.
func (r Rig) Names(in *Netns) *Names {
	r.Helper()
	n, err := NewNames(in)
	r.must(err)
	r.end(n)
	return n
}
