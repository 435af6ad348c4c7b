//go:build linux

package vscode

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ssh-stay/internal/vscode/remote"
)

// Flavour is how the extension runs ssh.
type Flavour string

const (
	// LocalServer is the default on macOS and Linux (remote.SSH.useLocalServer): a
	// process of its own owns ssh, the script goes to ssh's stdin step by step.
	LocalServer Flavour = "local server"
	// Terminal is the same setting off: ssh on a terminal, with the script as a
	// here-document, one for each window.
	Terminal Flavour = "terminal"
	// Piped is what Windows does: the script comes through a pipe from a file, on a
	// terminal, and no ConnectTimeout is given.
	Piped Flavour = "Windows line"
	// Forward is without dynamic forwarding (remote.SSH.enableDynamicForwarding off,
	// or remoteServerListenOnSocket): a second ssh with -L.
	Forward Flavour = "-L"
)

// Window is one VS Code window on a host. All fields but Answer, Paused and Copy
// must be set.
type Window struct {
	SSH        string // the program, remote.SSH.path
	SCP        string
	ConfigFile string // remote.SSH.configFile
	Host       string
	Flavour    Flavour
	Clocks     Clocks
	Askpass    string // the program that asks the user for a local server
	Answer     string // what a user types when asked on a terminal
	ServerArgs string // of the stand-in server at the target
	Paused     bool   // a window that sends no keepalives, see remote.Config
	Copy       bool   // a file goes to Dir, there, by scp beside the window, as with localServerDownload
	Dir        string // for files of its own, here
}

// Score is what a user would have seen.
type Score struct {
	SSHSpawns    int // how often ssh was started; scp is not counted
	Prompts      int // how often the user was asked, by the program or on a terminal
	ReloadWindow int // verdicts "Cannot reconnect. Please reload the window."
	InnerSSH     int // logins of these ssh at the target; the rig counts them
	Reconnects   int // connections of the window that were replaced
	MessagesSent int
	MessagesLost int           // never answered
	Gap          time.Duration // the longest that a message waited for its answer, or waits still
	Copies       int           // files that arrived by scp
	Why          string        // of the last Reload Window
}

// Event is what a window process tells on its stdout, one JSON object a line.
type Event struct {
	Name  string // "open", "failed" instead, "lost", "back", "reload", or "end", which has the score
	Why   string `json:",omitempty"`
	Score *Score `json:",omitempty"`
}

// Commands of a window process on its stdin, one a line after the Window in JSON.
const (
	Type  = "type"  // send a message every Clocks.Typing
	Quiet = "quiet" // send none
	// End sends none, waits for answers as long as the word after it says, tells the
	// score and ends.
	End = "end"
)

// windowRole is the argument that makes a process a window.
const windowRole = "vscode-window"

// Main makes this process what its first argument says, if that is one of the
// roles of a Remote-SSH: TestMain calls it. It returns the status to exit with.
func Main() (status int, ran bool) {
	if len(os.Args) < 2 {
		return 0, false
	}
	switch os.Args[1] {
	case localServerRole:
		return localServer(os.Args[2:]), true
	case windowRole:
		if err := serveWindow(os.Stdin, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, "window:", err)
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// WindowCommand is a window in a process of its own, so that it can be stopped like
// the rest of a machine that sleeps. It adopts what its children leave behind: all
// that it started is among its descendants.
func WindowCommand(w *Window) (*exec.Cmd, io.WriteCloser, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(w)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(self, windowRole)
	read, write, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.Stdin = read
	// Less than a pipe holds, so it does not block.
	_, err = write.Write(append(text, '\n'))
	return cmd, write, err
}

// serveWindow is the life of a window process.
func serveWindow(stdin io.Reader, stdout, stderr io.Writer) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	lines := bufio.NewScanner(stdin)
	lines.Scan()
	w := &window{out: stdout, err: stderr, started: time.Now()}
	if err := json.Unmarshal(lines.Bytes(), &w.Window); err != nil {
		return fmt.Errorf("read the window: %w", err)
	}
	commands := make(chan string)
	go func() { // ends with stdin, or the process
		defer close(commands)
		for lines.Scan() {
			commands <- lines.Text()
		}
	}()
	err := w.run(context.Background(), commands)
	if err != nil {
		w.tell(Event{Name: "failed", Why: err.Error()})
	}
	w.resolver.end()
	// Until then what it has adopted, such as a ControlPersist master, can be found.
	for range commands {
	}
	return err
}

// window is a running Window.
type window struct {
	Window
	resolver resolver
	session  *remote.Session
	out, err io.Writer
	started  time.Time

	mu      sync.Mutex // guards what follows
	score   Score
	names   map[string]int
	waiting map[int]time.Time // messages without an answer, and when they were sent
}

// log is a line of the Remote-SSH output panel.
func (w *window) log(format string, args ...any) {
	fmt.Fprintf(w.err, "[%7.3f] %s\n", time.Since(w.started).Seconds(), fmt.Sprintf(format, args...))
}

func (w *window) tell(e Event) {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	w.log("event %s %s", e.Name, e.Why)
	fmt.Fprintf(w.out, "%s\n", text)
}

// next numbers the processes of one kind.
func (w *window) next(kind string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.names == nil {
		w.names = map[string]int{}
	}
	w.names[kind]++
	return kind + "-" + strconv.Itoa(w.names[kind])
}

// count changes the score.
func (w *window) count(change func(*Score)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.score)
}

