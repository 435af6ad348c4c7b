//go:build !linux && !darwin && !windows

package keepalive

import "time"

// setUserTimeout does nothing: this system has no such option, and unanswered
// data is given up by the kernel's own retransmission limit.
func setUserTimeout(uintptr, time.Duration) error { return nil }
