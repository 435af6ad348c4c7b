package sshtest

import (
	"time"
)

// Sshd starts a server; its log is shown if the test fails.
func (r Rig) Sshd(cfg SshdConfig) *Sshd {
	r.Helper()
	s, err := StartSshd(cfg)
	r.must(err)
	r.end(s)
	r.Cleanup(func() {
		if r.Failed() {
			r.Logf("log of sshd on port %d:\n%s", s.Port, s.Log())
		}
	})
	return s
}

// Client makes a test user.
func (r Rig) Client() *Client {
	r.Helper()
	r.Peer("ssh")
	c, err := NewClient()
	r.must(err)
	r.end(c)
	return c
}

// Host makes a server and gives c an alias for it, as AddHost does.
func (r Rig) Host(c *Client, alias string, lines ...string) *Sshd {
	r.Helper()
	s := r.Sshd(SshdConfig{})
	r.must(c.AddHost(alias, s, lines...))
	return s
}

// Firewall makes a firewall that forgets after idle.
func (r Rig) Firewall(idle time.Duration) *Firewall {
	r.Helper()
	f, err := NewFirewall(idle)
	r.must(err)
	r.end(f)
	return f
}

// Link makes a link that is down.
func (r Rig) Link() *Link {
	r.Helper()
	l, err := NewLink()
	r.must(err)
	r.end(l)
	return l
}

// Delay makes a line of that length.
func (r Rig) Delay(oneWay time.Duration) *Delay {
	r.Helper()
	d, err := NewDelay(oneWay)
	r.must(err)
	r.end(d)
	return d
}

// WaitGone waits up to d for a process to end.
func (r Rig) WaitGone(pid int, d time.Duration) {
	r.Helper()
	r.must(WaitGone(pid, d))
}

// WaitNone waits up to d until no process runs the file exe.
func (r Rig) WaitNone(exe string, d time.Duration) {
	r.Helper()
	if !poll(d, func() bool { return len(ProcessesOf(exe)) == 0 }) {
		r.Fatalf("processes %v still run %s after %v", ProcessesOf(exe), exe, d)
	}
}
