package sshtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const buildPrefix = "sshtest-bin-"

// Build returns the path of ssh-stay: what SSH_STAY_BIN names, or else a binary
// built once for this process from the module of the working directory, in the
// way it is released. The path is this process's alone, so ProcessesOf(path)
// are its processes.
func Build() (string, error) {
	if bin := os.Getenv("SSH_STAY_BIN"); bin != "" {
		return filepath.Abs(bin)
	}
	return build()
}

var build = sync.OnceValues(func() (string, error) {
	sweepBuilds()
	dir := filepath.Join(os.TempDir(), buildPrefix+strconv.Itoa(os.Getpid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "ssh-stay")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "ssh-stay")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ssh-stay: %w\n%s", err, out)
	}
	return bin, nil
})

// sweepBuilds removes the binaries of processes that have ended. A process
// keeps its own until it ends, and has no hook to remove it then.
func sweepBuilds() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), buildPrefix+"*"))
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), buildPrefix))
		if err == nil && processEnded(pid) {
			os.RemoveAll(dir)
		}
	}
}

func processEnded(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return true
	}
	return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}
