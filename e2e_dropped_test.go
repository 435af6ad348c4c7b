//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

const (
	crowdedLine = "Exceeded MaxStartups\r\n"
	penaltyLine = "Not allowed at this time\r\n"
)

// moody is a host that plays a part at each connection, the last one again and
// again.
func moody(t *testing.T, parts ...func(*net.TCPConn)) (args []string, conns *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	conns = new(atomic.Int32)
	go func() { // ends when the test closes the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(conns.Add(1))
			go func() { // ends with its part
				defer c.Close()
				c.SetDeadline(time.Now().Add(45 * time.Second))
				parts[min(n, len(parts))-1](c.(*net.TCPConn))
			}()
		}
	}()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	return []string{host, port}, conns
}

// drops says something and closes.
func drops(said string) func(*net.TCPConn) {
	return func(c *net.TCPConn) { io.WriteString(c, said) }
}

// resets lets us connect before it resets the connection.
func resets(c *net.TCPConn) {
	c.Read(make([]byte, 4))
	c.SetLinger(0)
}

// TestTargetDrops: an sshd that has as many logins under way as it may is dialed
// again, and the real ssh does not know. Jump hosts are not logged in to again.
func TestTargetDrops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	full := w.Sshd(sshtest.SshdConfig{Lines: []string{"MaxStartups 1:100:1"}})
	for alias, jump := range map[string]string{"full": "none", "full-behind": "j1,j2"} {
		if err := w.client.AddHost(alias, full, w.client.ProxyLine(w.bin), "ProxyJump "+jump); err != nil {
			t.Fatal(err)
		}
	}
	j1, j2 := w.j1, w.j2
	for _, alias := range []string{"full", "full-behind"} {
		t.Run(alias, func(t *testing.T) {
			w := &world{Rig: sshtest.For(t), bin: w.bin, client: w.client}
			other, err := net.Dial("tcp", full.HostPort())
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			io.ReadFull(other, make([]byte, 4)) // its place is taken
			before, loggedIn := strings.Count(full.Log(), "past MaxStartups"), logins(j1, j2)
			left := make(chan struct{})
			go func() { // ends with the first drop, or the test
				defer close(left)
				for end := time.Now().Add(10 * time.Second); strings.Count(full.Log(), "past MaxStartups") == before && time.Now().Before(end); {
					<-time.After(10 * time.Millisecond)
				}
				other.Close()
			}()
			if got := w.ssh(nil, alias, "echo $((6*7))"); got != "42\n" {
				t.Errorf("got %q, want 42", got)
			}
			<-left
			if strings.Count(full.Log(), "past MaxStartups") == before {
				t.Error("sshd dropped nothing: nothing is tested")
			}
			if after := logins(j1, j2); after[0] > loggedIn[0]+1 || after[1] > loggedIn[1]+1 {
				t.Errorf("logins at the jump hosts: %v before and %v after, want one more at most", loggedIn, after)
			}
		})
	}
}

// TestDroppedBytes: the host that stays hears all that ssh has said, once, and ssh
// hears that host alone.
func TestDroppedBytes(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	w := newWorld(t)
	const version = "SSH-2.0-first\r\n"
	said := version + strings.Repeat("k", 2000)
	want := hashOf(io.MultiReader(strings.NewReader(said), noise(size)))
	for name, drop := range map[string]func(*net.TCPConn){
		"silent": drops(""), "reset": resets, "line": drops(crowdedLine), "penalty": drops(penaltyLine),
		"half a line": drops(crowdedLine[:10]),
		"late": func(c *net.TCPConn) { // it has read all that was said so far
			io.ReadFull(c, make([]byte, len(version)))
			io.WriteString(c, penaltyLine)
		},
	} {
		for _, jump := range []string{"none", "j1"} {
			t.Run(name+" -J "+jump, func(t *testing.T) {
				t.Parallel()
				heard := make(chan string, 1)
				host, conns := moody(t, drop, drop, func(c *net.TCPConn) {
					first := make([]byte, len(said))
					io.ReadFull(c, first)
					io.WriteString(c, version)
					io.Copy(c, noise(size))
					all, _ := io.ReadAll(c)
					heard <- hashOf(bytes.NewReader(append(first, all...)))
				})
				cmd := w.client.Run(t.Context(), w.bin, append([]string{"proxy", "-F", w.client.Config, "-J", jump}, host...)...)
				in, _ := cmd.StdinPipe()
				out, _ := cmd.StdoutPipe()
				var errs bytes.Buffer
				cmd.Stderr = &errs
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				io.WriteString(in, said[:len(version)])
				w.Eventually(20*time.Second, "connection", func() bool { return conns.Load() > 0 })
				io.WriteString(in, said[len(version):]) // in whatever state
				got := make([]byte, len(version))
				if _, err := io.ReadFull(out, got); err != nil || string(got) != version {
					t.Fatalf("got %q, %v, %q", got, err, errs.String())
				}
				io.Copy(in, noise(size))
				in.Close()
				if got := hashOf(out); got != hashOf(noise(size)) {
					t.Error("what came down is not what was sent")
				}
				if err := cmd.Wait(); err != nil || errs.Len() > 0 || conns.Load() != 3 {
					t.Errorf("got %v, %q after %d connections, want a clean end after 3", err, errs.String(), conns.Load())
				}
				if got := <-heard; got != want {
					t.Error("what the host heard is not what was said")
				}
			})
		}
	}
}

