package sshtest

import (
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Server is an SSH server in this process, of golang.org/x/crypto/ssh: for
// logins that sshd cannot be told to ask for, and to see all that a client
// does. It forwards direct-tcpip, and takes sessions in which nothing runs.
type Server struct {
	Addr string
	Port int

	config   *ssh.ServerConfig
	listener net.Listener
	running  sync.WaitGroup // every goroutine

	mu       sync.Mutex // guards what follows
	closed   bool
	open     map[net.Conn]bool
	accepted int
	logins   int
	seen     []string
}

// StartServer starts a server on 127.0.0.1. The config has its host keys and
// says who may log in; it must not be changed any more. The caller closes it.
func StartServer(config *ssh.ServerConfig) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().(*net.TCPAddr)
	s := &Server{Addr: addr.IP.String(), Port: addr.Port, config: config, listener: l, open: make(map[net.Conn]bool)}
	s.running.Go(s.accept) // ends with the listener
	return s, nil
}

// HostPort is the address to dial.
func (s *Server) HostPort() string { return net.JoinHostPort(s.Addr, strconv.Itoa(s.Port)) }

// Connections is how many TCP connections came.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Logins is how many of them logged in.
func (s *Server) Logins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// Seen is what clients asked for after the login, in order: "global NAME",
// "channel TYPE", and "session NAME" for a request on a channel of that type.
func (s *Server) Seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Close ends all connections and waits for the goroutines that serve them.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	again := s.closed
	s.closed = true
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	if again {
		return nil
	}
	return err
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.accepted++
		s.mu.Unlock()
		s.running.Go(func() { s.serve(c) }) // ends with c, which Close closes
	}
}

// track keeps c for Close to end, and says whether Close has not been there.
func (s *Server) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.open[c] = true
	}
	return !s.closed
}

func (s *Server) end(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

func (s *Server) serve(c net.Conn) {
	defer s.end(c)
	if !s.track(c) {
		return
	}
	conn, chans, reqs, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.logins++
	s.mu.Unlock()
	s.running.Go(func() { s.refuse("global", reqs) }) // ends with the connection
	for channel := range chans {
		s.note("channel " + channel.ChannelType())
		s.running.Go(func() { s.channel(channel) }) // ends with the connection
	}
	conn.Close()
}

func (s *Server) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, what)
}

// refuse notes requests and grants none, as sshd does with keepalives.
func (s *Server) refuse(of string, reqs <-chan *ssh.Request) {
	for r := range reqs {
		s.note(of + " " + r.Type)
		if r.WantReply {
			r.Reply(false, nil)
		}
	}
}

func (s *Server) channel(c ssh.NewChannel) {
	switch c.ChannelType() {
	case "direct-tcpip":
		s.forward(c)
	case "session":
		if ch, reqs, err := c.Accept(); err == nil {
			s.running.Go(func() { s.refuse("session", reqs) }) // ends with the channel
			io.Copy(io.Discard, ch)
			ch.Close()
		}
	default:
		c.Reject(ssh.UnknownChannelType, "not here")
	}
}

// forward connects a channel with its target, RFC 4254 section 7.2.
func (s *Server) forward(c ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(c.ExtraData(), &to); err != nil {
		c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	target, err := net.Dial("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer s.end(target)
	if !s.track(target) {
		return
	}
	ch, reqs, err := c.Accept()
	if err != nil {
		return
	}
	s.running.Go(func() { s.refuse("direct-tcpip", reqs) }) // ends with the channel
	up := make(chan struct{})
	s.running.Go(func() { // ends with the channel, which ends with its connection
		io.Copy(target, ch)
		target.(*net.TCPConn).CloseWrite()
		close(up)
	})
	io.Copy(ch, target)
	ch.CloseWrite()
	<-up
	ch.Close()
}

// Step is one part of a login at a Server: a method with what it takes to pass.
type Step struct {
	Keys     []ssh.PublicKey // publickey: any of them, or
	CA       ssh.PublicKey   // publickey: a certificate of this authority
	Password string          // password
	Rounds   []Round         // keyboard-interactive: all of them, one after the other
}

// Round is one question of a keyboard-interactive login.
type Round struct {
	Question, Answer string
	Echo             bool
}

// Steps makes a server config by which user logs in by all the steps, in
// order, no key serving twice, as with AuthenticationMethods of sshd_config.
func Steps(user string, steps ...Step) *ssh.ServerConfig {
	first := callbacks(user, steps, nil)
	return &ssh.ServerConfig{
		PublicKeyCallback:           first.PublicKeyCallback,
		PasswordCallback:            first.PasswordCallback,
		KeyboardInteractiveCallback: first.KeyboardInteractiveCallback,
	}
}

// errDenied is the end of one try.
var errDenied = errors.New("denied")

// callbacks are those of the first step, which lead to the ones of the others.
// used are the keys that earlier steps took.
func callbacks(user string, steps []Step, used []string) (first ssh.ServerAuthCallbacks) {
	step, rest := steps[0], steps[1:]
	pass := func(ok bool, used []string) (*ssh.Permissions, error) {
		switch {
		case !ok:
			return nil, errDenied
		case len(rest) > 0:
			return nil, &ssh.PartialSuccessError{Next: callbacks(user, rest, used)}
		}
		return nil, nil
	}
	switch {
	case step.Password != "":
		first.PasswordCallback = func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			return pass(c.User() == user && string(password) == step.Password, used)
		}
	case step.Rounds != nil:
		first.KeyboardInteractiveCallback = func(c ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			for _, round := range step.Rounds {
				answers, err := ask("", "", []string{round.Question}, []bool{round.Echo})
				if err != nil || len(answers) != 1 || answers[0] != round.Answer {
					return nil, errDenied
				}
			}
			return pass(c.User() == user, used)
		}
	default:
		first.PublicKeyCallback = func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			name := string(key.Marshal())
			ok := c.User() == user && !slices.Contains(used, name) && step.takes(c, key)
			return pass(ok, append(slices.Clone(used), name))
		}
	}
	return first
}

func (s *Step) takes(c ssh.ConnMetadata, key ssh.PublicKey) bool {
	if strings.Contains(key.Type(), "-cert-") {
		if s.CA == nil {
			return false
		}
		checker := &ssh.CertChecker{IsUserAuthority: func(ca ssh.PublicKey) bool { return sameKey(ca, s.CA) }}
		_, err := checker.Authenticate(c, key)
		return err == nil
	}
	return slices.ContainsFunc(s.Keys, func(k ssh.PublicKey) bool { return sameKey(k, key) })
}

func sameKey(a, b ssh.PublicKey) bool { return string(a.Marshal()) == string(b.Marshal()) }

// Server starts a server.
func (r Rig) Server(config *ssh.ServerConfig) *Server {
	r.Helper()
	s, err := StartServer(config)
	r.must(err)
	r.end(s)
	return s
}
