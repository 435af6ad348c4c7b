// Package sshtest is the peers, the network and the faults that tests and
// benches of ssh-stay need: a real sshd, a real ssh with a home of its own, a
// TCP forwarder that breaks on command, network namespaces with a stateful
// firewall or a long line between them, and checks that nothing is left behind.
//
// It is for tests and benches only, and knows nothing of ssh-stay's packages:
// it builds and runs the binary.
//
// Every primitive returns an error and has a Close, so that a bench can use it
// from main. A test takes the same things from For(t), where an error is fatal
// and Close is a Cleanup. A peer that is not installed is an error that names
// its Debian package, and so a failed test, never a skipped one.
package sshtest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Rig is a test that owns what it asks for: its methods fail the test at once
// on any error, and what they open is closed when the test ends.
type Rig struct{ testing.TB }

// For returns the rig of one test or benchmark.
func For(tb testing.TB) Rig { return Rig{tb} }

// must fails the test unless err is nil.
func (r Rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// end closes what the test opened; an error of Close is an error of the test.
func (r Rig) end(closer interface{ Close() error }) {
	r.Cleanup(func() {
		if err := closer.Close(); err != nil {
			r.Error(err)
		}
	})
}

// Build returns the path of the ssh-stay binary, as the function Build does.
func (r Rig) Build() string {
	r.Helper()
	bin, err := Build()
	r.must(err)
	return bin
}

// Peer returns the path of an installed program, as the function Peer does.
func (r Rig) Peer(name string) string {
	r.Helper()
	path, err := Peer(name)
	r.must(err)
	return path
}

// Key makes a key pair in a folder that goes with the test.
func (r Rig) Key(kind string) *Key {
	r.Helper()
	k, err := NewKey(r.TempDir()+"/id", kind, "")
	r.must(err)
	return k
}

// Faults starts p.
func (r Rig) Faults(p *Faults) *Faults {
	r.Helper()
	r.must(p.Start())
	r.end(p)
	return p
}

// Peer finds a program that the tests talk to. The system folders are searched
// too, since the PATH of an ordinary user leaves them out.
func Peer(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: apt-get install %s", name, debianPackage(name))
}

func debianPackage(name string) string {
	switch name {
	case "sshd":
		return "openssh-server"
	case "ssh", "scp", "sftp", "ssh-keygen", "ssh-agent", "ssh-add":
		return "openssh-client"
	case "nc":
		return "netcat-openbsd"
	case "dropbear", "dropbearconvert", "dropbearkey":
		return "dropbear-bin"
	case "useradd", "userdel", "chpasswd":
		return "passwd"
	case "nft":
		return "nftables"
	case "ip":
		return "iproute2"
	case "nsenter":
		return "util-linux"
	}
	return name
}

// poll calls done until it is true, and says whether that came within d.
func poll(d time.Duration, done func() bool) bool {
	deadline := time.Now().Add(d)
	for !done() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

// appendFile appends text to the file at path, which it creates 0600.
func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Eventually fails the test unless ok becomes true within d.
func (r Rig) Eventually(d time.Duration, what string, ok func() bool) {
	r.Helper()
	if !poll(d, ok) {
		r.Fatalf("no %s within %v", what, d)
	}
}
