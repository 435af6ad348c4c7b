//go:build linux

package sshtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Impairment is what a Path does to the packets of one direction. The zero value
// does nothing.
type Impairment struct {
	Dark      bool          // all are lost
	Loss      float64       // the part that is lost, 0 to 1
	Reorder   float64       // the part that is overtaken by those behind
	Duplicate float64       // the part that arrives twice
	MaxSize   int           // larger ones are lost, and nobody is told; 0: any size passes
	Delay     time.Duration // of each
	Rate      int           // bytes per second; 0 is no limit
}

// PathStats counts packets. A test that uses a fault asserts that the count of
// that fault has risen.
type PathStats struct {
	Packets    int // that came in
	Lost       int // by Dark, Loss, and a line of limited Rate that is full
	TooLarge   int // lost by MaxSize
	Forgotten  int // of flows that Forget has dropped
	Reordered  int
	Duplicated int
}

// Path is a client and a server with a network between them that treats single
// packets badly, for kernels without netem. Its two ends are TUN devices without
// offload, so a packet here is one on a line, and TCP itself has to cope.
type Path struct {
	Client, Server *Netns // 192.0.2.1 and 192.0.2.2

	ends    [2]*os.File    // TUN devices of the client and of the server
	carried sync.WaitGroup // two carry and two deliver
	close   sync.Once

	mu    sync.Mutex // guards what follows
	dice  *rand.Rand
	ways  [2]Impairment // to the server, to the client
	stats [2]PathStats
	seen  map[flowKey]bool // true: forgotten
}

// flowKey is a TCP connection, seen from the client.
type flowKey struct {
	client      [4]byte
	here, there uint16
}

// held is a packet on its way.
type held struct {
	due  time.Time
	data []byte
}

const (
	// overtaken is how long a packet is held for others to overtake it.
	overtaken = 15 * time.Millisecond
	// lineLength is how many packets are under way at most.
	lineLength = 4096
	// lineTime is how much a line of limited rate holds before it is full.
	lineTime = 8 * time.Second
)

// NewPath makes a path without faults; seed decides which packets those that come
// will hit. It needs root. The caller closes it.
func NewPath(seed uint64) (*Path, error) {
	p := &Path{dice: rand.New(rand.NewPCG(seed, 0)), seen: make(map[flowKey]bool)}
	if err := p.setUp(); err != nil {
		p.Close()
		return nil, fmt.Errorf("set up the path: %w", err)
	}
	return p, nil
}

func (p *Path) setUp() (err error) {
	if p.Client, err = newNetns("192.0.2.1"); err != nil {
		return err
	}
	if p.Server, err = newNetns("192.0.2.2"); err != nil {
		return err
	}
	for i, ns := range []*Netns{p.Client, p.Server} {
		if p.ends[i], err = ns.openPacketTUN(); err != nil {
			return err
		}
	}
	for i := range p.ends {
		line := make(chan held, lineLength)
		p.carried.Go(func() { p.carry(i, line) }) // until Close closes the device
		p.carried.Go(func() { deliverOn(p.ends[1-i], line) })
	}
	return nil
}

// openPacketTUN makes the device tun0, of the usual 1500 bytes a packet.
func (ns *Netns) openPacketTUN() (f *os.File, err error) {
	err = ns.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq("tun0")
		if err == nil {
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), "tun0") // in the poller, so Close ends a Read
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	return f, errors.Join(ns.IP("addr add "+ns.Addr+"/29 dev tun0"), ns.IP("link set tun0 up"))
}

