// Package vscode plays VS Code Remote-SSH against a real ssh and a real sshd: the
// command lines of the extension, what it types into them, its timers and how it
// reads ssh's last words, and the reconnection loop of VS Code's core. What a user
// would have seen comes out as a Score: how often ssh was started, how often the
// user was asked, how often "Reload Window" was the end.
//
// The extension is closed source: what is known of it comes from its logs, as
// people published them with microsoft/vscode-remote-release issues; #N below is
// one of those. The core is open. Where neither tells, the driver takes what is
// better for stock ssh, the control of every comparison.
//
// It is for tests only, and knows nothing of ssh-stay: it is given a program that
// is called as ssh is.
package vscode

import "time"

// Clocks are the times that decide what VS Code does. The zero value is of no use:
// see RealClocks.
type Clocks struct {
	ConnectTimeout time.Duration   // given to ssh as -o ConnectTimeout, in whole seconds (remote.SSH.connectTimeout)
	Connect        time.Duration   // the extension's own limit for a first sign of the far end; ConnectTimeout and 2 s
	ExecPing       time.Duration   // for an answer of a running exec server, else it is given up for a new ssh
	DeadMan        time.Duration   // wall time without a word of the window after which a local server ends, and its ssh
	OldTerminal    time.Duration   // from a new ssh to the end of the old one, where no local server sees to it
	Socket         time.Duration   // silence of a connection after which the core replaces it (1.120 and later)
	KeepAlive      time.Duration   // between two keepalives of the core
	Attempt        time.Duration   // for one attempt to reconnect
	Waits          []time.Duration // before each attempt; the last goes on
	Typing         time.Duration   // between two messages of a user who works
}

// RealClocks are VS Code's own.
func RealClocks() Clocks {
	return Clocks{
		ConnectTimeout: 15 * time.Second,
		Connect:        17 * time.Second,
		ExecPing:       3 * time.Second,
		DeadMan:        5 * time.Second,
		OldTerminal:    5 * time.Second,
		Socket:         20 * time.Second,
		KeepAlive:      5 * time.Second,
		Attempt:        30 * time.Second,
		// remoteAgentConnection.ts.
		Waits:  seconds(0, 5, 5, 10, 10, 10, 10, 10, 30),
		Typing: time.Second,
	}
}

// QuickClocks are a quarter of VS Code's, for tests that must not last; more where a
// busy machine needs it, to log in above all.
func QuickClocks() Clocks {
	return Clocks{
		ConnectTimeout: 6 * time.Second,
		Connect:        7 * time.Second,
		ExecPing:       1500 * time.Millisecond,
		DeadMan:        2 * time.Second,
		OldTerminal:    1500 * time.Millisecond,
		Socket:         5 * time.Second,
		KeepAlive:      1250 * time.Millisecond,
		Attempt:        12 * time.Second,
		Waits:          seconds(0, 1, 1, 2, 2, 2, 2, 2, 6),
		Typing:         250 * time.Millisecond,
	}
}

func seconds(n ...time.Duration) []time.Duration {
	for i := range n {
		n[i] *= time.Second
	}
	return n
}

// wait is the pause before an attempt to reconnect; the first is attempt 0.
func (c *Clocks) wait(attempt int) time.Duration {
	return c.Waits[min(attempt, len(c.Waits)-1)]
}
