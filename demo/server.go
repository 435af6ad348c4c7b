package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// greeting is the target's first line, once the remote command runs.
const greeting = "ready"

// reply is the target's answer to a line.
func reply(line string) string { return "target read: " + line }

// serveChannel serves one channel that a client wants to open, and returns
// when it is closed, as the end of its connection does too. ctx ends with that
// connection.
type serveChannel func(ctx context.Context, ch ssh.NewChannel)

// server is an SSH server that knows one public key.
type server struct {
	addr    string
	key     ssh.PublicKey // of the host
	config  *ssh.ServerConfig
	channel serveChannel
}

// startServer serves until ctx ends; running counts what is left.
func startServer(ctx context.Context, running *sync.WaitGroup, user ssh.PublicKey, channel serveChannel) (*server, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{PublicKeyCallback: only(user)}
	config.AddHostKey(signer)
	ln, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	s := &server{ln.Addr().String(), signer.PublicKey(), config, channel}
	running.Go(func() { serve(ctx, ln, s.serveConn) }) // until ctx closes ln
	return s, nil
}

// only lets in the owner of one key.
func only(user ssh.PublicKey) func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
	return func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), user.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}
}

// serve accepts connections until ln is closed, closes each when handle
// returns or ctx ends, and returns when all have been handled.
func serve(ctx context.Context, ln net.Listener, handle func(context.Context, net.Conn)) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		conns.Go(func() { // until handle returns; ctx closes conn under it
			defer closeWith(ctx, conn)()
			handle(ctx, conn)
		})
	}
}

// closeWith closes c when ctx ends or the returned function is called.
func closeWith(ctx context.Context, c io.Closer) func() {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	return func() {
		stop()
		c.Close()
	}
}

func (s *server) serveConn(ctx context.Context, conn net.Conn) {
	conn.SetDeadline(time.Now().Add(2 * loginLimit))
	sc, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return
	}
	conn.SetDeadline(time.Time{})
	ctx, cancel := context.WithCancel(ctx)
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	defer sc.Close()
	// As sshd: keepalive@openssh.com is no request it knows, and its failure
	// is the sign of life. Ends, as channels does, with the connection.
	open.Go(func() { ssh.DiscardRequests(requests) })
	for ch := range channels {
		open.Go(func() { s.channel(ctx, ch) }) // until the connection ends
	}
}

// echoLines is the target: a session's command repeats each line.
func echoLines(_ context.Context, nc ssh.NewChannel) {
	serveSession(nc, func(ch ssh.Channel) {
		fmt.Fprintln(ch, greeting)
		for lines := bufio.NewScanner(ch); lines.Scan(); {
			fmt.Fprintln(ch, reply(lines.Text()))
		}
	})
}

// jumpTo is the jump host: it forwards to target and nowhere else. Sessions
// are let in, and their command ends at once.
func jumpTo(target string) serveChannel {
	return func(ctx context.Context, nc ssh.NewChannel) {
		if nc.ChannelType() == "direct-tcpip" {
			serveForward(ctx, nc, target)
			return
		}
		serveSession(nc, func(ssh.Channel) {})
	}
}

// serveSession runs command for an exec request and reports exit status 0.
func serveSession(nc ssh.NewChannel, command func(ssh.Channel)) {
	if nc.ChannelType() != "session" {
		nc.Reject(ssh.UnknownChannelType, "unknown channel type")
		return
	}
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	for req := range requests {
		if req.Type != "exec" {
			req.Reply(false, nil)
			continue
		}
		req.Reply(true, nil)
		var rest sync.WaitGroup
		rest.Go(func() { ssh.DiscardRequests(requests) }) // until ch is closed
		command(ch)
		ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{}))
		ch.Close()
		rest.Wait()
		return
	}
}

// serveForward joins a direct-tcpip channel (RFC 4254, section 7.2) to target.
func serveForward(ctx context.Context, nc ssh.NewChannel, target string) {
	var to struct {
		Host     string
		Port     uint32
		FromHost string
		FromPort uint32
	}
	if err := ssh.Unmarshal(nc.ExtraData(), &to); err != nil ||
		net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))) != target {
		nc.Reject(ssh.Prohibited, "no forwarding there")
		return
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer closeWith(ctx, conn)()
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	var copies sync.WaitGroup
	defer copies.Wait()
	defer ch.Close()
	copies.Go(func() { ssh.DiscardRequests(requests) }) // until ch is closed
	copies.Go(func() {                                  // until ch has no more, or conn is closed
		io.Copy(conn, ch)
		closeWrite(conn)
	})
	io.Copy(ch, conn)
}
