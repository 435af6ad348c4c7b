//go:build unix && !darwin

package state

import (
	"errors"
	"syscall"
)

// exists says whether a process has this number; one that we may not signal does.
func exists(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
