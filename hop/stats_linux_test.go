package hop

import (
	"testing"

	"ssh-stay/internal/sshtest"
)

// TestKernelsRoundTrip: it is told before there was a probe or a session.
func TestKernelsRoundTrip(t *testing.T) {
	rig := sshtest.For(t)
	client := rig.Client()
	s := rig.Sshd(sshtest.SshdConfig{})
	if err := client.AddHost("jump", s); err != nil {
		t.Fatal(err)
	}
	cfg, dial := realHop(t, s, client)
	h, err := Dial(t.Context(), cfg, dial)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if got := h.Stats().RTT; got <= 0 || h.rtt.Load() != 0 {
		t.Errorf("got %v, with %d of our own, want the kernel's alone", got, h.rtt.Load())
	}
}
