package relay

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test's binary is the relay of the tests, with an echo for a server.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "relay":
		os.Exit(testProgram().main(os.Args[2:]))
	case len(os.Args) == 3 && os.Args[1] == "knock":
		os.Exit(knock(os.Args[2]))
	}
	os.Exit(m.Run())
}

func testProgram() *program {
	p := newProgram(func() Server { return new(echo) })
	p.tmp = os.Getenv("RELAY_TEST_TMP")
	for name, d := range map[string]*time.Duration{"RELAY_TEST_GRACE": &p.grace, "RELAY_TEST_HANDOVER": &p.handover} {
		if set, err := time.ParseDuration(os.Getenv(name)); err == nil {
			*d = set
		}
	}
	return p
}

// echo says which process it is, and sends back what it gets.
type echo struct{ busy atomic.Int32 }

func (e *echo) Serve(c net.Conn) {
	e.busy.Add(1)
	defer e.busy.Add(-1)
	defer c.Close()
	fmt.Fprintf(c, "daemon %d\n", os.Getpid())
	io.Copy(c, c)
}

func (e *echo) Busy() int    { return int(e.busy.Load()) }
func (e *echo) Close() error { return nil }

// far is a user's account at the far end.
type far struct {
	*testing.T
	home, tmp string
	env       []string
}

