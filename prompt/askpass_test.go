//go:build linux

package prompt

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssh-stay/internal/sshtest"
)

// script writes an askpass program and returns its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "askpass")
	check(t, os.WriteFile(path, []byte(text), 0o700))
	return path
}

// forceAskpass makes text the program that this process asks by.
func forceAskpass(t *testing.T, text string) (path string) {
	t.Helper()
	path = script(t, text)
	t.Setenv("SSH_ASKPASS", path)
	t.Setenv("SSH_ASKPASS_REQUIRE", "force")
	return path
}

// noTTY runs argv in a session without a terminal, as VS Code runs ssh.
type noTTY struct {
	*exec.Cmd
	control *os.File
	results *os.File
}

func startNoTTY(t *testing.T, env []string, argv ...string) *noTTY {
	t.Helper()
	p := &noTTY{Cmd: exec.Command(argv[0], argv[1:]...)}
	control, c := pipe(t)
	r, results := pipe(t)
	p.control, p.results = c, r
	p.Env = append(cleanEnv(), env...)
	p.ExtraFiles = []*os.File{results, control}
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	check(t, p.Start())
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	results.Close()
	control.Close()
	check(t, r.SetReadDeadline(time.Now().Add(patience)))
	return p
}

func (p *noTTY) result(t *testing.T) (r result) {
	t.Helper()
	check(t, json.NewDecoder(p.results).Decode(&r))
	return r
}

// What askpass prints, and what of it ssh-keygen takes for a passphrase.
func TestAskpassAnswers(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 128)
	for _, c := range []struct{ name, prints, want string }{
		{"a line", `word\n`, "word"},
		{"no line end", `word`, "word"},
		{"CR LF", `word\r\n`, "word"},
		{"CR", `word\rmore\n`, "word"},
		{"two lines", `word\nmore\n`, "word"},
		{"NUL", `word\000more\n`, "word"},
		{"blanks", ` word \n`, " word "},
		{"as long as can be", long[:maxAnswer] + `\n`, long[:maxAnswer]},
		{"longer", long + `\n`, long[:maxAnswer]},
		{"empty", `\n`, ""},
		{"nothing", ``, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			forceAskpass(t, "#!/bin/sh\nprintf '"+c.prints+"'\n")
			var a Asker
			b, err := a.Ask(context.Background(), Question{Text: ask1})
			if string(b) != c.want || err != nil {
				t.Fatalf("got %q, %v, want %q", b, err, c.want)
			}
			if c.want == "" {
				return
			}
			key := filepath.Join(t.TempDir(), "key")
			_, err = sshtest.NewKey(key, "", c.want)
			check(t, err)
			if out, err := exec.Command("ssh-keygen", "-y", "-f", key).CombinedOutput(); err != nil {
				t.Errorf("ssh-keygen reads another answer: %v: %s", err, out)
			}
			Wipe(b)
			if i := slices.IndexFunc(b, func(c byte) bool { return c != 0 }); i >= 0 {
				t.Errorf("not wiped: %q", b)
			}
		})
	}
}

func TestAskpassFails(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"exit status", "#!/bin/sh\necho word\nexit 3\n", "exit status 3"},
		{"killed", "#!/bin/sh\necho word\nkill -TERM $$\n", "signal: terminated"},
		{"prints without end", "#!/bin/sh\nexec yes\n", "signal: broken pipe"},
		{"no interpreter", "#!/no/such/file\n", "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := forceAskpass(t, c.text)
			var a Asker
			b, err := a.Ask(context.Background(), Question{Text: ask1})
			if !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || b != nil {
				t.Errorf("got %q, %v, want no answer from %s: %s", b, err, path, c.want)
			}
		})
	}
	t.Setenv("SSH_ASKPASS", "")
	t.Setenv("SSH_ASKPASS_REQUIRE", "force")
	var a Asker
	if _, err := a.Ask(context.Background(), Question{}); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("SSH_ASKPASS empty: got %v, want no answer", err)
	}
}

