// Command standin is a VS Code server without VS Code, to run on an ssh target: it speaks the
// server's side of package remote on a loopback port, and echoes each message.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"ssh-stay/internal/vscode/remote"
)

func main() {
	s := &remote.Server{}
	flag.StringVar(&s.Token, "token", "", "connection `token` that clients must show")
	flag.DurationVar(&s.Grace, "grace", 3*time.Hour, "how long a lost client may stay away")
	flag.DurationVar(&s.ShortGrace, "short-grace", 5*time.Minute, "the same, once another client has connected")
	flag.DurationVar(&s.KeepAlive, "keepalive", 5*time.Second, "between two keepalives")
	flag.DurationVar(&s.Ack, "ack", 2*time.Second, "from a message to its ack")
	parent := flag.Int("parent-pid", 0, "end when this process has; 0: stay")
	verbose := flag.Bool("v", false, "log to stderr")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "standin: unknown argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if *verbose {
		s.Log = func(line string) { fmt.Fprintln(os.Stderr, time.Now().Format("15:04:05.000"), line) }
	}
	if err := serve(s, *parent); err != nil {
		fmt.Fprintf(os.Stderr, "standin: %v\n", err)
		os.Exit(1)
	}
}

func serve(s *remote.Server, parent int) error {
	// Its starter's session may end; only the parent's death counts, as for VS Code's CLI.
	signal.Ignore(syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if parent != 0 {
		go func() { // dies with the process
			awaitEnd(parent)
			stop()
		}()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("Listening on %s\n", ln.Addr())
	return s.Serve(ctx, ln)
}

// awaitEnd polls, as VS Code's CLI does: the process is no child of ours. Unix only.
func awaitEnd(pid int) {
	for range time.Tick(200 * time.Millisecond) {
		p, err := os.FindProcess(pid)
		if err != nil || p.Signal(syscall.Signal(0)) != nil || isZombie(pid) {
			return
		}
		p.Release()
	}
}

// isZombie: in a container whose first process reaps nobody, the dead stay in the table.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // proc_pid_stat(5): pid (name) state ...
	if err != nil {
		return false // no /proc here
	}
	after := stat[bytes.LastIndexByte(stat, ')')+1:]
	return bytes.HasPrefix(after, []byte(" Z"))
}
