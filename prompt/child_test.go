//go:build linux

package prompt

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary plays three parts: the test, a shell with job control on the
// terminal under test (PROMPT_SHELL), and a job that asks (PROMPT_ASK).

// Descriptors of the parts, after stdio. The job inherits its two from the shell.
const (
	fdResults  = 3 // job -> test: a result per question, as JSON
	fdControl  = 4 // test -> job: a letter per order, see control
	fdEvents   = 5 // shell -> test: what became of the job, a line each
	fdCommands = 6 // test -> shell: fg, bg, take
	fdTerminal = 7 // made the shell's controlling terminal
)

// theEnd is what the shell writes to the terminal after the job's end: all that
// the job wrote has arrived then. (What is under way when a session's leader
// exits is lost: the kernel hangs the terminal up and drops it.)
const theEnd = "\x00the end\x00"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv("PROMPT_SHELL") != "":
		os.Exit(shell())
	case os.Getenv("PROMPT_ASK") != "":
		os.Exit(job())
	}
	os.Exit(m.Run())
}

// order is what the job does, in PROMPT_ASK.
type order struct {
	Questions []Question // all asked at once
	Handle    bool       // SIGINT ends the context, as a program's handler would
}

// result is what came of a question.
type result struct {
	Answer   string
	Err      string
	NoAnswer bool   // Err wraps ErrNoAnswer
	Asking   string // reply to control 'a': what is being asked
	Exposed  bool   // the answer is in /proc/self/environ
}

var errCalledOff = errors.New("called off by the test")

// job asks the questions. That it touches no stdio is part of the test.
func job() int {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv("PROMPT_ASK")), &o); err != nil {
		return 3
	}
	// Not for the askpass program, or it would hold the test's pipe open.
	unix.CloseOnExec(fdResults)
	unix.CloseOnExec(fdControl)
	results := make(chan result)
	ctx, cancel := context.WithCancelCause(context.Background())
	if o.Handle {
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt)
		go func() { // ends with the process
			<-c
			signal.Stop(c) // the next one kills, as is usual
			cancel(errors.New("handled SIGINT"))
		}()
	}
	var a Asker
	go control(&a, cancel, results) // ends with the process
	for _, q := range o.Questions {
		go func() { // ends with the answer, which the loop below waits for
			b, err := a.Ask(ctx, q)
			results <- outcome(b, err)
		}()
	}
	out := json.NewEncoder(os.NewFile(fdResults, "results"))
	for answers := 0; answers < len(o.Questions); {
		r := <-results
		if r.Asking == "" {
			answers++
		}
		out.Encode(r)
	}
	return 0
}

func outcome(b []byte, err error) result {
	if err != nil {
		return result{Err: err.Error(), NoAnswer: errors.Is(err, ErrNoAnswer)}
	}
	environ, _ := os.ReadFile("/proc/self/environ")
	return result{Answer: string(b), Exposed: len(b) >= len(canary) && bytes.Contains(environ, b)}
}

// control takes orders: c calls all questions off, a tells what is being asked.
func control(a *Asker, cancel context.CancelCauseFunc, results chan<- result) {
	in := bufio.NewReader(os.NewFile(fdControl, "control"))
	for {
		switch c, err := in.ReadByte(); {
		case err != nil:
			return
		case c == 'c':
			cancel(errCalledOff)
		case c == 'a':
			results <- result{Asking: "asking " + a.Asking()}
		}
	}
}

// shell runs its arguments as a job, in front or, with PROMPT_SHELL=background,
// behind, and does with it what a shell does.
func shell() int {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	for _, fd := range []int{fdEvents, fdCommands, fdTerminal} {
		unix.CloseOnExec(fd)
	}
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{os.NewFile(fdResults, "results"), os.NewFile(fdControl, "control")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Getenv("PROMPT_SHELL") != "background" {
		cmd.SysProcAttr.Foreground, cmd.SysProcAttr.Ctty = true, int(tty.Fd())
	}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PROMPT_SHELL=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	events := os.NewFile(fdEvents, "events")
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(events, err)
		return 3
	}
	// Not sooner, or the job would inherit it: a shell takes the terminal back.
	signal.Ignore(syscall.SIGTTOU)
	fmt.Fprintln(events, "started", cmd.Process.Pid)
	go obey(cmd.Process.Pid, int(tty.Fd())) // ends with the process
	report(cmd.Process.Pid, int(tty.Fd()), events)
	tty.WriteString(theEnd)
	select {} // killed by the test
}

// report tells what becomes of the job, to its end. When the job stops, the
// shell takes the terminal.
func report(pid, tty int, events io.Writer) {
	for {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil {
			if err == syscall.EINTR {
				continue
			}
			fmt.Fprintln(events, err)
			return
		}
		switch {
		case status.Stopped():
			unix.IoctlSetPointerInt(tty, unix.TIOCSPGRP, unix.Getpgrp())
			fmt.Fprintln(events, "stopped", unix.SignalName(status.StopSignal()))
			continue
		case status.Signaled():
			fmt.Fprintln(events, "killed", unix.SignalName(status.Signal()))
		default:
			fmt.Fprintln(events, "exited", status.ExitStatus())
		}
		return
	}
}

// obey does as told by the test, with the job's process group.
func obey(pgrp, tty int) {
	for in := bufio.NewScanner(os.NewFile(fdCommands, "commands")); in.Scan(); {
		switch in.Text() {
		case "fg":
			unix.IoctlSetPointerInt(tty, unix.TIOCSPGRP, pgrp)
			unix.Kill(-pgrp, unix.SIGCONT)
		case "bg":
			unix.Kill(-pgrp, unix.SIGCONT)
		case "take":
			unix.IoctlSetPointerInt(tty, unix.TIOCSPGRP, unix.Getpgrp())
			fmt.Fprintln(os.NewFile(fdEvents, "events"), "taken")
		}
	}
}