// carry takes packets from one end and decides what becomes of each.
func (p *Path) carry(from int, line chan<- held) {
	defer close(line)
	free := time.Now() // when the line has sent all that it was given
	buf := make([]byte, 2048)
	for {
		n, err := p.ends[from].Read(buf)
		if err != nil {
			return
		}
		way, late, copies := p.decide(from, buf[:n])
		due := time.Now().Add(way.Delay)
		if way.Rate > 0 && copies > 0 {
			if free = maxTime(free, time.Now()).Add(time.Duration(n) * time.Second / time.Duration(way.Rate)); time.Until(free) > lineTime {
				p.count(from, func(s *PathStats) { s.Lost++ })
				continue
			}
			due = free.Add(way.Delay)
		}
		for range copies {
			data := append([]byte(nil), buf[:n]...)
			if late {
				// Ends within the time that it is held.
				p.carried.Go(func() {
					<-time.After(time.Until(due) + overtaken)
					p.ends[1-from].Write(data)
				})
				continue
			}
			select {
			case line <- held{due, data}:
			default:
				p.count(from, func(s *PathStats) { s.Lost++ })
			}
		}
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// deliverOn writes packets in the order they came, each when it is due. One that
// the device does not take is lost, as on any line.
func deliverOn(to *os.File, line <-chan held) {
	for h := range line {
		if wait := time.Until(h.due); wait > 0 {
			<-time.After(wait)
		}
		to.Write(h.data)
	}
}

// decide rolls the dice for one packet: whether it is late, and how often it
// arrives.
func (p *Path) decide(from int, data []byte) (way Impairment, late bool, copies int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	way = p.ways[from]
	s := &p.stats[from]
	s.Packets++
	switch {
	case p.forgotten(from, data):
		s.Forgotten++
		return way, false, 0
	case way.Dark || p.dice.Float64() < way.Loss:
		s.Lost++
		return way, false, 0
	case way.MaxSize > 0 && len(data) > way.MaxSize:
		s.TooLarge++
		return way, false, 0
	}
	copies = 1
	if p.dice.Float64() < way.Duplicate {
		s.Duplicated++
		copies = 2
	}
	if p.dice.Float64() < way.Reorder {
		s.Reordered++
		late = true
	}
	return way, late, copies
}

// forgotten notes the flow of a packet and says whether it was dropped.
func (p *Path) forgotten(from int, data []byte) bool {
	const tcp = 6
	if len(data) < 40 || data[0]>>4 != 4 || data[9] != tcp {
		return false
	}
	header := int(data[0]&15) * 4
	if len(data) < header+4 {
		return false
	}
	source, dest := binary.BigEndian.Uint16(data[header:]), binary.BigEndian.Uint16(data[header+2:])
	key := flowKey{[4]byte(data[12:16]), source, dest}
	if from == 1 {
		key = flowKey{[4]byte(data[16:20]), dest, source}
	}
	if gone := p.seen[key]; gone {
		return true
	}
	p.seen[key] = false
	return false
}

func (p *Path) count(from int, change func(*PathStats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.stats[from])
}

// Impair sets what happens to packets in the directions d from now on.
func (p *Path) Impair(d Direction, i Impairment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for from, way := range []Direction{ToServer, ToClient} {
		if d&way != 0 {
			p.ways[from] = i
		}
	}
}

// Heal ends every impairment. What was lost stays lost.
func (p *Path) Heal() { p.Impair(Both, Impairment{}) }

// Forget drops all packets of the connections of before for ever, as a firewall
// does that was restarted. Neither end learns of it.
func (p *Path) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.seen {
		p.seen[key] = true
	}
}

// Stats returns a copy of the counts of the directions d, added up.
func (p *Path) Stats(d Direction) (sum PathStats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for from, way := range []Direction{ToServer, ToClient} {
		if s := p.stats[from]; d&way != 0 {
			sum.Packets += s.Packets
			sum.Lost += s.Lost
			sum.TooLarge += s.TooLarge
			sum.Forgotten += s.Forgotten
			sum.Reordered += s.Reordered
			sum.Duplicated += s.Duplicated
		}
	}
	return sum
}

// Close ends the path and removes its namespaces, once what runs in them has
// ended.
func (p *Path) Close() (err error) {
	p.close.Do(func() {
		for _, f := range p.ends {
			if f != nil {
				err = errors.Join(err, f.Close())
			}
		}
		p.carried.Wait()
		err = errors.Join(err, p.Client.Close(), p.Server.Close())
	})
	return err
}

// Path makes a path without faults.
func (r Rig) Path(seed uint64) *Path {
	r.Helper()
	p, err := NewPath(seed)
	r.must(err)
	r.end(p)
	return p
}
