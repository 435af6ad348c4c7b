//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ssh-stay/internal/sshtest"
)

// The paths as the tables name them. "ssh -W" is the process that `ssh -J`
// starts as its proxy.
const (
	plain  = "no proxy"
	netcat = "nc"
	socat  = "socat"
	mosh   = "mosh"
	auto   = "autossh"
	direct = "ssh-stay"
	fdpass = "ssh-stay, fdpass"
	sshJ   = "ssh -J"
	sshW   = "ssh -W"
	stayJ  = "ssh-stay, jump"
	stayR  = "ssh-stay, resume jump"
	stayT  = "ssh-stay, resume target"
	relay  = "relay of one session"
)

// sizes is how much is measured in a round. The groups that take minutes have
// fewer rounds than the others.
type sizes struct {
	bytes, farBytes   int64
	echoes, farEchoes int
	starts            int // whole sessions on loopback
	dials             int
	settle            time.Duration // from login to what counts as idle

	parallel  []int         // sessions of one ssh
	flow      time.Duration // that their rate is taken for
	keys      int           // of each interval
	crowd     []int         // sessions through one jump host
	crowdHold time.Duration // that their CPU time is taken for

	far, channels, typing, growth int // rounds of the groups that take minutes, at most
}

func fullSizes(rounds int) sizes {
	return sizes{bytes: 384 << 20, farBytes: 64 << 20, echoes: 2000, farEchoes: 100, starts: 4,
		dials: (30 + rounds - 1) / rounds, settle: 2 * time.Second,
		parallel: []int{1, 4, 16}, flow: time.Second, keys: 100,
		crowd: []int{1, 10, 100}, crowdHold: 5 * time.Second,
		far: 3, channels: 3, typing: 3, growth: 1}
}

func quickSizes() sizes {
	return sizes{bytes: 16 << 20, farBytes: 4 << 20, echoes: 50, farEchoes: 20, starts: 1, dials: 2, settle: 200 * time.Millisecond,
		parallel: []int{2}, flow: 200 * time.Millisecond, keys: 10,
		crowd: []int{1, 3}, crowdHold: time.Second,
		far: 1, channels: 1, typing: 1, growth: 1}
}

// rig owns the peers that the groups share.
type rig struct {
	sizes   sizes
	bin     string
	labs    map[time.Duration]*lab // by the delay in either direction
	closers []func() error         // in order of opening
}

func (r *rig) onClose(f func() error) { r.closers = append(r.closers, f) }

// close ends and removes everything, the last first.
func (r *rig) close() (err error) {
	for _, f := range slices.Backward(r.closers) {
		err = errors.Join(err, f())
	}
	return err
}

