// Package hop is one authenticated SSH connection to a jump host, kept alive,
// over which further connections are dialed as ssh -W does.
package hop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/auth"
	"ssh-stay/keepalive"
)

// Config says how to reach and keep one jump host.
type Config struct {
	Name  string // how messages name the hop
	Login *auth.Login

	// HostKeys decides on the host's key. It serves one connection: where there
	// may be more, LoadHostKeys makes it for each one, and reads the files anew.
	HostKeys     *auth.HostKeys
	LoadHostKeys func() (*auth.HostKeys, error)

	// Pinned is the key of an earlier connection, and the only one that the host
	// may show; nil: any. HostKeys is told, and asks and records nothing. Of a
	// certificate, the certified key counts.
	Pinned ssh.PublicKey

	// Algorithm lists in order of preference; nil is the library's own, which
	// has AES-GCM first. What x/crypto/ssh cannot do is dropped; a list of which
	// nothing is left is an error.
	HostKeyAlgorithms []string
	KeepHostKeyOrder  bool // do not put the kinds of known keys first
	KexAlgorithms     []string
	Ciphers           []string
	MACs              []string
	RekeyBytes        uint64 // 0: the library's default

	// Banner is told what the host says before the login, as it came; nil
	// where nobody shall see it.
	Banner func(text string)

	// LoggingIn, if not nil, is told that the key exchange is done, perhaps
	// more than once: what follows may take the user's time.
	LoggingIn func()

	Interval time.Duration // silence before a probe; 0: never probe
	GiveUp   time.Duration // silence after which the hop is dead

	// Events tells when the network may have changed, and so when to probe at
	// once; nil: never. It outlives the hop.
	Events *keepalive.Events

	Log *slog.Logger
}

// DialFunc makes the connection below a hop. The hop closes it.
type DialFunc func(context.Context) (net.Conn, error)

// Hop is an authenticated connection. Its methods may be called from any
// goroutine.
type Hop struct {
	name   string
	log    *slog.Logger
	conn   *conn
	client *ssh.Client

	hostKey ssh.PublicKey // that the host showed first; it must show it at each rekey

	interval time.Duration // of the probes
	rtt      atomic.Int64  // nanoseconds; see Stats

	noDelay    sync.Once     // guards the one no-op session
	rekeysSoon bool          // perhaps before that is closed
	over       chan struct{} // closed when the library takes no more packets
	done       chan struct{} // closed when the connection has ended

	mu     sync.Mutex // guards closed and err
	closed bool       // Close was called: the end is no error
	err    error
}

// HandshakeError says that a host answered but no SSH connection came of it:
// another protocol, no common algorithm, or a line that broke.
type HandshakeError struct {
	Hop string
	Err error
}

func (e *HandshakeError) Error() string { return fmt.Sprintf("hop %s: %v", e.Hop, e.Err) }
func (e *HandshakeError) Unwrap() error { return e.Err }

// LostError says that an established hop has ended.
type LostError struct {
	Hop string
	Err error
}

func (e *LostError) Error() string { return fmt.Sprintf("hop %s lost: %v", e.Hop, e.Err) }
func (e *LostError) Unwrap() error { return e.Err }

// Dial makes the connection below by dial, and logs in on it. ctx bounds both;
// it does not bound the life of the Hop. Errors: those of dial,
// *HandshakeError, and within it the errors of package auth.
func Dial(ctx context.Context, cfg *Config, dial DialFunc) (*Hop, error) {
	cfg, err := cfg.forOne()
	if err != nil {
		return nil, &HandshakeError{cfg.Name, err}
	}
	below, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	if tcp, ok := below.RemoteAddr().(*net.TCPAddr); ok {
		cfg.HostKeys.Addr = tcp.AddrPort().Addr().Unmap()
	}
	start := time.Now()
	h := &Hop{name: cfg.Name, log: cfg.Log, conn: newConn(below), interval: cfg.Interval, over: make(chan struct{}), done: make(chan struct{})}
	h.rekeysSoon = cfg.RekeyBytes > 0 && cfg.RekeyBytes < soon
	// NewClientConn knows no context and has no deadline of its own.
	stop := context.AfterFunc(ctx, func() { h.conn.Close() })
	h.client, err = h.handshake(ctx, cfg)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		h.conn.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("SSH handshake: %w", context.Cause(ctx))
		}
		return nil, &HandshakeError{cfg.Name, err}
	}
	cfg.Log.Debug("hop established", "hop", cfg.Name, "server", string(h.client.ServerVersion()), "after", time.Since(start))
	go h.watch(cfg) // ends with the connection; Close waits for done
	return h, nil
}