// TestDroppedForGood: when the tries or the time are over, ssh gets the host's
// words as they came, and one line says why.
func TestDroppedForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tc := range []struct {
		name, said string
		option     string
		conns      [2]int32
		time       [2]time.Duration
		told       string
	}{
		{"silent", "", "StayPatience=60", [2]int32{3, 3}, [2]time.Duration{time.Second, 6 * time.Second}, "before its banner (MaxStartups or"},
		{"five", crowdedLine, "StayPatience=60", [2]int32{5, 5}, [2]time.Duration{16 * time.Second, 32 * time.Second}, "before its banner: Exceeded MaxStartups\n"},
		{"ConnectTimeout", penaltyLine, "ConnectTimeout=2", [2]int32{2, 3}, [2]time.Duration{2 * time.Second, 4 * time.Second}, "before its banner: Not allowed at this time (gave up after 2.2s)\n"},
	} {
		for _, jump := range []string{"none", "j1"} {
			t.Run(tc.name+" -J "+jump, func(t *testing.T) {
				t.Parallel()
				w := &world{Rig: sshtest.For(t), bin: w.bin, client: w.client}
				host, conns := moody(t, drops(tc.said))
				in, keep, _ := os.Pipe()
				defer keep.Close()
				io.WriteString(keep, "SSH-2.0-first\r\n")
				start := time.Now()
				stdout, stderr, status := w.proxy(in, append([]string{"-J", jump, "-o", tc.option}, host...)...)
				if stdout != tc.said || status != exitNoReach {
					t.Errorf("got %q on stdout and exit %d, want %q and %d", stdout, status, tc.said, exitNoReach)
				}
				if at := fmt.Sprintf("ssh-stay: connect to host %s port %s: refused by the server ", host[0], host[1]); !strings.Contains(stderr, at+tc.told) {
					t.Errorf("got %q on stderr, want %q", stderr, at+tc.told)
				}
				if n := strings.Count(stderr, "ssh-stay: "); n-strings.Count(stderr, ": still connecting: ") != 1 {
					t.Errorf("got %q on stderr, want one line", stderr)
				}
				if n, took := conns.Load(), time.Since(start); n < tc.conns[0] || n > tc.conns[1] || took < tc.time[0] || took > tc.time[1] {
					t.Errorf("%d connections in %v, want %v in %v", n, took, tc.conns, tc.time)
				}
			})
		}
	}
}

