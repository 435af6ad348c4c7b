package state

import (
	"fmt"
	"os"
	"strings"
)

// started reads the start time, in clock ticks since boot, from proc_pid_stat(5)
// (field 22). The name before it is in brackets and may hold any byte. A zombie
// does not run.
func started(pid int) (start string, runs bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", exists(pid)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return "", exists(pid)
	}
	return fields[19], fields[0] != "Z" && fields[0] != "X"
}

// boot is the boot and the PID namespace, which a container has of its own.
func boot() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	return strings.TrimSpace(strings.TrimSpace(string(id)) + " " + namespace)
}