// run opens the window, does what it is told, and reconnects when it has to.
func (w *window) run(ctx context.Context, commands <-chan string) error {
	w.resolver.w = w
	if err := w.open(ctx); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer w.session.Close()
	w.tell(Event{Name: "open"})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tick := time.NewTicker(w.Clocks.Typing)
	defer tick.Stop()
	var (
		typing bool
		end    <-chan time.Time
		ending bool
		lost   = w.session.Lost()
		back   chan error
	)
	// No more answers come to a window that is to be reloaded.
	for !ending || !w.dead() && !w.answeredAll() {
		select {
		case line, ok := <-commands:
			typing = line == Type
			if patience, isEnd := endOf(line); isEnd || !ok {
				ending, end, commands = true, time.After(patience), nil
			}
		case <-tick.C:
			if typing {
				w.send()
			}
		case m := <-w.session.Recv():
			w.answered(m)
		case <-lost:
			lost, back = nil, make(chan error, 1)
			w.tell(Event{Name: "lost", Why: fmt.Sprint(w.session.Err())})
			go func() { back <- w.reconnect(ctx) }() // ends with ctx at the latest
		case err := <-back:
			back = nil
			if err != nil {
				w.count(func(s *Score) { s.ReloadWindow++; s.Why = err.Error() })
				w.tell(Event{Name: "reload", Why: err.Error()})
				break
			}
			w.count(func(s *Score) { s.Reconnects++ })
			w.tell(Event{Name: "back"})
			lost = w.session.Lost()
		case <-end:
			return w.finish()
		}
	}
	return w.finish()
}

func endOf(line string) (time.Duration, bool) {
	if len(line) <= len(End) || line[:len(End)] != End {
		return 0, false
	}
	d, err := time.ParseDuration(line[len(End)+1:])
	return d, err == nil
}

// open is the start of the window.
func (w *window) open(ctx context.Context) error {
	t, err := w.resolver.resolve(ctx)
	if err != nil {
		return err
	}
	conn, err := t.dial(ctx, t.server)
	if err != nil {
		return err
	}
	w.session, err = remote.Open(ctx, conn, remote.Config{Timeout: w.Clocks.Socket, KeepAlive: w.Clocks.KeepAlive,
		Paused: w.Paused, Log: func(line string) { w.log("management %s", line) }})
	if err != nil || !w.Copy {
		return err
	}
	return w.copyFile(ctx)
}

// copyFile is the third kind of connection: scp, with a login of its own.
func (w *window) copyFile(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, w.SCP, "-F", w.ConfigFile, "-o", w.connectTimeout(), w.ConfigFile, w.Host+":"+w.Dir+"/copied")
	cmd.Env = w.localServerEnv()
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("scp: %w: %s", err, out)
	}
	w.count(func(s *Score) { s.Copies++ })
	return nil
}

// reconnect is the loop of the core (remoteAgentConnection.ts). An error is the end:
// "Cannot reconnect. Please reload the window."
func (w *window) reconnect(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		select {
		case <-time.After(w.Clocks.wait(attempt)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		err := w.attempt(ctx)
		w.log("attempt %d: %v", attempt, err)
		refused := (*remote.RefusedError)(nil)
		resolver := (*ResolverError)(nil)
		switch {
		case err == nil:
			return nil
		case errors.As(err, &refused):
			return err
		case errors.As(err, &resolver) && !resolver.Offline:
			return err
		}
		// All else is a time-out to the core, or a connection that could not be made:
		// the forwarding server between window and ssh takes every connection, and one
		// that ends early is noticed by the limit for an answer alone.
	}
}

func (w *window) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.Clocks.Attempt)
	defer cancel()
	t, err := w.resolver.resolve(ctx)
	if err != nil {
		return err
	}
	conn, err := t.dial(ctx, t.server)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return w.session.Reconnect(ctx, conn)
}

// send sends a message with its number.
func (w *window) send() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting = map[int]time.Time{}
	}
	n := w.score.MessagesSent
	w.score.MessagesSent++
	w.waiting[n] = time.Now()
	if err := w.session.Send([]byte(strconv.Itoa(n))); err != nil {
		w.log("send: %v", err)
	}
}

// answered takes the echo of a message.
func (w *window) answered(m []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := strconv.Atoi(string(m))
	sent, ok := w.waiting[n]
	if err != nil || !ok {
		w.log("an answer to nothing: %q", m)
		return
	}
	delete(w.waiting, n)
	w.score.Gap = max(w.score.Gap, time.Since(sent))
}

func (w *window) answeredAll() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting) == 0
}

// dead says whether the window waits to be reloaded.
func (w *window) dead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.score.ReloadWindow > 0
}

// finish tells the score.
func (w *window) finish() error {
	w.mu.Lock()
	w.score.MessagesLost = len(w.waiting)
	for _, sent := range w.waiting {
		w.score.Gap = max(w.score.Gap, time.Since(sent))
	}
	score := w.score
	w.mu.Unlock()
	w.tell(Event{Name: "end", Score: &score})
	return nil
}
