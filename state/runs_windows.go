package state

import "os"

// runs says whether a process lives: only such a one can be opened, or one that
// somebody has still open.
func runs(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	p.Release()
	return true
}
