package sshtest

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestFreePort: no connection can take the port of a server that is down, nor
// can another server.
func TestFreePort(t *testing.T) {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	For(t).must(err)
	lowest, err := strconv.Atoi(strings.Fields(string(data))[0])
	For(t).must(err)
	var ports []int
	for range 50 {
		port, err := freePort("127.0.0.1")
		For(t).must(err)
		if port >= lowest || slices.Contains(ports, port) {
			t.Errorf("got %d after %v, want another below %d", port, ports, lowest)
		}
		ports = append(ports, port)
	}
	last := ports[len(ports)-1]
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(last)))
	For(t).must(err)
	defer l.Close()
	nextPort.Add(^uint32(0)) // it is next
	if port, err := freePort("127.0.0.1"); err != nil || port == last {
		t.Errorf("got %d, %v beside a server at %d, want another", port, err, last)
	}
}

// TestStartBesideForks: a child that has not yet called exec holds every socket
// of its parent, one that was closed meanwhile too.
func TestStartBesideForks(t *testing.T) {
	var forking sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		forking.Go(func() { // until done
			for {
				select {
				case <-done:
					return
				default:
					exec.Command("true").Run()
				}
			}
		})
	}
	defer forking.Wait()
	defer close(done)
	for range 500 {
		p := &Faults{Target: "127.0.0.1:1"}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
}
