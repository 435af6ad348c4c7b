//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ssh-stay/internal/sshtest"
)

// environment is the head of the report: where and how it was made.
func environment(args []string) string {
	command := strings.Join(append([]string{"go run ./internal/bench"}, args...), " ")
	return fmt.Sprintf("# ssh-stay beside OpenSSH and other peers\n\n- %s, `%s`\n- %s, %d cores, Linux %s (%s), load %s at the start\n- %s, %s, TCP by %s\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), command,
		field("/proc/cpuinfo", "model name"), runtime.NumCPU(), kernel(), goarch(), load(),
		openssh(), runtime.Version(), congestion())
}

func goarch() string { return runtime.GOARCH }

// field is the value of the first "NAME : VALUE" in a file of /proc.
func field(file, name string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown " + name
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// congestion is the control that TCP uses unless told else.
func congestion() string {
	text, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	return strings.TrimSpace(string(text))
}

// openssh is the first line of ssh -V, which goes to stderr.
func openssh() string {
	ssh, err := sshtest.Peer("ssh")
	if err != nil {
		return "no OpenSSH"
	}
	text, _ := exec.Command(ssh, "-V").CombinedOutput()
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