// TestNotDropped: what is no refusal of sshd's, or is said to others than ssh, goes
// through as ever, over one connection.
func TestNotDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	echoes := func(c *net.TCPConn) { io.Copy(c, c) }
	inPieces := func(to string, pieces ...string) func(*net.TCPConn) { // and with to read, no reset
		return func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, len(to)))
			for _, p := range pieces {
				io.WriteString(c, p)
				<-time.After(20 * time.Millisecond)
			}
		}
	}
	for name, tc := range map[string]struct {
		host func(*net.TCPConn)
		says string
		open bool // stdin stays so
		want string
	}{
		"client first":         {echoes, "GET / HTTP/1.0\r\n\r\n", false, "GET / HTTP/1.0\r\n\r\n"},
		"client first, closes": {func(c *net.TCPConn) { io.ReadFull(c, make([]byte, 18)) }, "GET / HTTP/1.0\r\n\r\n", true, ""},
		"half-closed":          {func(c *net.TCPConn) { io.ReadAll(c) }, "SSH-2.0-first\r\n", false, ""},
		"too much":             {func(c *net.TCPConn) { io.ReadFull(c, make([]byte, 4+20<<10)) }, "SSH-" + strings.Repeat("x", 20<<10), true, ""},
		"other line":           {inPieces("SSH-2.0-first\r\n", "Exceeded", " all\n"), "SSH-2.0-first\r\n", true, "Exceeded all\n"},
		"line, then more":      {inPieces("SSH-2.0-first\r\n", "Exceeded Max", "Startups\r\n", "SSH-2.0-x\r\n"), "SSH-2.0-first\r\n", true, "Exceeded MaxStartups\r\nSSH-2.0-x\r\n"},
		"line to others":       {inPieces("hello", "Not allowed"), "hello", true, "Not allowed"},
		"late": {func(c *net.TCPConn) { // long after StayPatience
			first := make([]byte, len("SSH-2.0-first\r\n"))
			io.ReadFull(c, first)
			<-time.After(2 * time.Second)
			c.Write(first)
		}, "SSH-2.0-first\r\n", true, "SSH-2.0-first\r\n"},
	} {
		for _, jump := range []string{"none", "j1"} {
			t.Run(name+" -J "+jump, func(t *testing.T) {
				t.Parallel()
				w := &world{Rig: sshtest.For(t), bin: w.bin, client: w.client}
				host, conns := moody(t, tc.host)
				in, keep, _ := os.Pipe()
				defer keep.Close()
				io.WriteString(keep, tc.says)
				if !tc.open {
					keep.Close()
				}
				stdout, stderr, status := w.proxy(in, append([]string{"-J", jump, "-o", "StayPatience=1"}, host...)...)
				if stdout != tc.want || stderr != "" || status != 0 || conns.Load() != 1 {
					t.Errorf("got %q, %q, exit %d, %d connections; want %q, silence, 0, one", stdout, stderr, status, conns.Load(), tc.want)
				}
			})
		}
	}
}

// TestSilentTarget: one that says nothing is told all, and ends nothing.
func TestSilentTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, jump := range []string{"none", "j1"} {
		t.Run(jump, func(t *testing.T) {
			t.Parallel()
			heard, over := make(chan string), make(chan error, 1)
			host, _ := moody(t, func(c *net.TCPConn) {
				for b := make([]byte, 100); ; {
					n, err := c.Read(b)
					if err != nil {
						over <- err
						return
					}
					heard <- string(b[:n])
				}
			})
			cmd := w.client.Run(t.Context(), w.bin, append([]string{"proxy", "-F", w.client.Config, "-J", jump, "-o", "StayPatience=1"}, host...)...)
			in, _ := cmd.StdinPipe()
			out, _ := cmd.StdoutPipe()
			var errs bytes.Buffer
			cmd.Stderr = &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"SSH-2.0-first\r\n", "second", "third"} {
				io.WriteString(in, word)
				if got := <-heard; got != word {
					t.Errorf("got %q, want %q", got, word)
				}
			}
			select {
			case err := <-over:
				t.Errorf("got %v, want patience", err)
			case <-time.After(waitNotice + time.Second):
			}
			out.Close()
			in.Close()
			w.WaitGone(cmd.Process.Pid, time.Second)
			<-over
			if cmd.Wait(); errs.Len() > 0 {
				t.Errorf("got %q, want silence", errs.String())
			}
		})
	}
}

// TestEndInPause: who goes away, or is ended, between two tries is gone at once.
func TestEndInPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, jump := range []string{"none", "j1"} {
		for _, how := range []string{"gone", "SIGTERM"} {
			t.Run(how+" -J "+jump, func(t *testing.T) {
				t.Parallel()
				w := &world{Rig: sshtest.For(t), bin: w.bin, client: w.client}
				host, conns := moody(t, drops(penaltyLine))
				cmd := w.client.Run(t.Context(), w.bin, append([]string{"proxy", "-F", w.client.Config, "-J", jump}, host...)...)
				in, _ := cmd.StdinPipe()
				out, _ := cmd.StdoutPipe()
				var errs bytes.Buffer
				cmd.Stderr = &errs
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				io.WriteString(in, "SSH-2.0-first\r\n")
				w.Eventually(10*time.Second, "third connection, before the pause of 5 s", func() bool { return conns.Load() == 3 })
				<-time.After(100 * time.Millisecond)
				if how == "gone" {
					in.Close()
					out.Close()
				} else {
					cmd.Process.Signal(syscall.SIGTERM)
				}
				w.WaitGone(cmd.Process.Pid, time.Second)
				if cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailed || errs.Len() > 0 || conns.Load() != 3 {
					t.Errorf("got %v, %q after %d connections, want exit status %d, silence, 3", cmd.ProcessState, errs.String(), conns.Load(), exitFailed)
				}
				in.Close()
			})
		}
	}
}
