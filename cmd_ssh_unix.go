//go:build unix

package main

import (
	"fmt"
	"syscall"
)

// becomeSSH runs ssh in this process: status, signals and terminal are its own.
// It returns if that fails.
func becomeSSH(path string, args, env []string) (int, error) {
	return exitNoReach, fmt.Errorf("run %s: %w", path, syscall.Exec(path, append([]string{path}, args...), env))
}
