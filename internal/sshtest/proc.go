//go:build linux

package sshtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Descendants are the processes that pid has started, theirs, and so on. One
// whose parent has ended belongs to init and is not among them; a zombie is not
// either.
func Descendants(pid int) []int {
	children := make(map[int][]int)
	for _, p := range processes() {
		if state, parent, ok := stat(p); ok && state != "Z" {
			children[parent] = append(children[parent], p)
		}
	}
	found := slices.Clone(children[pid])
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// ProcessesOf are the processes that run the file exe, whatever they are called.
func ProcessesOf(exe string) []int {
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	var pids []int
	for _, pid := range processes() {
		link, err := os.Readlink(procFile(pid, "exe"))
		if err == nil && strings.TrimSuffix(link, " (deleted)") == exe {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processesIn are the processes that run a file below dir.
func processesIn(dir string) []int {
	var pids []int
	for _, pid := range processes() {
		if link, err := os.Readlink(procFile(pid, "exe")); err == nil && strings.HasPrefix(link, dir+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// OpenFDs are the open files of pid, as "NUMBER TARGET": "3 socket:[4711]".
func OpenFDs(pid int) ([]string, error) {
	dir := procFile(pid, "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var open []string
	for _, entry := range entries {
		// One that is gone by now is the one that read the folder.
		if target, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil {
			open = append(open, entry.Name()+" "+target)
		}
	}
	return open, nil
}

// WaitGone waits up to d until the process pid has ended, reaped or not.
func WaitGone(pid int, d time.Duration) error {
	if poll(d, func() bool { return !running(pid) }) {
		return nil
	}
	line, _ := os.ReadFile(procFile(pid, "cmdline"))
	return fmt.Errorf("process %d (%s) is still there after %v", pid, strings.ReplaceAll(string(line), "\x00", " "), d)
}

// killTree kills pid and its descendants but the spared ones, and returns them. Each is stopped
// first, until no new one appears: a process can fork between being seen and
// being killed, and its child would then be nobody's descendant. (A process
// group does not do: every session of sshd calls setsid.)
func killTree(pid int, spared ...int) []int {
	tree := []int{pid}
	for i := 0; i < len(tree); {
		for ; i < len(tree); i++ {
			syscall.Kill(tree[i], syscall.SIGSTOP)
		}
		for _, p := range Descendants(pid) {
			if !slices.Contains(tree, p) && !slices.Contains(spared, p) {
				tree = append(tree, p)
			}
		}
	}
	for _, p := range tree {
		syscall.Kill(p, syscall.SIGKILL)
	}
	return tree
}

func running(pid int) bool {
	state, _, ok := stat(pid)
	return ok && state != "Z" && state != "X"
}

// processes are the numbers of all processes.
func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stat reads the state and the parent of a process from proc_pid_stat(5). The
// name before them is in brackets and may itself hold any byte.
func stat(pid int) (state string, parent int, ok bool) {
	text, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return "", 0, false
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return "", 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err == nil
}

func procFile(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }
