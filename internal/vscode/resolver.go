//go:build linux

package vscode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/proxy"

	"ssh-stay/internal/vscode/remote"
)

// resolver finds the way to the server, as the extension does whenever the core
// wants to connect: the running exec server if it answers, else a new ssh.
type resolver struct {
	w       *window
	current *tunnel
	all     []*process
}

// tunnel is one ssh, or two, with an exec server behind it.
type tunnel struct {
	install
	processes []*process
	dial      func(ctx context.Context, addr string) (net.Conn, error) // addr as seen from the target
	rpc       *remote.Session                                          // with the exec server
	pings     int
}

func (r *resolver) resolve(ctx context.Context) (*tunnel, error) {
	if r.current != nil {
		err := r.current.ping(ctx, r.w.Clocks.ExecPing)
		if err == nil {
			r.w.log("Verified and reusing cached exec server")
			return r.current, nil
		}
		r.w.log("Existing exec server timed out: %v", err)
		// Nobody looks after the old ssh from now on.
		for _, p := range r.current.processes {
			p.abandon(r.w.Clocks.OldTerminal)
		}
		go r.current.rpc.Close() // a second at most
		r.current = nil
	}
	t, err := r.start(ctx)
	if err != nil {
		return nil, err
	}
	r.current = t
	return t, nil
}

// end ends every ssh.
func (r *resolver) end() {
	if r.current != nil {
		r.current.rpc.Close()
	}
	for _, p := range r.all {
		p.end()
	}
	for _, p := range r.all {
		<-p.ended
	}
}