func newFar(t *testing.T, env ...string) *far {
	t.Helper()
	dir, err := os.MkdirTemp("", "far") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &far{T: t, home: filepath.Join(dir, "home"), tmp: filepath.Join(dir, "tmp")}
	for _, dir := range []string{f.home, f.tmp} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f.env = append([]string{"HOME=" + f.home, "RELAY_TEST_TMP=" + f.tmp, "PATH=" + os.Getenv("PATH")}, env...)
	t.Cleanup(func() {
		for _, pid := range f.daemons() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return f
}

// daemons are the processes of this account's daemons.
func (f *far) daemons() []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		command, _ := os.ReadFile(dir + "/cmdline")
		environ, _ := os.ReadFile(dir + "/environ")
		if bytes.HasSuffix(command, []byte("relay\x00daemon\x00")) && bytes.Contains(environ, []byte("HOME="+f.home+"\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

// places are where this account's daemon may be.
func (f *far) places() []place {
	f.Helper()
	version, err := ownVersion()
	if err != nil {
		f.Fatal(err)
	}
	f.Setenv("HOME", f.home)
	f.Setenv("XDG_CACHE_HOME", "")
	return (&program{tmp: f.tmp}).places(version)
}

// end is a channel that runs a bridge.
type end struct {
	*testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	raw *os.File
	out *bufio.Reader
}

func (f *far) run(verb string) *end {
	f.Helper()
	return f.runCommand(exec.Command(self(f.T), "relay", verb))
}

func (f *far) runCommand(cmd *exec.Cmd) *end {
	f.Helper()
	cmd.Env = f.env
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		f.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	e := &end{f.T, cmd, in, out.(*os.File), bufio.NewReader(out)}
	e.raw.SetReadDeadline(time.Now().Add(20 * time.Second))
	f.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	return e
}

func self(t *testing.T) string {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func (e *end) line() string {
	s, err := e.out.ReadString('\n')
	if err != nil {
		return s + err.Error()
	}
	return strings.TrimSuffix(s, "\n")
}

// mark is the next marker: after an empty line.
func (e *end) mark() string {
	e.Helper()
	if s := e.line(); s != "" {
		e.Errorf("got %q before the marker, want an empty line", s)
	}
	text, ok := strings.CutPrefix(e.line(), Mark)
	if !ok {
		e.Errorf("got %q, want a marker", text)
	}
	return text
}

// ready returns the pid of the daemon, whose bytes follow the marker.
func (e *end) ready() int {
	e.Helper()
	if got := e.mark(); got != "ready "+thisMachine().String() {
		e.Fatalf("got marker %q, want ready", got)
	}
	var pid int
	if s := e.line(); !scan(s, "daemon %d", &pid) {
		e.Fatalf("got %q after the marker, want the server's first line", s)
	}
	return pid
}

// gone is the marker of a bridge that finds no daemon here.
func gone() string { return "gone " + thisMachine().String() }

func scan(s, format string, to *int) bool {
	n, err := fmt.Sscanf(s, format, to)
	return n == 1 && err == nil
}

func (e *end) echoes(text string) {
	e.Helper()
	fmt.Fprintln(e.in, text)
	if got := e.line(); got != text {
		e.Errorf("got %q back, want %q", got, text)
	}
}

// exit closes stdin and returns the status with which the bridge exits.
func (e *end) exit() int {
	e.Helper()
	e.in.Close()
	rest, _ := io.ReadAll(e.out)
	if len(rest) != 0 {
		e.Errorf("got %q at the end, want nothing", rest)
	}
	e.cmd.Wait()
	return e.cmd.ProcessState.ExitCode()
}

// eventually fails the test if what does not become true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after 10 s: %s", what)
		}
	}
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return os.IsNotExist(err)
}

func TestDaemonSignals(t *testing.T) {
	f := newFar(t)
	channel := f.run("open")
	pid := channel.ready()
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE} {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	channel.echoes("still there")
	if got := f.run("attach").ready(); got != pid {
		t.Errorf("attached to %d, want %d", got, pid)
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("got session %d of the daemon, want its own: %d (%v)", sid, pid, err)
	}
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); cwd != "/" {
		t.Errorf("got working directory %q, want /", cwd)
	}
	socket := f.places()[0].socket()
	if missing(socket) {
		t.Fatalf("no %s while the daemon runs", socket)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := channel.line(); got != "EOF" { // while stdin is open: by the signal
		t.Errorf("got %q after SIGTERM, want the end", got)
	}
	if status := channel.exit(); status != 0 {
		t.Errorf("bridge exited with %d, want 0", status)
	}
	if !missing(socket) {
		t.Errorf("%s is still there after SIGTERM", socket)
	}
}

func TestDaemonKilled(t *testing.T) {
	f := newFar(t)
	channel := f.run("open")
	pid := channel.ready()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	channel.exit()
	start := time.Now()
	attach := f.run("attach")
	if got := attach.mark(); got != gone() {
		t.Errorf("got %q, want gone", got)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("gone after %v, want at most 1 s", took)
	}
	if status := attach.exit(); status != 1 {
		t.Errorf("attach exited with %d, want 1", status)
	}
	if missing(f.places()[0].socket()) {
		t.Error("the stale socket has gone: nothing was tested")
	}
	if again := f.run("open").ready(); again == pid {
		t.Errorf("open reached %d, which was killed", again)
	}
}

func TestDaemonLeaves(t *testing.T) {
	f := newFar(t, "RELAY_TEST_GRACE=100ms")
	channel := f.run("open")
	channel.ready()
	time.AfterFunc(500*time.Millisecond, func() { channel.in.Close() })
	rest, _ := io.ReadAll(channel.out) // five times the grace with a channel
	if len(rest) != 0 {
		t.Errorf("got %q, want nothing", rest)
	}
	eventually(t, "the daemon has exited", func() bool { return len(f.daemons()) == 0 })
	if socket := f.places()[0].socket(); !missing(socket) {
		t.Errorf("%s is still there", socket)
	}
	if got := f.run("attach").mark(); got != gone() {
		t.Errorf("got %q, want gone", got)
	}
}

// Somebody has removed the files of a daemon with a session, and another daemon
// has come: it stays within reach when the first one leaves.
func TestDaemonLeavesAnother(t *testing.T) {
	f := newFar(t, "RELAY_TEST_GRACE=100ms")
	first := f.run("open")
	old := first.ready()
	if err := os.RemoveAll(filepath.Join(f.home, ".cache")); err != nil {
		t.Fatal(err)
	}
	second := f.run("open")
	pid := second.ready()
	if pid == old {
		t.Fatal("the first daemon serves both: nothing would be tested")
	}
	first.exit()
	eventually(t, "the first daemon has exited", func() bool { return len(f.daemons()) == 1 })
	for _, verb := range []string{"attach", "open"} {
		if got := f.run(verb).ready(); got != pid {
			t.Errorf("%s reached daemon %d, want %d", verb, got, pid)
		}
	}
	second.echoes("not disturbed")
}

// Bridges that come while a daemon leaves start over.
func TestDaemonLeavesMeanwhile(t *testing.T) {
	f := newFar(t, "RELAY_TEST_GRACE=3ms")
	seen := map[int]bool{}
	for range 100 {
		channel := f.run("open")
		seen[channel.ready()] = true
		if status := channel.exit(); status != 0 {
			t.Errorf("bridge exited with %d, want 0", status)
		}
	}
	if len(seen) < 3 {
		t.Errorf("%d daemons served 100 channels: none left meanwhile", len(seen))
	}
}

func TestDaemonStops(t *testing.T) {
	for _, test := range []struct {
		name             string
		accepted, active int
		busy             int32
		force, want      bool
	}{
		{"idle", 0, 0, 0, false, true},
		{"somebody came", 1, 0, 0, false, false},
		{"a channel", 0, 1, 0, false, false},
		{"a stream without a channel", 0, 0, 1, false, false},
		{"forced", 1, 1, 1, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			at := place{dir: t.TempDir(), version: "v"}
			lock, err := takeLock(at.lock())
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at.socket()})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			l.SetUnlinkOnClose(false)
			server := new(echo)
			server.busy.Store(test.busy)
			d := &daemon{server: server, listener: l, at: at, lock: lock, accepted: test.accepted, active: test.active}
			if got := d.stop(test.force); got != test.want {
				t.Errorf("stopped is %v, want %v", got, test.want)
			}
			if missing(at.socket()) != test.want {
				t.Errorf("socket is gone: %v, want %v", !test.want, test.want)
			}
			if got := d.begin(); got == test.want {
				t.Errorf("serves more is %v, want %v", got, !test.want)
			}
		})
	}
}

