//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// TestResumeClients: what runs ssh runs over a stream too, and over one that is
// cut while it does.
func TestResumeClients(t *testing.T) {
	together(t, map[string]func(t *testing.T){
		"files":      testCopies,
		"mux":        testMuxed,
		"forwarding": testForwarded,
	})
}

// testCopies: scp, sftp and rsync, both ways.
func testCopies(t *testing.T) {
	const size = 24 << 20
	r := newResumed(t, "jump")
	r.Peer("rsync")
	from := filepath.Join(r.client.Dir, "from")
	f, err := os.Create(from)
	r.fail(err)
	io.Copy(f, noise(size))
	f.Close()
	want := hashOf(noise(size))
	for i, line := range []string{
		"scp -q -F $config $from it:$to",
		"scp -q -F $config it:$from $to",
		"echo put $from $to | sftp -q -b - -F $config it",
		"echo get $from $to | sftp -q -b - -F $config it",
		`rsync -e "ssh -F $config" $from it:$to`,
		`rsync -e "ssh -F $config" it:$from $to`,
	} {
		to := fmt.Sprintf("%s%d", from, i)
		before, again := r.faults.Stats(), r.attached()
		ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
		defer cancel()
		cmd := r.client.Run(ctx, "sh", "-c", line)
		cmd.Env = append(cmd.Env, "config="+r.client.Config, "from="+from, "to="+to)
		stop, cutting := make(chan struct{}), make(chan struct{})
		go func() { // ends with the copy
			defer close(cutting)
			r.cutOnce(before, stop)
		}()
		_, stderr, status := r.finish(cmd, nil)
		close(stop)
		<-cutting
		if status != 0 || stderr != "" {
			t.Errorf("%s: status %d, stderr %q", line, status, stderr)
		}
		got, err := os.Open(to)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if hash := hashOf(got); hash != want {
			t.Errorf("%s: got %s, want %s", line, hash, want)
		}
		got.Close()
		if r.faults.Stats().Reset == before.Reset || r.attached() == again {
			t.Errorf("%s: %+v, attached %d times: it was not cut", line, r.faults.Stats(), r.attached()-again)
		}
	}
}

// cutOnce cuts the way when 8 MiB more than before have come by.
func (r *resumed) cutOnce(before sshtest.FaultStats, stop <-chan struct{}) {
	for {
		now := r.faults.Stats()
		if now.ToServer+now.ToClient > before.ToServer+before.ToClient+8<<20 {
			r.faults.Reset()
			return
		}
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// testMuxed: a ControlPersist master outlives cuts, and its ssh.
func testMuxed(t *testing.T) {
	r := newResumed(t, "target")
	mux := []string{"-o", "ControlMaster=auto", "-o", "ControlPersist=yes", "-o", "ControlPath=" + filepath.Join(r.client.Dir, "mux")}
	// The master keeps what it inherits as standard error; it is told to keep quiet.
	for i, want := range []string{"first\n", "second\n", "third\n"} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		cmd := r.client.Command(ctx, append(mux, "it", "echo "+strings.TrimSpace(want))...)
		cmd.WaitDelay = 100 * time.Millisecond
		if got, _ := cmd.Output(); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
		r.faults.Reset()
		r.Eventually(10*time.Second, "new link", func() bool { return r.attached() == i+1 })
	}
	if got := r.inner(); got != 1 {
		t.Errorf("ssh logged in %d times, want once", got)
	}
	r.run(nil, append(mux, "-O", "exit", "it")...)
	r.Eventually(3*time.Second, "end of the proxy", func() bool { return len(r.ours()) == 0 })
}

// testForwarded: -W, -L and -D, before a cut and after it.
func testForwarded(t *testing.T) {
	r := newResumed(t, "jump")
	late := lateServer(t)
	if stdout, stderr, _ := r.run(strings.NewReader("through"), "-W", late, "it"); stdout != "through" || stderr != "" {
		t.Errorf("-W: got %q, %q, want through and silence", stdout, stderr)
	}
	local, port := filepath.Join(r.client.Dir, "l"), freePort(t)
	cmd := r.client.Command(context.Background(), "-o", "ExitOnForwardFailure=yes", "-L", local+":"+late, "-D", "127.0.0.1:"+port, "it", "cat")
	s := r.start("it", cmd).hello()
	echo := newEcho(t)
	held, err := net.Dial("tcp", "127.0.0.1:"+port) // over a cut
	r.fail(err)
	defer held.Close()
	socksTo(t, held, echo.addr)
	for range 3 {
		if got := ask(t, "unix", local, ""); got != "question" {
			t.Errorf("-L: got %q, want question", got)
		}
		if got := ask(t, "tcp", "127.0.0.1:"+port, late); got != "question" {
			t.Errorf("-D: got %q, want question", got)
		}
		held.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(held, "echo")
		got := make([]byte, 4)
		if _, err := io.ReadFull(held, got); err != nil || string(got) != "echo" {
			t.Errorf("-D, held: got %q, %v, want echo", got, err)
		}
		r.faults.Reset()
	}
	s.answers(10 * time.Second)
	held.Close()
	s.end()
	if r.attached() < 3 || r.inner() != 2 {
		t.Errorf("attached %d times, %d logins; want 3 and 2", r.attached(), r.inner())
	}
}

// socksTo asks a SOCKS5 server for a connection with addr.
func socksTo(t *testing.T, c net.Conn, addr string) {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte{5, 1, 0})
	c.Write(append([]byte{5, 1, 0, 1}, append(a.IP.To4(), byte(a.Port>>8), byte(a.Port))...))
	answer := make([]byte, 2+10)
	if _, err := io.ReadFull(c, answer); err != nil || answer[3] != 0 {
		t.Fatalf("SOCKS: %v, %v", answer, err)
	}
}