// adoptOrphans makes us the parent of processes whose own has ended, such as the
// `ssh -W` of an ssh that was killed, and ends those that are left at the end:
// one in a namespace whose line is gone would wait for ever.
func (r *rig) adoptOrphans() error {
	r.onClose(func() (err error) {
		for _, pid := range sshtest.Descendants(os.Getpid()) {
			unix.Kill(pid, unix.SIGKILL)
			err = errors.Join(err, sshtest.WaitGone(pid, 5*time.Second))
		}
		return err
	})
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// build has the binary on the disk as an installed one is: the kernel counts
// pages of a file that it has yet to write as dirty memory of whoever maps them.
func (r *rig) build() (err error) {
	if r.bin, err = sshtest.Build(); err != nil {
		return err
	}
	if os.Getenv("SSH_STAY_BIN") == "" {
		r.onClose(func() error { return os.RemoveAll(filepath.Dir(r.bin)) })
	}
	f, err := os.Open(r.bin)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// lab is a user, a jump host and a target behind it.
type lab struct {
	client       *sshtest.Client
	in           *sshtest.Netns // where the user is
	jump, target *sshtest.Sshd
	paths        map[string]path // by name
}

// lab is the one whose user is so far from jump host and target; between those
// two is loopback.
func (r *rig) lab(oneWay time.Duration) (*lab, error) {
	if l := r.labs[oneWay]; l != nil {
		return l, nil
	}
	var near, far *sshtest.Netns
	if oneWay > 0 {
		d, err := sshtest.NewDelay(oneWay)
		if err != nil {
			return nil, err
		}
		r.onClose(d.Close)
		near, far = d.Client, d.Server
	}
	l, err := r.newLab(near, far)
	if err != nil {
		return nil, err
	}
	if err := l.addPaths(r.bin); err != nil {
		return nil, err
	}
	if r.labs == nil {
		r.labs = make(map[time.Duration]*lab)
	}
	r.labs[oneWay] = l
	return l, nil
}

// newLab starts jump and target on the far side. By default a server allows ten
// sessions of one connection, which is less than are taken here.
func (r *rig) newLab(near, far *sshtest.Netns) (*lab, error) {
	l := &lab{in: near}
	var err error
	if l.client, err = sshtest.NewClient(); err != nil {
		return nil, err
	}
	r.onClose(l.client.Close)
	many := []string{"MaxSessions 64"}
	if l.jump, err = r.sshd(sshtest.SshdConfig{In: far, Lines: many}); err != nil {
		return nil, err
	}
	if l.target, err = r.sshd(sshtest.SshdConfig{In: far, Addr: "127.0.0.1", Lines: many}); err != nil {
		return nil, err
	}
	return l, l.client.AddHost("jump", l.jump)
}

func (r *rig) sshd(cfg sshtest.SshdConfig) (*sshtest.Sshd, error) {
	s, err := sshtest.StartSshd(cfg)
	if err == nil {
		r.onClose(s.Close)
	}
	return s, err
}

// path makes an alias with lines of its own. Nothing is said of ciphers: every
// ssh, sshd and ssh-stay takes what it takes by default. A far target listens to
// its own loopback alone, so what goes straight there goes to the jump host.
func (l *lab) path(name, alias string, lines ...string) (path, error) {
	p := path{name: name, alias: alias, client: l.client, in: l.in, bare: name == plain || name == fdpass}
	to := l.target
	if name == plain && l.in != nil {
		to = l.jump
	}
	return p, l.client.AddHost(alias, to, lines...)
}

func (l *lab) addPaths(bin string) error {
	stay := l.client.ProxyLine(bin)
	l.paths = make(map[string]path)
	var errs []error
	for _, p := range []struct {
		name, alias string
		lines       []string
	}{
		{plain, "plain", nil},
		{netcat, "nc", []string{"ProxyCommand nc %h %p"}},
		{socat, "socat", []string{"ProxyCommand socat - TCP:%h:%p"}},
		{direct, "stay", []string{stay}},
		{fdpass, "fdpass", []string{stay, "ProxyUseFdpass yes"}},
		{sshJ, "sshj", []string{"ProxyJump jump"}},
		{stayJ, "stayj", []string{stay, "ProxyJump jump"}},
		{stayR, "stayr", []string{l.client.ProxyLine(bin, "-o StayResume=jump"), "ProxyJump jump"}},
		{stayT, "stayt", []string{l.client.ProxyLine(bin, "-o StayResume=target")}},
	} {
		made, err := l.path(p.name, p.alias, p.lines...)
		errs = append(errs, err)
		switch p.name {
		case stayR:
			made.relays = l.jump.Relays
		case stayT:
			made.relays = l.target.Relays
		}
		l.paths[p.name] = made
	}
	// -M 0: no second connection that looks after the first. By default an ssh
	// that ends within 30 s has failed.
	again := l.paths[plain]
	again.name, again.wrapper, again.env, again.startOnly = auto, []string{auto, "-M", "0"}, []string{"AUTOSSH_GATETIME=0"}, true
	l.paths[auto] = again
	return errors.Join(errs...)
}

// named are some of the paths, in that order.
func (l *lab) named(names ...string) []path {
	var paths []path
	for _, name := range names {
		paths = append(paths, l.paths[name])
	}
	return paths
}
