//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ssh-stay/internal/sshtest"
)

// dialer times proxies from their start to their first connection.
type dialer struct {
	fd       int // a blocking listener, for the sake of a quick wake-up
	client   *sshtest.Client
	commands map[string][]string // by path
}

func newDialer(l *lab, bin string) (*dialer, error) {
	fd, port, err := listen()
	if err != nil {
		return nil, err
	}
	p := strconv.Itoa(port)
	stay := []string{bin, "proxy", "-F", l.client.Config, "--alias"}
	d := &dialer{fd: fd, client: l.client, commands: map[string][]string{
		sshW:   {"ssh", "-F", l.client.Config, "-W", "127.0.0.1:22", "listener"},
		stayJ:  append(stay[:len(stay):len(stay)], "behind", "127.0.0.1", "22"),
		netcat: {"nc", "127.0.0.1", p},
		direct: append(stay[:len(stay):len(stay)], "stay", "127.0.0.1", p),
	}}
	return d, l.client.Append(
		"Host listener", "\tHostName 127.0.0.1", "\tPort "+p,
		"Host behind", "\tProxyJump listener", "\t"+l.client.ProxyLine(bin),
	)
}

// listen returns a socket of 127.0.0.1 whose accept blocks, for 10 s at most.
func listen() (fd, port int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, 0, err
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = unix.Listen(fd, 16)
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	return fd, name.(*unix.SockaddrInet4).Port, nil
}

func (d *dialer) close() error { return unix.Close(d.fd) }

// time is from the start of the proxy, fork and exec included, until a listener
// has accepted its first connection.
func (d *dialer) time(ctx context.Context, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	command := d.commands[name]
	cmd := d.client.Run(ctx, command[0], command[1:]...)
	stdin, keep, err := os.Pipe() // open while the proxy lives, as ssh's is
	if err != nil {
		return 0, err
	}
	defer keep.Close()
	defer stdin.Close()
	cmd.Stdin = stdin
	return d.run(cmd)
}

func (d *dialer) run(cmd *exec.Cmd) (time.Duration, error) {
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	conn, err := accept(d.fd)
	took := time.Since(start)
	if err == nil {
		unix.Close(conn)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil {
		return 0, fmt.Errorf("wait for the first connection: %w", err)
	}
	return took, nil
}

func accept(fd int) (int, error) {
	for {
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != unix.EINTR {
			return conn, err
		}
	}
}
