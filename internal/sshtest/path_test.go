//go:build linux

package sshtest

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

// TestPath: each impairment is counted, and TCP copes with those that it can.
func TestPath(t *testing.T) {
	Leaks(t)
	for _, tc := range []struct {
		name  string
		way   Impairment
		count func(PathStats) int
		lost  bool // nothing comes through
	}{
		{"none", Impairment{}, func(s PathStats) int { return s.Packets }, false},
		{"dark", Impairment{Dark: true}, func(s PathStats) int { return s.Lost }, true},
		{"loss", Impairment{Loss: 0.2}, func(s PathStats) int { return s.Lost }, false},
		{"reorder", Impairment{Reorder: 0.3}, func(s PathStats) int { return s.Reordered }, false},
		{"duplicate", Impairment{Duplicate: 0.3}, func(s PathStats) int { return s.Duplicated }, false},
		{"size", Impairment{MaxSize: 70}, func(s PathStats) int { return s.TooLarge }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := For(t).Path(1)
			c, err := dial(t, p.Client, serve(t, p.Server))
			For(t).must(err)
			exchange(t, c, "before")
			p.Impair(Both, tc.way)
			if tc.lost {
				send(t, c, fmt.Sprintf("%100s", "lost"))
				silent(t, c)
			}
			for i := 0; i < 20 && !tc.lost; i++ {
				exchange(t, c, fmt.Sprint("during ", i))
			}
			if n := tc.count(p.Stats(Both)); n == 0 {
				t.Errorf("%+v, want packets of the kind", p.Stats(Both))
			}
		})
	}
}

// TestPathForgets flows of before, and no new one.
func TestPathForgets(t *testing.T) {
	Leaks(t)
	p := For(t).Path(1)
	addr := serve(t, p.Server)
	c, err := dial(t, p.Client, addr)
	For(t).must(err)
	exchange(t, c, "before")
	p.Forget()
	send(t, c, "too late")
	silent(t, c)
	if p.Stats(ToServer).Forgotten == 0 {
		t.Errorf("%+v, want forgotten packets", p.Stats(Both))
	}
	again, err := dial(t, p.Client, addr)
	For(t).must(err)
	exchange(t, again, "after")
}

// TestPathIsSlow takes what its rate and its length say.
func TestPathIsSlow(t *testing.T) {
	Leaks(t)
	p := For(t).Path(1)
	c, err := dial(t, p.Client, serve(t, p.Server))
	For(t).must(err)
	p.Impair(Both, Impairment{Rate: 10_000, Delay: 50 * time.Millisecond})
	begin := time.Now()
	exchange(t, c, fmt.Sprintf("%5000s", "."))
	if took := time.Since(begin); took < 600*time.Millisecond {
		t.Errorf("took %v, want 5000 bytes at 10,000 a second and 100 ms", took)
	}
}

func TestNames(t *testing.T) {
	Leaks(t)
	r := For(t)
	link := r.Link()
	n := r.Names(link.Client)
	n.Set("host.test", "192.0.2.9")
	ask := func() ([]string, error) {
		resolver := &net.Resolver{PreferGo: true, Dial: dialIn(link.Client)}
		return resolver.LookupHost(within(t, 2*time.Second), "host.test.")
	}
	if addrs, err := ask(); err != nil || len(addrs) != 1 || addrs[0] != "192.0.2.9" {
		t.Errorf("got %v, %v; want 192.0.2.9", addrs, err)
	}
	for _, f := range []NameFailure{NXDomain, ServFail, NoAnswer} {
		n.Fail(f)
		before := n.Failed()
		if addrs, err := ask(); err == nil || n.Failed() == before {
			t.Errorf("failure %d: got %v, and %d failed before, %d now", f, addrs, before, n.Failed())
		}
	}
}

// dialIn dials the namespace's own server of names, whatever is asked for.
func dialIn(ns *Netns) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (c net.Conn, err error) {
		err = ns.Do(func() error {
			c, err = net.Dial("udp", "127.0.0.1:53")
			return err
		})
		return c, err
	}
}