// knock connects as the user it runs as, and tells what it got.
func knock(path string) int {
	c, err := net.Dial("unix", path)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c.SetDeadline(time.Now().Add(5 * time.Second))
	got := make([]byte, 1)
	n, err := c.Read(got)
	fmt.Printf("%q %v\n", got[:n], err)
	return 0
}

func TestForeignUserIsClosed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to connect as another user")
	}
	f := newFar(t)
	channel := f.run("open")
	channel.ready()
	// Where the foreigner can reach the program and the socket.
	open, err := os.MkdirTemp("/tmp", "relay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(open) })
	program, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(open, "sock")
	for _, err := range []error{
		os.Chmod(open, 0o755), os.WriteFile(filepath.Join(open, "knock"), program, 0o755),
		os.Link(f.places()[0].socket(), socket), os.Chmod(socket, 0o666),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for uid, want := range map[uint32]string{65534: `"" EOF`, 0: `"!" <nil>`} {
		cmd := exec.Command(filepath.Join(open, "knock"), "knock", socket)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, _ := cmd.Output()
		if !strings.HasPrefix(string(out), want) {
			t.Errorf("uid %d got %s, want %s", uid, out, want)
		}
	}
	channel.echoes("not disturbed")
}

func TestHandOverIsBounded(t *testing.T) {
	f := newFar(t, "RELAY_TEST_HANDOVER=200ms")
	channel := f.run("open")
	channel.ready()
	at := f.places()[0]
	silent := make([]int, maxUnproven)
	for i := range silent {
		var err error
		if silent[i], err = at.dial(5 * time.Second); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(silent[i])
	}
	// All are taken: this one waits until the silent are closed.
	f.run("attach").ready()
	for _, fd := range silent {
		if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("silent bridge read %d, %v; want the end", n, err)
		}
	}
	channel.echoes("not disturbed")
}

// One descriptor, three, and a file are no channel.
func TestHandOverOfSomethingElse(t *testing.T) {
	f := newFar(t)
	f.run("open").ready()
	pid := f.daemons()[0]
	before := openFiles(t, pid)
	file, err := os.Open(self(t))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	pipe, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer out.Close()
	p := int(pipe.Fd())
	for _, fds := range [][]int{{}, {p}, {p, p, p}, {int(file.Fd()), int(out.Fd())}} {
		conn, err := f.places()[0].dial(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := setTimeout(conn, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		if err := unix.Sendmsg(conn, []byte{0}, rights, nil, 0); err != nil {
			t.Fatal(err)
		}
		if n, err := unix.Read(conn, make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("%d descriptors: read %d, %v; want the end", len(fds), n, err)
		}
		unix.Close(conn)
	}
	eventually(t, "the daemon has closed what it got", func() bool { return len(openFiles(t, pid)) <= len(before) })
}

// openFiles are what a process has open, by descriptor.
func openFiles(t *testing.T, pid int) map[int]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[int]string{}
	for _, entry := range entries {
		fd, _ := strconv.Atoi(entry.Name())
		files[fd], _ = os.Readlink(filepath.Join(dir, entry.Name()))
	}
	return files
}
