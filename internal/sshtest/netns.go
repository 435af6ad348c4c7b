//go:build linux

package sshtest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Netns is a network namespace without a name: it lasts as long as the file we
// hold open or a process or socket inside it, so even a killed test leaves none
// behind, and no two tests can clash. Making one needs root.
//
// A nil *Netns is the namespace of this process.
type Netns struct {
	Addr string // the address it is reached at

	file *os.File
}

// newNetns makes a namespace with nothing but a loopback device that is up.
func newNetns(addr string) (*Netns, error) {
	ns := &Netns{Addr: addr}
	enter := func() error { return unix.Unshare(unix.CLONE_NEWNET) }
	err := onThread(enter, func() (err error) {
		ns.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a network namespace (needs root): %w", err)
	}
	if err := ns.IP("link set lo up"); err != nil {
		ns.Close()
		return nil, err
	}
	return ns, nil
}

// Do calls fn on a thread that is in the namespace: sockets that fn itself opens
// belong to it and stay there. What fn starts with `go` is not in it, so dial
// addresses and not names.
func (ns *Netns) Do(fn func() error) error {
	if ns == nil {
		return fn()
	}
	return onThread(func() error { return unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET) }, fn)
}

// onThread calls fn between enter and a return to the namespace of before.
func onThread(enter, fn func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := enter(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = fn()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, and so dies with this goroutine.
		return fmt.Errorf("leave a network namespace: %w", back)
	}
	runtime.UnlockOSThread()
	return err
}

// Enter changes a command that is not yet started to run in the namespace, as
// the same process that it would have been, and returns it.
func (ns *Netns) Enter(cmd *exec.Cmd) *exec.Cmd {
	if ns == nil {
		return cmd
	}
	nsenter, err := Peer("nsenter")
	if err != nil {
		cmd.Err = err
		return cmd
	}
	cmd.Args = append([]string{nsenter, "--net=" + ns.path(), "--", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = nsenter
	return cmd
}

// path names the namespace for other processes, as long as we live.
func (ns *Netns) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.file.Fd()) }

// IP runs iproute2's ip inside.
func (ns *Netns) IP(args string) error {
	_, err := ns.run("", "ip", strings.Fields(args)...)
	return err
}

// run runs a program inside and returns what it printed.
func (ns *Netns) run(stdin, name string, args ...string) (string, error) {
	path, err := Peer(name)
	if err != nil {
		return "", err
	}
	cmd := ns.Enter(exec.Command(path, args...))
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// sysctl sets a variable below /proc/sys, which shows those of the namespace of
// the thread that looks.
func (ns *Netns) sysctl(name, value string) error {
	return ns.Do(func() error {
		return os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0o644)
	})
}

// Close lets go of the namespace. The kernel removes it, and the devices in it,
// with the last process and socket there.
func (ns *Netns) Close() error {
	if ns == nil {
		return nil
	}
	return ns.file.Close()
}
