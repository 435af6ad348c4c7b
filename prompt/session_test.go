//go:build linux

package prompt

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

const patience = 15 * time.Second

// peerBytes stand in the job's stdin, where only a peer's are: none may be read.
const peerBytes = "SSH-2.0-peer\r\n"

// session is a terminal with a shell on it that runs one job, as seen by the
// person in front of it.
type session struct {
	t        *testing.T
	cmd      *exec.Cmd
	pty      *os.File
	pid      int // of the job
	results  *json.Decoder
	events   *bufio.Reader
	control  *os.File
	commands *os.File
	stdin    *os.File // what the job left in its stdin
	stdout   *os.File // what the job wrote to stdout and stderr

	grown chan struct{} // has an element when screen has grown
	done  chan struct{} // closed when no one can write to the terminal any more
	mu    sync.Mutex    // guards screen
	all   []byte        // transcript: every byte written to the terminal
}

// start runs argv on a new terminal. env is added to a small environment.
func start(t *testing.T, background bool, env []string, argv ...string) *session {
	t.Helper()
	master, slave := openPty(t)
	s := &session{t: t, pty: master, grown: make(chan struct{}, 1), done: make(chan struct{})}
	s.cmd = exec.Command(os.Args[0], argv...)
	s.cmd.Env = append(cleanEnv(), "PROMPT_SHELL=foreground")
	if background {
		s.cmd.Env = append(s.cmd.Env, "PROMPT_SHELL=background")
	}
	s.cmd.Env = append(s.cmd.Env, env...)
	stdin, peer := pipe(t)
	peer.WriteString(peerBytes)
	peer.Close()
	var stdout, control, commands *os.File
	s.stdin = stdin
	s.stdout, stdout = pipe(t)
	control, s.control = pipe(t)
	commands, s.commands = pipe(t)
	resultsR, results := pipe(t)
	eventsR, events := pipe(t)
	s.results, s.events = json.NewDecoder(resultsR), bufio.NewReader(eventsR)
	for _, r := range []*os.File{resultsR, eventsR} {
		check(t, r.SetReadDeadline(time.Now().Add(patience)))
	}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = stdin, stdout, stdout
	s.cmd.ExtraFiles = []*os.File{results, control, events, commands, slave}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: fdTerminal, Pdeathsig: syscall.SIGKILL}
	check(t, s.cmd.Start())
	for _, f := range []*os.File{stdout, results, control, events, commands, slave} {
		f.Close()
	}
	go s.read() // ends when the last process has closed the terminal
	t.Cleanup(s.close)
	s.pid = s.started()
	return s
}

// openPty is pty.Open with a master whose reads Close and deadlines can end.
func openPty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	blocking, slave, err := pty.Open()
	check(t, err)
	defer blocking.Close()
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	check(t, err)
	check(t, unix.SetNonblock(fd, true))
	return os.NewFile(uintptr(fd), "ptmx"), slave
}

// startJob is start for our own job.
func startJob(t *testing.T, o order, env ...string) *session {
	t.Helper()
	return start(t, false, append(env, asJob(o)), os.Args[0])
}

func asJob(o order) string {
	b, _ := json.Marshal(o)
	return "PROMPT_ASK=" + string(b)
}

func (s *session) close() {
	s.cmd.Process.Kill() // SIGHUP for the job, and Pdeathsig
	s.cmd.Wait()
	<-s.done
	s.pty.Close()
}

func (s *session) read() {
	defer close(s.done)
	buf := make([]byte, 4096)
	for {
		n, err := s.pty.Read(buf)
		s.mu.Lock()
		s.all = append(s.all, buf[:n]...)
		s.mu.Unlock()
		select {
		case s.grown <- struct{}{}:
		default:
		}
		if err != nil {
			return // EIO: the other end is closed
		}
	}
}

// transcript is what the terminal was shown so far, and whether that is all.
func (s *session) transcript() (screen string, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	screen, _, ended = strings.Cut(string(s.all), theEnd)
	return screen, ended
}

func (s *session) screen() string {
	screen, _ := s.transcript()
	return screen
}

