//go:build linux

package vscode

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// localServerRole is the argument that makes a process a local server.
const localServerRole = "vscode-local-server"

// localServer is the process that owns an ssh where remote.SSH.useLocalServer is
// set: args are the dead man's time and ssh's command line, stdin, stdout and
// stderr are ssh's, and file 3 brings the window's pings. When none came for that
// time on the wall clock, sleep of the machine included, it ends ssh and itself,
// however well the connection is (#11463, #1521).
func localServer(args []string) int {
	deadMan, err := time.ParseDuration(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	// Pdeathsig is of the thread that started the child.
	runtime.LockOSThread()
	ssh := exec.Command(args[1], args[2:]...)
	ssh.Stdin, ssh.Stdout, ssh.Stderr = os.Stdin, os.Stdout, os.Stderr
	ssh.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := ssh.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	died := make(chan error, 1)
	go func() { died <- ssh.Wait() }() // ends with ssh
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	switch waitForEnd(died, asked, pings(), deadMan) {
	case "ssh":
		fmt.Fprintln(os.Stderr, "local-server> ssh child died")
		return 1
	case "window":
		fmt.Fprintln(os.Stderr, "local-server> Timed out")
	}
	ssh.Process.Signal(syscall.SIGTERM)
	<-died
	return 0
}

// waitForEnd says who ends it: ssh, the window that is silent, or a signal.
func waitForEnd(died <-chan error, asked <-chan os.Signal, pings <-chan struct{}, deadMan time.Duration) string {
	tick := time.NewTicker(deadMan / 5)
	defer tick.Stop()
	last := wall()
	for {
		select {
		case <-died:
			return "ssh"
		case <-asked:
			return "signal"
		case <-pings:
			if wall().Sub(last) > deadMan {
				return "window"
			}
			last = wall()
		case <-tick.C:
			if wall().Sub(last) > deadMan {
				return "window"
			}
		}
	}
}

// wall is the time without the monotonic clock, which stops while a machine sleeps.
func wall() time.Time { return time.Now().Round(0) }

// pings are the bytes of file 3. Their end is no event: silence is.
func pings() <-chan struct{} {
	came := make(chan struct{})
	from := os.NewFile(3, "pings")
	go func() { // ends with the window or the process
		b := make([]byte, 64)
		for {
			if _, err := from.Read(b); err != nil {
				return
			}
			came <- struct{}{}
		}
	}()
	return came
}
