package remote

import (
	"errors"
	"net"
	"sync"
	"time"
)

// What ends a connection, besides an error of its own.
var (
	ErrSilent       = errors.New("no byte from the other end") // for Config.Timeout
	ErrDisconnected = errors.New("the other end is gone for good")
	errReplaced     = errors.New("another connection took over")
)

// clocks are VS Code's, from its ipc.net.ts; see Config for what each is.
type clocks struct {
	keepAlive, ack, timeout time.Duration
	paused                  bool
	forgiving               bool // a server: it never gives a silent connection up by itself
}

// replayPause is the least time between two requests for a replay.
const replayPause = 10 * time.Second

// protocol is the state that outlives connections, on either side: what we sent and the peer has
// not acked, and what we have of its messages. VS Code calls it PersistentProtocol.
type protocol struct {
	clocks

	links sync.WaitGroup // readers and writers of all links

	mu       sync.Mutex // guards all below, and the fields of links
	link     *link      // the newest; it may be dead
	sent     uint32     // id of our last Regular message
	unacked  []kept     // our Regular messages that the peer may lack, in order
	received uint32     // id of the peer's last Regular message
	told     uint32     // the highest id that we acked on this link
	inbox    [][]byte   // messages that nobody took yet
	arrived  *sync.Cond // on mu: the inbox grew, or closed is set
	closed   bool
}

type kept struct {
	frame
	written time.Time
}

func newProtocol(c clocks) *protocol {
	p := &protocol{clocks: c}
	p.arrived = sync.NewCond(&p.mu)
	return p
}

// send queues a Regular message, on the link if one lives, else for the next.
func (p *protocol) send(data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	p.sent++
	p.told = p.received
	f := frame{kind: kindRegular, id: p.sent, ack: p.received, data: append([]byte(nil), data...)}
	p.unacked = append(p.unacked, kept{frame: f, written: time.Now()})
	if l := p.link; l != nil && !l.dead {
		l.queueLocked(f)
		l.armSilenceLocked()
	}
	return nil
}

// next takes the oldest message of the peer, and waits for one. False: closed, and all taken.
func (p *protocol) next() ([]byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.inbox) == 0 && !p.closed {
		p.arrived.Wait()
	}
	if len(p.inbox) == 0 {
		return nil, false
	}
	m := p.inbox[0]
	p.inbox = p.inbox[1:]
	return m, true
}

// receive takes one frame that came over l. An error ends l.
func (p *protocol) receive(l *link, f frame) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.dead {
		return errReplaced
	}
	n := 0
	for n < len(p.unacked) && p.unacked[n].id <= f.ack {
		n++
	}
	p.unacked = p.unacked[n:]
	if n > 0 {
		l.armSilenceLocked()
	}
	switch f.kind {
	case kindRegular:
		p.regularLocked(l, f)
	case kindReplayRequest:
		l.replayLocked()
	case kindPause:
		l.paused = true
	case kindResume:
		l.paused = false
		l.wake.Signal()
	case kindDisconnect:
		return ErrDisconnected
	}
	return nil
}

func (p *protocol) regularLocked(l *link, f frame) {
	switch {
	case f.id <= p.received: // a replay of what came before the cut
	case f.id == p.received+1:
		p.received++
		p.inbox = append(p.inbox, f.data)
		p.arrived.Signal()
		if !l.ackDue {
			l.ackDue = true
			l.ackTimer.Reset(p.ack)
		}
	case l.asked.IsZero() || time.Since(l.asked) > replayPause:
		l.asked = time.Now()
		l.queueLocked(frame{kind: kindReplayRequest})
	}
}

// close ends the protocol and its link. With word, the peer is told, so that it forgets us;
// a peer that does not read has a second for it.
func (p *protocol) close(word bool) {
	p.mu.Lock()
	p.closed = true
	p.arrived.Broadcast()
	l := p.link
	if l != nil && word && !l.dead && !l.last {
		l.queueLocked(frame{kind: kindDisconnect})
		l.last = true
		l.wake.Signal()
	}
	p.mu.Unlock()
	if l != nil && word {
		l.c.SetWriteDeadline(time.Now().Add(time.Second))
	} else if l != nil {
		l.fail(net.ErrClosed)
	}
	p.links.Wait()
}
