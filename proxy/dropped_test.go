//go:build linux

package proxy

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ssh-stay/hop"
	"ssh-stay/internal/sshtest"
)

// TestMaxStartups: an sshd that has as many unauthenticated connections as it
// may is tried again, a few times, and let be then.
func TestMaxStartups(t *testing.T) {
	rig := sshtest.For(t)
	client := rig.Client()
	full, err := sshtest.StartSshd(sshtest.SshdConfig{Lines: []string{"MaxStartups 1:100:1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { full.Close() })
	if err := client.AddHost("full", full); err != nil {
		t.Fatal(err)
	}
	host, port := echo(t)
	for _, tt := range []struct {
		name   string
		ends   bool // the other one leaves after our second try
		budget time.Duration
	}{{"for a moment", true, time.Minute}, {"for good", false, 4 * time.Second}} {
		t.Run(tt.name, func(t *testing.T) {
			other, err := net.Dial("tcp", full.HostPort())
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			other.Read(make([]byte, 4)) // its place is taken
			tries := 0
			r := &Route{Base: dialer().Dial, Legs: []Leg{hopTo(t, client, full)}, Host: host, Port: port, Budget: tt.budget, Log: discard,
				Retrying: func(error) {
					if tries++; tries == 2 && tt.ends {
						other.Close()
					}
				}}
			conn, err := r.Dial(context.Background())
			if err == nil {
				conn.Close()
			}
			dropped := (*hop.DroppedError)(nil)
			switch {
			case tt.ends && (err != nil || tries != 2 && tries != 3):
				t.Errorf("got %v after %d tries, want a connection after the third or fourth", err, tries)
			case !tt.ends && (!errors.As(err, &dropped) || tries < 2 || tries > 3):
				t.Errorf("got %v after %d more tries, want a DroppedError after 2 or 3", err, tries)
			case !tt.ends && strings.Count(full.Log(), "past MaxStartups")+strings.Count(full.Log(), "drop connection") == 0:
				t.Errorf("sshd dropped nothing:\n%s", full.Log())
			}
		})
	}
}

// TestDroppedWait: five tries in all, over more than a penalty's 15 s, and never
// more than four within it.
func TestDroppedWait(t *testing.T) {
	for range 1000 {
		var all time.Duration
		n := 0
		for ; ; n++ {
			pause, ok := droppedWait(n, true)
			if !ok {
				break
			}
			if all += pause; n == 3 && all < 15*time.Second {
				t.Fatalf("the fifth try comes after %v", all)
			}
		}
		if n != 4 {
			t.Fatalf("got %d pauses, want 4", n)
		}
	}
}

// TestSlowName: a name that is waited for is told of, until it is there.
func TestSlowName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		retrying := func(err error) { told = append(told, err) }
		ctx := context.WithValue(t.Context(), retryingKey{}, retrying)
		answered := tellSlow(ctx, "quick")
		time.Sleep(slowName - time.Millisecond)
		answered()
		time.Sleep(slowName)
		answered = tellSlow(ctx, "slow")
		time.Sleep(slowName + time.Millisecond)
		if len(told) != 1 || !strings.Contains(told[0].Error(), "Could not resolve hostname slow: no answer yet") {
			t.Fatalf("told %v", told)
		}
		if answered(); len(told) != 2 || told[1] != nil {
			t.Errorf("told %v, want nil at last", told)
		}
	})
}
