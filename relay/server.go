package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"ssh-stay/internal/nowait"
	"ssh-stay/keepalive"
	"ssh-stay/stream"
)

// giveUp is the default of StayGiveUp: the stream learns of a dead target no
// later than ssh would behind a plain hop.
const giveUp = 15 * time.Minute

// NewServer keeps streams, and connects them by TCP.
func NewServer() Server {
	return &stream.Server{Dial: dial}
}

// dial connects with the target, and has the kernel probe the connection if it
// can: a system may refuse that (WSL 1, seccomp). Where
// localhost has no sshd at the port that the client knows, a port forwarding may
// stand before the host, or sshd listen elsewhere: the address by which sshd let
// us in is then the next best (SSH_CONNECTION, ssh(1)).
func dial(ctx context.Context, target string, interval time.Duration) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if ip, port := sshdAddress(); err != nil && ip != "" && strings.HasPrefix(target, "localhost:") {
		c, _ = new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(ip, port))
	}
	if c == nil {
		return nil, inWords(target, err)
	}
	keepalive.SetTCP(c.(*net.TCPConn), interval, max(giveUp, 2*interval))
	return nowait.Conn(c.(*net.TCPConn)), nil
}

// sshdAddress is where the sshd that started us took our connection. Both are
// empty if it does not say.
func sshdAddress() (ip, port string) {
	fields := strings.Fields(os.Getenv("SSH_CONNECTION"))
	if len(fields) != 4 {
		return "", ""
	}
	return fields[2], fields[3]
}

// words is an error as ssh words it, capitals and all.
type words string

func (w words) Error() string { return string(w) }

// inWords has ssh's words, as the client of a jump host without a relay would
// hear them.
func inWords(target string, err error) error {
	host, port, _ := net.SplitHostPort(target)
	var dns *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.As(err, &dns):
		return words("Could not resolve hostname " + host + ": Name or service not known")
	case errors.As(err, &errno):
		text := errno.Error()
		return fmt.Errorf("connect to host %s port %s: %s", host, port, strings.ToUpper(text[:1])+text[1:])
	}
	return fmt.Errorf("connect to host %s port %s: Connection timed out", host, port)
}
