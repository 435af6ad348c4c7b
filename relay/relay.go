// Package relay is the far end of a resumed stream: a daemon per user and
// version that outlives the ssh channels it is reached by, and the bridge that
// sshd runs for each of them. A bridge finds or starts the daemon, hands it the
// channel's descriptors over a unix socket, and waits until they are used no
// more. What is spoken over them is the server's matter; this package knows
// neither the stream's frames nor ssh.
package relay

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
	"unicode"
)

// A Server carries streams over channels. *stream.Server is one.
type Server interface {
	// Serve speaks first, and returns when c is no longer used. It closes c.
	Serve(c net.Conn)
	// Busy is how many streams and handshakes there are.
	Busy() int
	// Close ends all streams.
	Close() error
}

// Mark begins each line by which the far side tells the client where it is. A
// newline precedes it, since a login shell may have printed something before.
const Mark = "ssh-stay-relay 1 "

// Main is the command `relay ARGS` and returns its exit status. ARGS is one of
//
//	open    connect stdin and stdout with the daemon; start one if there is none
//	attach  the same, but never start one
//	daemon  keep streams; started by open with the listener as descriptor 3 and
//	        the locked file as descriptor 4
//	version say that the binary runs on this machine
//
// The daemon alone calls newServer, once.
func Main(args []string, newServer func() Server) int {
	return newProgram(newServer).main(args)
}

// program is what a test may want otherwise.
type program struct {
	newServer func() Server
	tmp       string        // where the files go when the home is no place for them
	grace     time.Duration // how long a daemon without streams stays
	patience  time.Duration // how long a bridge tries to reach a daemon
	handover  time.Duration // how long a daemon waits for a channel's descriptors
}

func newProgram(newServer func() Server) *program {
	return &program{
		newServer: newServer,
		tmp:       "/tmp",
		grace:     10 * time.Second,
		patience:  5 * time.Second,
		handover:  10 * time.Second,
	}
}

func (p *program) main(args []string) int {
	command := strings.Join(args, " ")
	switch command {
	case "open", "attach":
		return p.bridge(command == "open")
	case "daemon":
		return p.daemon()
	case "version":
		fmt.Println(strings.TrimSpace(Mark))
		return 0
	}
	fmt.Fprintln(os.Stderr, "usage: relay open|attach|daemon|version")
	return 2
}

// mark tells the client, on stdout, in one line.
func mark(word, text string) {
	line := strings.TrimRight(Mark+word+" "+text, " ")
	fmt.Fprintf(os.Stdout, "\n%s\n", strings.Map(oneLine, line))
}

// oneLine keeps what a system puts into an error from ending the line.
func oneLine(r rune) rune {
	if !unicode.IsPrint(r) {
		return ' '
	}
	return r
}
