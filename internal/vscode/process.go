//go:build linux

package vscode

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// process is an ssh that was started, with what owns it: a local server, or the
// shell of a terminal.
type process struct {
	name      string
	out, errs *transcript // the same one on a terminal
	stdin     io.Writer   // of ssh, or of the terminal
	ended     chan struct{}

	cmd      *exec.Cmd
	files    []*os.File // ours, to close at the end
	stopPing func()     // nil on a terminal
	stop     sync.Once
	answered int // how much of a terminal's text is known to hold no open question
}

// drainTime is how long the output of a process that has ended is read on: a
// ControlPersist master holds it open for ever.
const drainTime = 250 * time.Millisecond

// startLocalServer starts a local server, which starts ssh. It has no terminal and
// is told every fifth of the dead man's time that the window lives.
func (w *window) startLocalServer(args []string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var pipes [4][2]*os.File // stdin, stdout, stderr, pings
	for i := range pipes {
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	p := &process{name: w.next("local-server"), out: &transcript{}, errs: &transcript{}, stdin: pipes[0][1], ended: make(chan struct{})}
	p.files = []*os.File{pipes[0][1], pipes[1][0], pipes[2][0], pipes[3][1]}
	p.cmd = exec.Command(self, append([]string{localServerRole, w.Clocks.DeadMan.String()}, args...)...)
	p.cmd.Env = w.localServerEnv()
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = pipes[0][0], pipes[1][1], pipes[2][1]
	p.cmd.ExtraFiles = []*os.File{pipes[3][0]}
	// Pdeathsig: one that is stopped would not see that we are gone.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	err = p.cmd.Start()
	for _, theirs := range []*os.File{pipes[0][0], pipes[1][1], pipes[2][1], pipes[3][0]} {
		theirs.Close()
	}
	if err != nil {
		return nil, err
	}
	p.ping(pipes[3][1], w.Clocks.DeadMan/5)
	p.watch(w, map[*os.File]*transcript{pipes[1][0]: p.out, pipes[2][0]: p.errs})
	return p, nil
}

// localServerEnv is what the extension gives a local server (#7572). It says
// nothing of SSH_ASKPASS_REQUIRE: ssh asks by the program since it has no terminal.
func (w *window) localServerEnv() []string {
	return append(os.Environ(), "SHELL=/bin/bash", "DISPLAY=:0", "ELECTRON_RUN_AS_NODE=1",
		"SSH_ASKPASS="+w.Askpass, "VSCODE_SSH_ASKPASS_NODE="+w.Askpass, "VSCODE_SSH_ASKPASS_EXTRA_ARGS=",
		"VSCODE_SSH_ASKPASS_MAIN=askpass-main.js", "VSCODE_SSH_ASKPASS_HANDLE="+w.Dir+"/askpass.sock")
}

// ping tells a local server that the window lives, until stopPing.
func (p *process) ping(to *os.File, every time.Duration) {
	stop := make(chan struct{})
	p.stopPing = sync.OnceFunc(func() { close(stop) })
	go func() { // ends with stopPing, or with the local server
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if _, err := to.Write([]byte{'.'}); err != nil {
				return
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
}

// startTerminal has a shell run a line on a terminal of its own, as the extension
// types it into one.
func (w *window) startTerminal(line string) (*process, error) {
	said := &transcript{}
	p := &process{name: w.next("terminal"), out: said, errs: said, ended: make(chan struct{})}
	p.cmd = exec.Command("/bin/sh", "-c", line)
	p.cmd.Env = append(os.Environ(), "TERM=xterm-256color", "TERM_PROGRAM=vscode")
	terminal, err := pty.StartWithSize(p.cmd, &pty.Winsize{Rows: 30, Cols: 240})
	if err != nil {
		return nil, err
	}
	p.stdin, p.files = terminal, []*os.File{terminal}
	p.watch(w, map[*os.File]*transcript{terminal: said})
	return p, nil
}

// watch keeps the output, and notices the end.
func (p *process) watch(w *window, outputs map[*os.File]*transcript) {
	var reading sync.WaitGroup
	for from, to := range outputs {
		reading.Go(func() { io.Copy(to, from) }) // ends with the process, see below
	}
	go func() { // ends with the process
		p.cmd.Wait()
		drained := make(chan struct{})
		go func() { // ends with reading, which the closing of the files ends
			reading.Wait()
			close(drained)
		}()
		select {
		case <-drained:
		case <-time.After(drainTime):
		}
		w.log("%s: exit: %d", p.name, p.cmd.ProcessState.ExitCode())
		close(p.ended)
		for _, f := range p.files {
			f.Close()
		}
	}()
}

// said is all of its output, for Classify.
func (p *process) said() string {
	if p.out == p.errs {
		return p.out.String()
	}
	return p.out.String() + p.errs.String()
}

// abandon leaves it to its end: a local server ends when nobody pings it, a
// terminal is closed after a while.
func (p *process) abandon(after time.Duration) {
	if p.stopPing != nil {
		p.stopPing()
		return
	}
	time.AfterFunc(after, p.end)
}

// end ends it: a local server is told to, a terminal is closed.
func (p *process) end() {
	p.stop.Do(func() {
		if p.stopPing != nil {
			p.stopPing()
			p.cmd.Process.Signal(syscall.SIGTERM)
			return
		}
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGHUP)
	})
}

// words makes one line of sh from args.
func words(args []string) string {
	var line []string
	for _, a := range args {
		line = append(line, quoted(a))
	}
	return strings.Join(line, " ")
}

// quoted makes one word of s for sh.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// heredoc is a line that runs ssh with a script on its stdin.
func heredoc(args []string, script string) string {
	return words(args) + " sh << 'EOSSH'\n" + script + "EOSSH\n"
}

// typed is a line by which cmd.exe feeds a script to ssh, in the words of sh.
func (w *window) typed(args []string, script string) (string, error) {
	f, err := os.CreateTemp(w.Dir, "vscode-linux-multi-line-command-*.sh")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(script)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("write the script: %w", err)
	}
	return "cat " + quoted(f.Name()) + " | " + words(args) + " sh", nil
}
