package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/windows"
)

// becomeSSH runs ssh and returns its exit status. Ctrl-C is for ssh, which has
// the same console; whoever kills us ends ssh too.
func becomeSSH(path string, args, env []string) (int, error) {
	interrupts := make(chan os.Signal, 1) // taken, and ignored
	signal.Notify(interrupts, os.Interrupt)
	if err := killWithUs(); err != nil {
		return exitNoReach, fmt.Errorf("make a job: %w", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = env
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return exitNoReach, fmt.Errorf("run %s: %w", path, err)
	}
	return exitOK, nil
}

// killWithUs puts this process, and what it starts, into a job that ends with
// its last handle: ours, which is never closed.
func killWithUs() error {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return err
	}
	var limits windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		return err
	}
	return windows.AssignProcessToJobObject(job, windows.CurrentProcess())
}
