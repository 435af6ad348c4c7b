package faults

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// TestMain is also the far end of the sessions.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "far":
		os.Exit(FarMain(os.Args[2:]))
	case os.Geteuid() == 0 && os.Getenv(insideName) == "":
		os.Exit(inside())
	}
	os.Exit(m.Run())
}

const insideName = "FAULTS_INSIDE"

// inside runs this program again where nothing outlives it, however it ends: in
// namespaces of its own for processes and mounts, and with a folder of its own
// for what is temporary. It returns the exit status.
func inside() int {
	dir, err := os.MkdirTemp("", "f") // short: socket names are bounded
	if err != nil {
		println("faults:", err.Error())
		return 1
	}
	defer os.RemoveAll(dir)
	defer removeGroups(filepath.Base(dir))
	runtime.LockOSThread() // Pdeathsig is of the thread
	// sh is the init there. It reaps those whose parents have ended.
	args := append([]string{"--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", `"$@"; exit $?`, "sh"}, os.Args...)
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), insideName+"=1", "TMPDIR="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// A signal ends the init inside, and so all there; then we clean up.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err = cmd.Start(); err == nil {
		go func() { // ends with the process
			for range signals {
				cmd.Process.Kill()
			}
		}()
		err = cmd.Wait()
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		println("faults:", err.Error())
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// removeGroups removes the control groups that a killed run has left.
func removeGroups(prefix string) {
	for _, parent := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/memory/"} {
		left, _ := filepath.Glob(parent + prefix + "-*")
		for _, group := range left {
			// Its last process may be on its way out.
			for end := time.Now().Add(5 * time.Second); os.Remove(group) != nil && time.Now().Before(end); {
				<-time.After(20 * time.Millisecond)
			}
		}
	}
}
