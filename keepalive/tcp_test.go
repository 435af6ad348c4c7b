package keepalive

import (
	"testing"
	"time"
)

func TestProbeCount(t *testing.T) {
	for _, tt := range []struct {
		interval, giveUp time.Duration
		want             int
	}{
		{30 * time.Second, 15 * time.Minute, 29},
		{15 * time.Second, 45 * time.Second, 2},
		{30 * time.Second, 60 * time.Second, 1},
		{30 * time.Second, 61 * time.Second, 2},
		{30 * time.Second, 30 * time.Second, 1},
		{30 * time.Second, time.Second, 1},
		{30 * time.Second, 0, 1},
		{time.Second, 15 * time.Minute, 127},
		{time.Second, 128 * time.Second, 127},
		{time.Second, 127 * time.Second, 126},
	} {
		if got := probeCount(tt.interval, tt.giveUp); got != tt.want {
			t.Errorf("probeCount(%v, %v): got %d, want %d", tt.interval, tt.giveUp, got, tt.want)
		}
	}
}