// execlp(3) gives a script without #! to sh, and so must we.
func TestAskpassWithoutInterpreterLine(t *testing.T) {
	forceAskpass(t, "echo \"$#:$1\"\n")
	var a Asker
	b, err := a.Ask(context.Background(), Question{Text: "it's $HOME? "})
	if string(b) != "1:it's $HOME? " || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

// askpass asks on the terminal itself: it must be in front, and get ^C too.
func TestAskpassOnTerminal(t *testing.T) {
	askpass := script(t, "#!/bin/sh\nprintf 'mine: ' >/dev/tty\nread x </dev/tty\necho \"$x\"\n")
	s := startJob(t, hidden(), "SSH_ASKPASS="+askpass, "SSH_ASKPASS_REQUIRE=force")
	s.see("mine: ", 1)
	s.typed(canary + "\n")
	s.wantAnswer(canary)
	s.ended("mine: " + canary + "\r\n")
}

// fifo is a meeting point with a script.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	check(t, unix.Mkfifo(path, 0o600))
	return path
}

// meet waits for the script to say something in the fifo.
func meet(t *testing.T, path string) string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	check(t, err)
	defer f.Close()
	check(t, f.SetReadDeadline(time.Now().Add(patience)))
	// Until the other end is open a read says EOF: hold it open ourselves.
	w, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	check(t, err)
	defer w.Close()
	buf := make([]byte, 256)
	n, err := f.Read(buf)
	check(t, err)
	return strings.TrimSpace(string(buf[:n]))
}

func TestContextEndsAskpassAndItsChildren(t *testing.T) {
	path := fifo(t)
	askpass := script(t, "#!/bin/sh\ntrap '' TERM\nsleep infinity &\necho $$ $! >"+path+"\nwait\n")
	p := startNoTTY(t, []string{asJob(hidden()), "SSH_ASKPASS=" + askpass, "DISPLAY=:0"}, os.Args[0])
	pids := strings.Fields(meet(t, path))
	p.control.WriteString("c")
	if r := p.result(t); r.Err != errCalledOff.Error() {
		t.Errorf("got %+v, want the context's cause", r)
	}
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		check(t, err)
		if err := sshtest.WaitGone(pid, patience); err != nil {
			t.Error(err)
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if len(pids) != 2 {
		t.Errorf("got pids %q, want two", pids)
	}
}

// With a terminal askpass alone is ended: it may tidy up, must not outlive its
// grace, and what it has started, holding its stdout, is not waited for.
func TestContextEndsAskpassOnTerminal(t *testing.T) {
	for _, c := range []struct{ name, trap, screen string }{
		{"tidies up", "echo tidied >/dev/tty; exit 1", "tidied\r\n"},
		{"ignores it", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := fifo(t)
			askpass := script(t, "#!/bin/sh\ntrap '"+c.trap+"' TERM\nsleep infinity &\necho $! >"+path+"\nwait\n")
			s := startJob(t, hidden(), "SSH_ASKPASS="+askpass, "SSH_ASKPASS_REQUIRE=force")
			child, err := strconv.Atoi(meet(t, path))
			check(t, err)
			s.control.WriteString("c")
			if r := s.result(); r.Err != errCalledOff.Error() {
				t.Errorf("got %+v, want the context's cause", r)
			}
			s.wantEvent("exited 0")
			syscall.Kill(child, syscall.SIGKILL) // if SIGHUP at the shell's end has not
			s.over()
			if got := s.screen(); got != c.screen {
				t.Errorf("screen: got %q, want %q", got, c.screen)
			}
		})
	}
}

// A question that waits for its turn ends with its own context.
func TestContextEndsInLine(t *testing.T) {
	sshtest.Leaks(t)
	path := fifo(t)
	forceAskpass(t, "#!/bin/sh\necho here >"+path+"\nexec sleep infinity\n")
	var a Asker
	ctx, cancel := context.WithCancelCause(context.Background())
	first := make(chan error, 1)
	go func() {
		_, err := a.Ask(ctx, Question{Text: "first: "})
		first <- err
	}()
	meet(t, path)
	late, cancelLate := context.WithCancelCause(context.Background())
	second := make(chan error, 1)
	go func() {
		_, err := a.Ask(late, Question{Text: "second: "})
		second <- err
	}()
	cancelLate(io.ErrClosedPipe)
	if err := <-second; err != io.ErrClosedPipe {
		t.Errorf("got %v, want the context's cause", err)
	}
	if got := a.Asking(); got != "first: " {
		t.Errorf("asking %q, want the first question", got)
	}
	cancel(errCalledOff)
	if err := <-first; err != errCalledOff {
		t.Errorf("got %v, want the context's cause", err)
	}
	if got := a.Asking(); got != "" {
		t.Errorf("asking %q, want nothing", got)
	}
}