func (h *Hop) handshake(ctx context.Context, cfg *Config) (*ssh.Client, error) {
	clientConfig, err := cfg.client(ctx)
	if err != nil {
		return nil, err
	}
	login := cfg.Login.Start(ctx)
	defer login.Forget()
	defer context.AfterFunc(ctx, func() { login.Close() })() // an agent may ask its user
	clientConfig.AuthCallback = func(ctx *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
		if err := h.conn.err(); err != nil {
			return nil, err // the library takes a dead line for a refusal
		}
		if cfg.LoggingIn != nil {
			cfg.LoggingIn()
		}
		if !cfg.HostKeys.PasswordsAllowed() {
			login.NoSecrets()
		}
		return login.Next(ctx)
	}
	clientConfig.BannerCallback = func(text string) error {
		if cfg.Banner != nil && text != "" {
			cfg.Banner(text)
		}
		return nil
	}
	var refused error
	clientConfig.HostKeyAlgorithms = cfg.pinnedFirst(clientConfig.HostKeyAlgorithms)
	clientConfig.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
		refused = h.checkHostKey(ctx, cfg, key)
		return refused
	}
	sshConn, chans, reqs, err := ssh.NewClientConn(h.conn, cfg.Name, clientConfig)
	if refused != nil {
		return nil, refused
	}
	if denied := (*auth.DeniedError)(nil); errors.As(err, &denied) {
		return nil, denied // without the library's words around it
	}
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without "ssh: handshake failed: "
		}
		return nil, h.conn.greeting.dropped(err, h.conn.err())
	}
	go h.answer(reqs) // ends when the library takes no more packets
	none := make(chan *ssh.Request)
	close(none)
	return ssh.NewClient(sshConn, chans, none), nil
}

// answer refuses the host's requests, keepalives among them, as OpenSSH does.
func (h *Hop) answer(reqs <-chan *ssh.Request) {
	for r := range reqs {
		if r.WantReply {
			r.Reply(false, nil)
		}
	}
	close(h.over)
}

// waitGrace is how long the library may take to say why it has ended.
const waitGrace = 500 * time.Millisecond

var errProtocol = errors.New("the host broke the SSH protocol")

// wait returns why the connection has ended. The library's Wait does not return
// when a host goes on sending after it broke the protocol (x/crypto v0.58: its
// reader then waits for one that has gone), and neither do three goroutines of
// it. They hold nothing but memory.
func (h *Hop) wait() error {
	ended := make(chan error, 1)
	go func() { ended <- h.client.Wait() }() // see above
	select {
	case err := <-ended:
		return err
	case <-h.over:
	}
	h.conn.Close()
	select {
	case err := <-ended:
		return err
	case <-time.After(waitGrace):
		return errProtocol
	}
}

// watch keeps the connection alive until it ends and records why. It is the
// one place that ends a Hop.
func (h *Hop) watch(cfg *Config) {
	ctx, cancel := context.WithCancel(context.Background())
	events, unsubscribe := cfg.Events.Subscribe()
	defer unsubscribe()
	loop := &keepalive.Loop{
		Interval: cfg.Interval,
		GiveUp:   cfg.GiveUp,
		Life:     h.conn.life,
		Events:   events,
		Probe: func() error {
			h.log.Debug("probe", "hop", h.name)
			start := time.Now()
			_, _, err := h.client.SendRequest("keepalive@openssh.com", true, nil)
			if err == nil {
				h.timed(start)
			}
			return err
		},
	}
	probed := make(chan error, 1)
	go func() { // ends with ctx, or by giving up; received below
		err := loop.Run(ctx)
		if ctx.Err() == nil {
			h.conn.Close()
		}
		probed <- err
	}()
	err := h.wait()
	cancel()
	if silent := (*keepalive.SilentError)(nil); errors.As(<-probed, &silent) {
		err = silent
	} else if cause := h.conn.err(); cause != nil {
		err = cause
	}
	h.conn.Close()
	loop.Wait()
	h.mu.Lock()
	if !h.closed {
		h.err = &LostError{h.name, plainCause(err)}
	}
	h.mu.Unlock()
	close(h.done)
}

// plainCause leaves out the addresses and calls that the net package tells.
func plainCause(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("closed by the host")
	case errors.As(err, &errno):
		return errno
	}
	return err
}

// Done is closed when the hop has ended.
func (h *Hop) Done() <-chan struct{} { return h.done }

// Err is nil while the hop lives and after Close, else a *LostError.
func (h *Hop) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// Close ends the hop and everything dialed over it, and closes the connection
// below. It waits for the hop's goroutines, none of which outlives the
// connection.
func (h *Hop) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	err := h.conn.Close()
	<-h.done
	return err
}