// await waits until done is true of what the terminal was shown.
func (s *session) await(what string, done func(screen string, ended bool) bool) {
	s.t.Helper()
	deadline := time.After(patience)
	for !done(s.transcript()) {
		select {
		case <-s.grown:
		case <-deadline:
			s.t.Fatalf("waited for %s; screen: %q", what, s.screen())
		}
	}
}

// see waits until text has been shown n times.
func (s *session) see(text string, n int) {
	s.t.Helper()
	s.await(fmt.Sprintf("%q, %d times", text, n), func(screen string, _ bool) bool {
		return strings.Count(screen, text) >= n
	})
}

// seeOrEnd waits until text is shown, or the job has ended without.
func (s *session) seeOrEnd(text string) (seen bool) {
	s.t.Helper()
	s.await("a question or the end", func(screen string, ended bool) bool {
		seen = strings.Contains(screen, text)
		return seen || ended
	})
	return seen
}

// over waits for the end of the job and of what it shows.
func (s *session) over() {
	s.t.Helper()
	s.await("the end", func(_ string, ended bool) bool { return ended })
}

func (s *session) typed(text string) {
	s.t.Helper()
	_, err := s.pty.WriteString(text)
	check(s.t, err)
}

// echo is whether the terminal shows what is typed.
func (s *session) echo() bool {
	s.t.Helper()
	conn, err := s.pty.SyscallConn() // Fd would make the reads block
	check(s.t, err)
	var m *unix.Termios
	check(s.t, conn.Control(func(fd uintptr) { m, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }))
	check(s.t, err)
	return m.Lflag&unix.ECHO != 0
}

func (s *session) wantEcho(want bool, when string) {
	s.t.Helper()
	if got := s.echo(); got != want {
		s.t.Fatalf("echo %s: got %v, want %v", when, got, want)
	}
}

func (s *session) event() string {
	s.t.Helper()
	line, err := s.events.ReadString('\n')
	if err != nil {
		s.t.Fatalf("no event of the job: %v; screen: %q", err, s.screen())
	}
	return strings.TrimSpace(line)
}

func (s *session) wantEvent(want string) {
	s.t.Helper()
	if got := s.event(); got != want {
		s.t.Fatalf("got event %q, want %q; screen: %q", got, want, s.screen())
	}
}

func (s *session) started() (pid int) {
	s.t.Helper()
	line := s.event()
	text, ok := strings.CutPrefix(line, "started ")
	if !ok {
		s.t.Fatalf("the job does not start: %s", line)
	}
	check(s.t, json.Unmarshal([]byte(text), &pid))
	return pid
}

// tell has the shell do something with the job.
func (s *session) tell(command string) {
	s.t.Helper()
	_, err := s.commands.WriteString(command + "\n")
	check(s.t, err)
}

func (s *session) result() (r result) {
	s.t.Helper()
	if err := s.results.Decode(&r); err != nil {
		s.t.Fatalf("no result of the job: %v; screen: %q", err, s.screen())
	}
	if r.Exposed {
		s.t.Errorf("the answer %q is in the job's environment", r.Answer)
	}
	return r
}

func (s *session) wantAnswer(want string) {
	s.t.Helper()
	if r := s.result(); r.Answer != want || r.Err != "" {
		s.t.Fatalf("got %+v, want the answer %q; screen: %q", r, want, s.screen())
	}
}

// ended waits for the end of the job and checks the whole transcript, and
// that stdio is as it was.
func (s *session) ended(screen string) {
	s.t.Helper()
	s.over()
	if got := s.screen(); got != screen {
		s.t.Errorf("screen: got %q, want %q", got, screen)
	}
	s.cmd.Process.Kill() // or it would hold stdout
	if out, _ := io.ReadAll(s.stdout); len(out) > 0 {
		s.t.Errorf("stdout and stderr: got %q, want nothing", out)
	}
	if in, _ := io.ReadAll(s.stdin); string(in) != peerBytes {
		s.t.Errorf("stdin: %q is left, want %q", in, peerBytes)
	}
}

// cleanEnv is our environment without what askpass and the test depend on.
func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return strings.HasPrefix(name, "SSH_") || strings.HasPrefix(name, "PROMPT_") ||
			name == "DISPLAY" || name == "WAYLAND_DISPLAY"
	})
}

// pipe is one whose both ends are closed with the test, if not sooner.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	check(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
