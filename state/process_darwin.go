package state

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// zombie is SZOMB of <sys/proc.h>.
const zombie = 5

// started reads the start time from sysctl(3), which knows no error for a
// process that does not exist but an empty answer.
func started(pid int) (start string, runs bool) {
	p, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", false
	}
	t := p.Proc.P_starttime
	return fmt.Sprintf("%d.%06d", t.Sec, t.Usec), p.Proc.P_stat != zombie
}

func boot() string {
	id, _ := unix.Sysctl("kern.bootsessionuuid")
	return id
}
