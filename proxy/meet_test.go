//go:build linux

package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ssh-stay/hop"
	"ssh-stay/internal/sshtest"
)

// TestMeet: a host that drops us once and then stays, one that drops us until the
// budget is spent, and a client that goes while the host is silent. Each byte is
// counted once, hops are kept, and nothing is left.
func TestMeet(t *testing.T) {
	rig := sshtest.For(t)
	client := rig.Client()
	j := rig.Host(client, "j")
	const version = "SSH-2.0-first\r\n"
	for name, legs := range map[string][]Leg{"direct": nil, "hop": {hopTo(t, client, j)}} {
		for _, end := range []string{"stays", "drops", "gone"} {
			t.Run(name+"/"+end, func(t *testing.T) {
				sshtest.Leaks(t)
				host, port := dropper(t, end)
				before, logins := sockets(), strings.Count(j.Log(), "Accepted publickey")
				in, toUs, _ := os.Pipe()
				fromUs, out, _ := os.Pipe()
				listened := false
				budget := 10 * time.Second
				if end == "drops" {
					budget = 4 * time.Second // with a login at the hop
				}
				r := &Route{Base: dialer().Dial, Legs: legs, Host: host, Port: port, Budget: budget, Log: discard,
					Asked: func() bool { return len(legs) > 0 }, Listening: func() {
						if listened = true; end == "gone" {
							fromUs.Close()
						}
					}}
				c := NewClient(in, out)
				io.WriteString(toUs, version)
				conn, err := r.Meet(t.Context(), c)
				switch dropped := (*hop.DroppedError)(nil); {
				case end == "drops" && (!errors.As(err, &dropped) || dropped.Said != "Exceeded MaxStartups"):
					t.Errorf("got %v, want a DroppedError", err)
				case end != "drops" && err != nil, !listened:
					t.Errorf("got %v, listening: %v", err, listened)
				}
				if conn != nil {
					finish(t, end, c, conn, toUs, fromUs)
				}
				for _, f := range []*os.File{toUs, fromUs, in, out} {
					f.Close()
				}
				if n := strings.Count(j.Log(), "Accepted publickey") - logins; n != len(legs) {
					t.Errorf("got %d logins at the hop, want %d", n, len(legs))
				}
				sshtest.For(t).Eventually(5*time.Second, "end of all sockets", func() bool { return sockets() <= before })
			})
		}
	}
}

// finish plays the rest of a session, and counts.
func finish(t *testing.T, end string, c *Client, conn *Conn, toUs, fromUs *os.File) {
	t.Helper()
	defer conn.Close()
	done := make(chan error, 1)
	go func() { done <- Splice(t.Context(), c, conn) }() // received below
	if end == "gone" {
		if err := <-done; err != ErrClientGone {
			t.Errorf("got %v, want %v", err, ErrClientGone)
		}
		return
	}
	toUs.Close()
	got, _ := io.ReadAll(fromUs)
	if err := <-done; err != nil || string(got) != "SSH-2.0-first\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if up, down := conn.up.Load(), conn.down.Load(); up != int64(len(got)) || conn.path != nil && len(conn.path.hops) > 0 && down != up {
		t.Errorf("counted %d up and %d down, want %d each", up, down, len(got))
	}
}

// dropper is a host that drops the first connection and echoes the second, or
// drops all, or is silent.
func dropper(t *testing.T, end string) (string, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends when the test closes the listener
		for first := true; ; first = false {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if end == "drops" || end == "stays" && first {
				io.WriteString(c, "Exceeded MaxStartups\r\n")
				c.Close()
				continue
			}
			go func() { // ends with the connection
				if end == "stays" {
					io.Copy(c, c)
				} else {
					io.Copy(io.Discard, c)
				}
				c.Close()
			}()
		}
	}()
	at := l.Addr().(*net.TCPAddr)
	return at.IP.String(), at.Port
}

// TestResetAtConnect: a host that resets the connection so soon that we take it
// for one that was not made is dialed as often as one that closes and says nothing.
func TestResetAtConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		r := &Route{Host: "h", Port: 22, Budget: time.Minute, Log: discard, Base: func(context.Context, string, int) (net.Conn, error) {
			dials.Add(1)
			return nil, &ConnectError{"h", 22, syscall.ECONNRESET}
		}}
		_, err := r.Dial(t.Context())
		if !errors.Is(err, syscall.ECONNRESET) || dials.Load() != 3 {
			t.Errorf("got %v after %d dials, want a reset after 3", err, dials.Load())
		}
	})
}
