//go:build linux || darwin || freebsd

package relay

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	listenerFD = 3
	lockFD     = 4
	// maxUnproven is how many bridges may be between connecting and handing
	// over. More wait in the backlog: none is refused.
	maxUnproven = 64
	// breath is how long accepting waits when descriptors have run out.
	breath = 100 * time.Millisecond
)

// daemon serves channels at the socket until it has no streams.
type daemon struct {
	server   Server
	listener *net.UnixListener
	at       place    // of the listener's socket
	lock     *os.File // of that place, held
	handover time.Duration
	unproven chan struct{} // a token for each bridge that has yet to hand over

	mu       sync.Mutex // guards the following
	accepted int        // since the last look
	active   int        // connections that are not done with
	closed   bool
}

func (p *program) daemon() int {
	// The terminal, the session or the channel of whoever started us may go.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	listener, lock, err := inherit()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ssh-stay relay:", err)
		return 2
	}
	defer lock.Close()
	at := placeOf(listener.Addr().String())
	p.removeOld(at.version)
	d := &daemon{
		server:   p.newServer(),
		listener: listener,
		at:       at,
		lock:     lock,
		handover: p.handover,
		unproven: make(chan struct{}, maxUnproven),
	}
	var accepting sync.WaitGroup
	accepting.Go(d.accept) // ends with the listener
	d.keep(term, p.grace)
	accepting.Wait()
	// What still waits for a hand-over ends with the process.
	d.server.Close()
	return 0
}

// inherit takes what the bridge gave us, the locked file second. It is ours as long
// as it is open.
func inherit() (*net.UnixListener, *os.File, error) {
	unix.CloseOnExec(lockFD)
	if err := unix.Flock(lockFD, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, nil, fmt.Errorf("descriptor %d is no lock of ours: %w", lockFD, err)
	}
	f := os.NewFile(listenerFD, "listener")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, nil, fmt.Errorf("descriptor %d is no listener: %w", listenerFD, err)
	}
	listener, ok := l.(*net.UnixListener)
	if !ok {
		return nil, nil, fmt.Errorf("descriptor %d is no unix socket", listenerFD)
	}
	return listener, os.NewFile(lockFD, "lock"), nil
}

// keep returns on SIGTERM, or when the daemon has had nothing to do for grace.
// The socket is gone then; the lock goes with the process.
func (d *daemon) keep(term <-chan os.Signal, grace time.Duration) {
	look := time.NewTicker(grace)
	defer look.Stop()
	for {
		select {
		case <-term:
			d.stop(true)
			return
		case <-look.C:
			if d.stop(false) {
				return
			}
		}
	}
}

// stop removes the socket and closes the listener; without force only if no
// stream is left and nobody has come since the last call. A bridge in the
// backlog is reset, and starts over. Where our lock was removed (rm -rf ~/.cache),
// another daemon may have come, and the socket is its.
func (d *daemon) stop(force bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	idle := d.accepted == 0 && d.active == 0 && d.server.Busy() == 0
	d.accepted = 0
	if !idle && !force {
		return false
	}
	d.closed = true
	if isAt(d.lock, d.at.lock()) {
		os.Remove(d.at.socket())
	}
	d.listener.Close()
	return true
}

func (d *daemon) accept() {
	for {
		d.unproven <- struct{}{}
		c, err := d.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			<-d.unproven
			time.Sleep(breath)
			continue
		}
		if !d.begin() {
			c.Close() // before the greeting: the bridge starts over
			return
		}
		// Ends with the channel, or when nothing is handed over in time.
		go d.handle(c)
	}
}

// begin counts a connection unless the daemon has stopped.
func (d *daemon) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.accepted++
	d.active++
	return true
}

func (d *daemon) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active--
}

// handle serves the channel of one bridge, which sleeps until c is closed.
func (d *daemon) handle(c *net.UnixConn) {
	defer d.end()
	defer c.Close()
	channel, err := takeOver(c, d.handover)
	<-d.unproven
	if err == nil {
		d.server.Serve(channel)
	}
}

// takeOver returns the channel that a bridge of the same user hands over within
// patience.
func takeOver(c *net.UnixConn, patience time.Duration) (net.Conn, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if err := sameUser(c); err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte{greeting}); err != nil {
		return nil, err
	}
	var b [1]byte
	oob := make([]byte, unix.CmsgSpace(2*4)) // two ints
	_, n, flags, _, err := c.ReadMsgUnix(b[:], oob)
	if err != nil {
		return nil, err
	}
	fds, err := descriptors(oob[:n])
	if err == nil && (len(fds) != 2 || flags&unix.MSG_CTRUNC != 0) {
		err = fmt.Errorf("%d descriptors handed over, want 2", len(fds))
	}
	if err == nil {
		return newChannel(fds[0], fds[1])
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	return nil, err
}

func sameUser(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	uid := -1
	if cerr := raw.Control(func(fd uintptr) { uid, err = peerUID(int(fd)) }); cerr != nil {
		return cerr
	}
	if err == nil && uid != os.Geteuid() {
		err = fmt.Errorf("uid %d connected", uid)
	}
	return err
}

// descriptors are those that a message carried.
func descriptors(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	var fds []int
	for _, m := range messages {
		if more, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, more...)
		}
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return fds, err
}
