package state

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
)

// process names a process for good: its number alone comes back, on this
// machine, on another one that shares our home, and in a container.
type process struct {
	PID   int
	Start string // when it began, in the system's own terms; "" where those are not known
	Boot  string // what the number is unique in: this machine since it started
}

// self is this process.
func self() process {
	start, _ := started(os.Getpid())
	b := boot()
	if b == "" {
		b, _ = os.Hostname()
	}
	return process{os.Getpid(), start, b}
}

// runs says whether the process lives. It must be of the same boot as we.
func (p process) runs() bool {
	start, runs := started(p.PID)
	return runs && start == p.Start
}

// file is the name of the record of the process, which no other one has.
func (p process) file() string {
	sum := sha256.Sum256([]byte(p.Boot + "\x00" + p.Start))
	return fmt.Sprintf("%s%d-%s.json", sessionPrefix, p.PID, hex.EncodeToString(sum[:4]))
}
