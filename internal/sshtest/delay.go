//go:build linux

package sshtest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Delay is a client and a server on a line of a fixed length in time and no
// limit of rate: for kernels without netem. Its two ends are TUN devices, and
// this process carries packets from one to the other.
//
// Packets are as large as TCP hands them down (64 KB, by segmentation offload),
// which is what lets one thread carry several hundred MB/s.
type Delay struct {
	Client, Server *Netns // 192.0.2.1 and 192.0.2.2

	near, far, stop int            // the two TUN files, and an eventfd that ends carry
	carriers        sync.WaitGroup // two carry
	close           sync.Once
}

// NewDelay makes a line on which every packet takes oneWay in either direction.
// It needs root. The caller closes it.
func NewDelay(oneWay time.Duration) (*Delay, error) {
	d := &Delay{near: -1, far: -1, stop: -1}
	if err := d.setUp(oneWay); err != nil {
		d.Close()
		return nil, fmt.Errorf("set up the delay line: %w", err)
	}
	return d, nil
}

func (d *Delay) setUp(oneWay time.Duration) (err error) {
	if d.Client, err = newNetns("192.0.2.1"); err != nil {
		return err
	}
	if d.Server, err = newNetns("192.0.2.2"); err != nil {
		return err
	}
	if d.near, err = d.Client.openTUN(); err != nil {
		return err
	}
	if d.far, err = d.Server.openTUN(); err != nil {
		return err
	}
	if d.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return err
	}
	d.carriers.Go(func() { d.carry(d.near, d.far, oneWay) }) // until stop is readable
	d.carriers.Go(func() { d.carry(d.far, d.near, oneWay) })
	return nil
}

// openTUN makes the device tun0 with the address of ns, and windows wide enough
// for 200 MB/s at 100 ms.
func (ns *Netns) openTUN() (fd int, err error) {
	err = ns.Do(func() error {
		fd, err = newTUN()
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	return fd, errors.Join(
		ns.IP("addr add "+ns.Addr+"/30 dev tun0"),
		ns.IP("link set tun0 mtu 1500 txqueuelen 20000 up"),
		ns.sysctl("net.ipv4.tcp_no_metrics_save", "1"),
		ns.sysctl("net.ipv4.tcp_rmem", "4096 131072 134217728"),
		ns.sysctl("net.ipv4.tcp_wmem", "4096 131072 134217728"),
	)
}

func newTUN() (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	req, err := unix.NewIfreq("tun0")
	if err == nil {
		// vnet_hdr carries the checksum and segment offsets that offload leaves undone.
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// packet is one that is under way.
type packet struct {
	due  time.Time
	data []byte
}

// carry brings packets from one TUN file to the other, each after the delay.
// It is a thread in ppoll and not a goroutine with a timer, since Go's timers
// are late by up to a millisecond when the process is otherwise idle.
func (d *Delay) carry(from, to int, delay time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var line []packet // in order of due
	var in arrivals
	wait := []unix.PollFd{{Fd: int32(from), Events: unix.POLLIN}, {Fd: int32(d.stop), Events: unix.POLLIN}}
	for {
		line = deliver(to, line)
		var timeout *unix.Timespec // nil is for ever
		if len(line) > 0 {
			ts := unix.NsecToTimespec(max(0, int64(time.Until(line[0].due))))
			timeout = &ts
		}
		unix.Ppoll(wait, timeout, nil)
		if wait[1].Revents != 0 {
			return
		}
		for range 64 { // then look at what is due
			data := in.read(from)
			if data == nil {
				break
			}
			line = append(line, packet{time.Now().Add(delay), data})
		}
	}
}

// deliver writes the packets that are due and returns the others. One that the
// device does not take is lost, as on any line.
func deliver(to int, line []packet) []packet {
	now := time.Now()
	for len(line) > 0 && !line[0].due.After(now) {
		unix.Write(to, line[0].data)
		line[0].data = nil
		line = line[1:]
	}
	return line
}

// arrivals reads packets into blocks that many of them share, since most are
// small and the largest are 64 KB: the collector frees a block after its last.
type arrivals struct{ block []byte }

const (
	maxPacket = 70_000
	blockSize = 1 << 20
)

// read returns the next packet, or nil if there is none now.
func (a *arrivals) read(fd int) []byte {
	if len(a.block) < maxPacket {
		a.block = make([]byte, blockSize)
	}
	n, err := unix.Read(fd, a.block)
	if err != nil || n <= 0 {
		return nil
	}
	data := a.block[:n:n]
	a.block = a.block[n:]
	return data
}

// Close ends the line and removes its namespaces, once what runs in them has
// ended.
func (d *Delay) Close() (err error) {
	d.close.Do(func() {
		if d.stop >= 0 {
			var one = [8]byte{1}
			_, err = unix.Write(d.stop, one[:])
		}
		d.carriers.Wait()
		for _, fd := range []int{d.near, d.far, d.stop} {
			if fd >= 0 {
				err = errors.Join(err, os.NewSyscallError("close", unix.Close(fd)))
			}
		}
		err = errors.Join(err, d.Client.Close(), d.Server.Close())
	})
	return err
}