// ping asks the exec server for a sign of life.
func (t *tunnel) ping(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t.pings++
	want := "ping " + strconv.Itoa(t.pings)
	if err := t.rpc.Send([]byte(want)); err != nil {
		return err
	}
	for {
		select {
		case got := <-t.rpc.Recv():
			if string(got) == want {
				return nil
			}
		case <-t.rpc.Lost():
			return errors.New("the connection with it is lost")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// start gets a new ssh, or two, and an exec server behind it.
func (r *resolver) start(ctx context.Context) (*tunnel, error) {
	t := &tunnel{}
	err := r.fill(ctx, t)
	if err != nil {
		for _, p := range t.processes {
			p.end()
		}
		return nil, err
	}
	return t, nil
}

func (r *resolver) fill(ctx context.Context, t *tunnel) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	id := strings.ToLower(rand.Text())
	p, err := r.launch(r.w.args(port), id)
	if err != nil {
		return err
	}
	t.processes = append(t.processes, p)
	if t.install, err = r.w.drive(ctx, p, id); err != nil {
		return err
	}
	t.dial = throughSOCKS(port)
	if r.w.Flavour == Forward {
		if err := r.forward(ctx, t); err != nil {
			return err
		}
	}
	return t.greet(ctx, r.w)
}

// greet makes the first connections: one that only looks whether somebody is there,
// and the one with the exec server, which stays and is idle.
func (t *tunnel) greet(ctx context.Context, w *window) error {
	conn, err := t.dial(ctx, t.server)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if _, err := remote.Probe(ctx, conn); err != nil {
		return err
	}
	if conn, err = t.dial(ctx, t.exec); err != nil {
		return fmt.Errorf("exec server: %w", err)
	}
	// The answer to a ping has a limit of its own: its socket is never the first to go.
	t.rpc, err = remote.Open(ctx, conn, remote.Config{Timeout: time.Hour, Paused: true, Log: func(line string) { w.log("exec server %s", line) }})
	return err
}

// args is the command line of ssh, #7572, #11463, #10696, #6508.
func (w *window) args(port int) []string {
	dynamic := []string{"-T", "-D", strconv.Itoa(port)}
	timeout := []string{"-o", w.connectTimeout()}
	tail := []string{"-F", w.ConfigFile, w.Host}
	var args []string
	switch w.Flavour {
	case LocalServer:
		args = append([]string{"-v"}, append(dynamic, timeout...)...)
	case Terminal:
		args = append(dynamic, timeout...)
	case Piped:
		args = dynamic
	case Forward:
		args = append([]string{"-T"}, timeout...)
	}
	return append(append([]string{w.SSH}, args...), tail...)
}

func (w *window) connectTimeout() string {
	return "ConnectTimeout=" + strconv.Itoa(int(w.Clocks.ConnectTimeout/time.Second))
}

// launch starts ssh.
func (r *resolver) launch(args []string, id string) (p *process, err error) {
	w := r.w
	w.log("Running %q", args)
	switch script := bootstrap(id, w.ServerArgs); w.Flavour {
	case LocalServer:
		p, err = w.startLocalServer(args)
	case Piped:
		var line string
		if line, err = w.typed(args, script); err == nil {
			p, err = w.startTerminal(line)
		}
	default:
		p, err = w.startTerminal(heredoc(args, script))
	}
	if err != nil {
		return nil, err
	}
	r.all = append(r.all, p)
	w.count(func(s *Score) { s.SSHSpawns++ })
	return p, nil
}

// drive waits for the server. A local server's ssh is spoken to step by step, and
// the first answer is what its timer waits for; on a terminal that is any output at
// all: "Got some output, clearing connection timeout".
func (w *window) drive(ctx context.Context, p *process, id string) (install, error) {
	first, cancel := context.WithTimeoutCause(ctx, w.Clocks.Connect, errTimer)
	defer cancel()
	err := w.greetShell(ctx, first, p, id)
	var in install
	if err == nil {
		var bad error
		err = p.out.await(ctx, p.ended, func(text string) bool {
			if p.out == p.errs {
				w.answerPrompt(p, text)
			}
			var complete bool
			in, complete, bad = parseInstall(text, id)
			return complete
		})
		if err == nil {
			err = bad
		}
	}
	if errors.Is(err, errEnded) {
		said := p.said()
		w.log("%s said:\n%s", p.name, strings.TrimSpace(said))
		return in, Classify(said)
	}
	if errors.Is(err, errTimer) {
		return in, &ResolverError{Offline: true, Why: "The connection timed out"}
	}
	return in, err
}

// errTimer is the end of the extension's own timer.
var errTimer = errors.New("no sign of the far end")

// greetShell gets the first sign of the far end within first's time, and for a
// local server goes on to type the script.
func (w *window) greetShell(ctx, first context.Context, p *process, id string) error {
	if p.out == p.errs {
		return p.out.await(first, p.ended, func(text string) bool { return text != "" })
	}
	number := regexp.MustCompile(`^\d+$`)
	for i, step := range []struct {
		typed string
		good  func(line string) bool
	}{
		{`echo "ready: ` + id + `"`, func(line string) bool { return line == "ready: "+id }},
		{"uname -rsv", func(line string) bool { return strings.HasPrefix(line, "Linux ") }},
		{`echo "$SHELL"`, func(line string) bool { return strings.HasPrefix(line, "/") }},
		{"sh\necho $$", number.MatchString},
	} {
		if i > 0 {
			first = ctx
		}
		skip := len(p.out.String())
		// An ssh that has ended is noticed below.
		_, _ = io.WriteString(p.stdin, step.typed+"\n")
		err := p.out.await(first, p.ended, func(text string) bool {
			for line := range strings.Lines(text[skip:]) {
				if strings.HasSuffix(line, "\n") && step.good(strings.TrimSpace(line)) {
					return true
				}
			}
			return false
		})
		if err != nil {
			return err
		}
	}
	_, err := io.WriteString(p.stdin, bootstrap(id, w.ServerArgs))
	if err != nil {
		return errEnded
	}
	return nil
}

// prompt is what the extension takes for a question on a terminal (#2010).
var prompt = regexp.MustCompile(`(?i)(?:password|passphrase[^\n]*|verification code):(\s*)$`)

// answerPrompt answers a question that the terminal ends with.
func (w *window) answerPrompt(p *process, text string) {
	at := prompt.FindStringSubmatchIndex(text)
	if at == nil || at[2] <= p.answered { // what follows may be the new line of the answer
		return
	}
	p.answered = at[2]
	w.log("Showing password prompt")
	w.count(func(s *Score) { s.Prompts++ })
	_, _ = io.WriteString(p.stdin, w.Answer+"\n")
}

// forward starts the second ssh, whose forwards are used instead of the first one's
// (#11113). VS Code forwards to its server alone; the exec server is forwarded too,
// so that what is asked of it is asked here as well.
func (r *resolver) forward(ctx context.Context, t *tunnel) error {
	args := []string{r.w.SSH, "-T"}
	local := map[string]string{}
	for _, addr := range []string{t.server, t.exec} {
		port, err := freePort()
		if err != nil {
			return err
		}
		local[addr] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		args = append(args, "-L", local[addr]+":"+addr)
	}
	const connected = "Connected to SSH Host - Please do not close this terminal"
	p, err := r.w.startTerminal(heredoc(append(args, "-F", r.w.ConfigFile, r.w.Host), "echo '"+connected+"'\nwhile true; do sleep 180; printf ' '; done\n"))
	if err != nil {
		return err
	}
	r.all = append(r.all, p)
	t.processes = append(t.processes, p)
	r.w.count(func(s *Score) { s.SSHSpawns++ })
	t.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", local[addr])
	}
	err = p.out.await(ctx, p.ended, func(text string) bool {
		r.w.answerPrompt(p, text)
		return strings.Contains(text, connected)
	})
	if errors.Is(err, errEnded) {
		return Classify(p.said())
	}
	return err
}

// throughSOCKS dials through ssh -D.
func throughSOCKS(port int) func(ctx context.Context, addr string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		d, err := proxy.SOCKS5("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil, proxy.Direct)
		if err != nil {
			return nil, err
		}
		return d.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
	}
}

// freePort is a port of 127.0.0.1 that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
