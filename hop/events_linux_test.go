package hop

import (
	"log/slog"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
	"ssh-stay/keepalive"
)

// A change of the network is followed by a probe, long before one is due.
func TestProbeAfterNetworkChange(t *testing.T) {
	sshtest.Leaks(t)
	link := sshtest.For(t).Link()
	var events *keepalive.Events
	err := link.Client.Do(func() error { events = keepalive.NewEvents(slog.New(slog.DiscardHandler)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { events.Close() })
	s, cfg := newServer(t), newConfig(t)
	cfg.Events = events
	establish(t, s, cfg)
	<-time.After(1500 * time.Millisecond) // of silence, or there is nothing to ask
	if got := s.got(); len(got) != 0 {
		t.Fatalf("got %v before anything happened, want nothing", got)
	}
	if err := link.Client.IP("addr add 192.0.2.77/32 dev lo"); err != nil {
		t.Fatal(err)
	}
	changed := time.Now()
	for len(s.got()) == 0 && time.Since(changed) < 3*time.Second {
		<-time.After(10 * time.Millisecond)
	}
	if got := s.got(); len(got) == 0 || got[0].kind != "keepalive@openssh.com" {
		t.Errorf("got %v after the change, want a probe", got)
	}
}
