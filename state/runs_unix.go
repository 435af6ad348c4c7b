//go:build unix

package state

import (
	"errors"
	"syscall"
)

// runs says whether a process lives; one that we may not signal does.
func runs(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
