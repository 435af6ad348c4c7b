package sshtest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Children are the processes that one of the parents has started, in one look
// at all processes: Descendants of hundreds would be hundreds of looks.
func Children(parents ...int) (children []int) {
	of := make(map[int]bool, len(parents))
	for _, pid := range parents {
		of[pid] = true
	}
	for _, pid := range processes() {
		if state, parent, ok := stat(pid); ok && state != "Z" && of[parent] {
			children = append(children, pid)
		}
	}
	return children
}

// CPUTime is what the processes have used so far, exactly: the 10 ms of
// proc_pid_stat(5) are more than an idle proxy uses in minutes. The clock of
// another process is what clock_getcpuclockid(3) makes of its number.
func CPUTime(pids ...int) (sum time.Duration, err error) {
	const scheduled = 2 // CPUCLOCK_SCHED
	for _, pid := range pids {
		var used unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|scheduled), &used); err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		sum += time.Duration(used.Nano())
	}
	return sum, nil
}

// PSS is the memory of the processes in bytes, pages that several map divided
// among these.
func PSS(pids ...int) (int64, error) { return memory("smaps_rollup", "Pss", pids) }

// PeakRSS is the most memory that the processes have ever had, in bytes; each its
// own peak.
func PeakRSS(pids ...int) (int64, error) { return memory("status", "VmHWM", pids) }

// memory adds up a line "NAME: N kB" of files of /proc.
func memory(file, name string, pids []int) (sum int64, err error) {
	for _, pid := range pids {
		text, err := os.ReadFile(procFile(pid, file))
		if err != nil {
			return 0, err
		}
		var kib int64
		if _, err := fmt.Sscanf(after(string(text), name+":"), "%d kB", &kib); err != nil {
			return 0, fmt.Errorf("%s of %s: %w", name, procFile(pid, file), err)
		}
		sum += kib << 10
	}
	return sum, nil
}

// after is the rest of the first line that begins with prefix.
func after(text, prefix string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// Machine is one line on where a measurement was made.
func Machine() string {
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	model := strings.TrimLeft(after(string(cpu), "model name"), ": \t")
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	now, _, _ := strings.Cut(string(load), " ")
	version, _ := exec.Command("ssh", "-V").CombinedOutput() // on stderr
	openssh, _, _ := strings.Cut(string(version), "\n")
	return fmt.Sprintf("%s, %d cores, Linux %s (%s), load %s at the start; %s; %s", model, runtime.NumCPU(),
		strings.TrimSpace(string(release)), runtime.GOARCH, now, openssh, runtime.Version())
}
