//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// TestKilled: however ssh ends, nothing of us is left 2 s later.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	silent := silentServer(t)
	_, port, _ := net.SplitHostPort(silent)
	w.add("silent", w.client.ProxyLine(w.bin), "HostName 127.0.0.1", "Port "+port)
	w.add("silenthop", w.client.ProxyLine(w.bin), "ProxyJump 127.0.0.1:"+port)
	for _, alias := range []string{"direct", "one", "two", "silent", "silenthop"} {
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP} {
			t.Run(fmt.Sprintf("%s/%v", alias, sig), func(t *testing.T) {
				cmd := w.client.Command(t.Context(), alias, "echo up; cat")
				keep, _ := cmd.StdinPipe()
				defer keep.Close()
				out, _ := cmd.StdoutPipe()
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(alias, "silent") {
					sshtest.For(t).Eventually(5*time.Second, "ssh-stay runs", func() bool { return connected(w.bin) })
				} else if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
					t.Fatal(err)
				}
				cmd.Process.Signal(sig)
				w.WaitNone(w.bin, 2*time.Second)
				cmd.Wait()
			})
		}
	}
}

// connected says whether a process of ours has a socket open.
func connected(bin string) bool {
	for _, pid := range sshtest.ProcessesOf(bin) {
		fds, _ := sshtest.OpenFDs(pid)
		for _, fd := range fds {
			if strings.Contains(fd, "socket:") {
				return true
			}
		}
	}
	return false
}

// silentServer accepts and never says a word.
func silentServer(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends when the test closes the listener
		var held []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				for _, c := range held {
					c.Close()
				}
				return
			}
			held = append(held, c)
		}
	}()
	return l.Addr().String()
}

// TestIgnoredSignals: what nohup, or a shell without job control, has ssh ignore
// does not end its proxy.
func TestIgnoredSignals(t *testing.T) {
	w := newWorld(t)
	for sig, name := range map[syscall.Signal]string{syscall.SIGHUP: "HUP", syscall.SIGINT: "INT"} {
		cmd := w.client.Run(t.Context(), "sh", "-c", "trap '' "+name+"; exec ssh -F "+w.client.Config+" one 'echo up; cat'")
		in, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		proxies := sshtest.Children(cmd.Process.Pid)
		if len(proxies) != 1 {
			t.Fatalf("got proxies %v, want one", proxies)
		}
		for _, pid := range append(proxies, cmd.Process.Pid) {
			if err := syscall.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(hangupGrace + time.Second)
		io.WriteString(in, "still there")
		in.Close()
		got, _ := io.ReadAll(out)
		if err := cmd.Wait(); err != nil || string(got) != "still there" {
			t.Errorf("%v: got %q, %v, want a session that goes on", sig, got, err)
		}
	}
}

// TestSignals: what each signal alone does to us, in and before a session.
func TestSignals(t *testing.T) {
	w := newWorld(t)
	_, silentPort, _ := net.SplitHostPort(silentServer(t))
	for _, tc := range []struct {
		sig   syscall.Signal
		least time.Duration // it must not be gone before
		most  time.Duration
	}{
		{syscall.SIGTERM, 0, time.Second},
		{syscall.SIGINT, 0, time.Second},
		{syscall.SIGHUP, time.Second, 5 * time.Second}, // EOF may still come
	} {
		for _, args := range [][]string{
			append([]string{"-J", "none"}, w.targetArgs()...),
			append([]string{"-J", "j1"}, w.targetArgs()...),
			{"-J", "127.0.0.1:" + silentPort, "127.0.0.1", "22"},
		} {
			t.Run(fmt.Sprintf("%v%v", tc.sig, args), func(t *testing.T) {
				cmd := w.client.Run(t.Context(), w.bin, append([]string{"proxy", "-F", w.client.Config}, args...)...)
				keep, _ := cmd.StdinPipe()
				defer keep.Close()
				out, _ := cmd.StdoutPipe()
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if args[len(args)-1] != "22" {
					if _, err := io.ReadFull(out, make([]byte, 4)); err != nil {
						t.Fatal(err)
					}
				} else {
					sshtest.For(t).Eventually(5*time.Second, "a connection", func() bool { return connected(w.bin) })
				}
				start := time.Now()
				cmd.Process.Signal(tc.sig)
				w.WaitGone(cmd.Process.Pid, tc.most)
				if took := time.Since(start); took < tc.least {
					t.Errorf("gone after %v, want at least %v", took, tc.least)
				}
				if cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailed {
					t.Errorf("got %v, want exit status %d", cmd.ProcessState, exitFailed)
				}
			})
		}
	}
}

// TestMux: a ControlPersist master keeps its proxy after the first ssh has
// ended, serves others, and takes the proxy with it.
func TestMux(t *testing.T) {
	w := newWorld(t)
	for _, alias := range []string{"direct", "two", "fdpass"} {
		t.Run(alias, func(t *testing.T) {
			socket := filepath.Join(w.client.Dir, "mux-"+alias)
			mux := []string{"-o", "ControlMaster=auto", "-o", "ControlPersist=yes", "-o", "ControlPath=" + socket}
			run := func(args ...string) string {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				cmd := w.client.Command(ctx, append(mux, args...)...)
				cmd.WaitDelay = 100 * time.Millisecond // the master holds our pipes
				out, _ := cmd.Output()
				return string(out)
			}
			if got := run(alias, "echo first"); got != "first\n" {
				t.Fatalf("got %q, want first", got)
			}
			before := logins(w.target)[0]
			if got := run(alias, "echo second"); got != "second\n" {
				t.Errorf("got %q, want second", got)
			}
			if got := logins(w.target)[0] - before; got != 0 {
				t.Errorf("the second session logged in %d times, want none: it did not share", got)
			}
			if running := len(sshtest.ProcessesOf(w.bin)) > 0; running != (alias != "fdpass") {
				t.Errorf("proxy running: %v", running)
			}
			run("-O", "exit", alias)
			w.WaitNone(w.bin, 2*time.Second)
		})
	}
}

// TestForwardings: -W, -L, -D, -N and -f work through us.
func TestForwardings(t *testing.T) {
	w := newWorld(t)
	echo := lateServer(t)
	for _, alias := range []string{"direct", "two"} {
		t.Run(alias+"/-W", func(t *testing.T) {
			if got := w.ssh(strings.NewReader("through"), "-W", echo, alias); got != "through" {
				t.Errorf("got %q, want through", got)
			}
		})
		t.Run(alias+"/-N-L-D", func(t *testing.T) {
			local := filepath.Join(w.client.Dir, "l-"+alias)
			port := freePort(t)
			cmd := w.client.Command(t.Context(), "-N", "-o", "ExitOnForwardFailure=yes", "-L", local+":"+echo, "-D", "127.0.0.1:"+port, alias)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { cmd.Process.Kill(); cmd.Wait() }()
			sshtest.For(t).Eventually(10*time.Second, "the forwarding", func() bool {
				c, err := net.Dial("unix", local) // which is there before it listens
				if err == nil {
					c.Close()
				}
				return err == nil
			})
			if got := ask(t, "unix", local, ""); got != "question" {
				t.Errorf("-L: got %q, want question", got)
			}
			if got := ask(t, "tcp", "127.0.0.1:"+port, echo); got != "question" {
				t.Errorf("-D: got %q, want question", got)
			}
		})
		t.Run(alias+"/-f", func(t *testing.T) {
			socket := filepath.Join(w.client.Dir, "f-"+alias)
			cmd := w.client.Command(t.Context(), "-f", "-N", "-M", "-S", socket, alias)
			if err := cmd.Run(); err != nil {
				t.Fatalf("ssh -f: %v", err)
			}
			if len(sshtest.ProcessesOf(w.bin)) == 0 {
				t.Error("no proxy runs behind ssh -f")
			}
			w.client.Command(t.Context(), "-S", socket, "-O", "exit", alias).Run()
			w.WaitNone(w.bin, 2*time.Second)
		})
	}
}

// ask sends a question and returns the answer; through SOCKS5 to target if set.
func ask(t *testing.T, network, addr, target string) string {
	t.Helper()
	c, err := net.DialTimeout(network, addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	if target != "" {
		host, port, _ := net.SplitHostPort(target)
		var p uint16
		fmt.Sscan(port, &p)
		c.Write([]byte{5, 1, 0})
		c.Write(append([]byte{5, 1, 0, 1}, append(net.ParseIP(host).To4(), byte(p>>8), byte(p))...))
		if _, err := io.ReadFull(r, make([]byte, 2+10)); err != nil {
			t.Fatalf("SOCKS: %v", err)
		}
	}
	io.WriteString(c, "question")
	c.(interface{ CloseWrite() error }).CloseWrite()
	got, _ := io.ReadAll(r)
	return string(got)
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestStalledReader: a reader that pauses costs no CPU.
func TestStalledReader(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends when the proxy or the listener does
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, noise(1<<40)) // ends with the connection
		}
	}()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	for _, jump := range []string{"none", "j1"} {
		cmd := w.client.Run(t.Context(), w.bin, "proxy", "-F", w.client.Config, "-J", jump, host, port)
		keep, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		// Once buffers are full nothing changes any more: then time is measured.
		sshtest.For(t).Eventually(10*time.Second, "full buffers", steady(cmd.Process.Pid))
		before := cpuTicks(cmd.Process.Pid)
		<-time.After(time.Second)
		if used := cpuTicks(cmd.Process.Pid) - before; used > 10 {
			t.Errorf("-J %s: %d of 100 clock ticks used while the reader stalls", jump, used)
		}
		cmd.Process.Kill()
		keep.Close()
		cmd.Wait()
	}
}

// steady says whether a process used no CPU for half a second.
func steady(pid int) func() bool {
	last, since := cpuTicks(pid), time.Now()
	return func() bool {
		if now := cpuTicks(pid); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 500*time.Millisecond
	}
}

// cpuTicks is user and system time, in hundredths of a second.
func cpuTicks(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(text), ") ")
	var user, system int
	fields := strings.Fields(after)
	if len(fields) > 12 {
		fmt.Sscan(fields[11], &user)
		fmt.Sscan(fields[12], &system)
	}
	return user + system
}

// TestUnreadStderr: a full stderr never holds us up.
func TestUnreadStderr(t *testing.T) {
	w := newWorld(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	write.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	filled, _ := write.Write(make([]byte, 1<<20)) // until the pipe is full
	if filled >= 1<<20 {
		t.Fatal("the pipe took everything: nothing is tested")
	}
	cmd := w.client.Run(t.Context(), w.bin, append([]string{"proxy", "-v", "-F", w.client.Config, "-J", "j1"}, w.targetArgs()...)...)
	cmd.Stderr = write
	out, _ := cmd.StdoutPipe()
	keep, _ := cmd.StdinPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 4)); err != nil {
		t.Error(err)
	}
	keep.Close()
	cmd.Process.Signal(syscall.SIGTERM)
	w.WaitGone(cmd.Process.Pid, 2*time.Second)
	cmd.Wait()
}

// TestOwnCommandEnds: the ProxyCommand of a hop is gone when we are, however
// stubborn it is.
func TestOwnCommandEnds(t *testing.T) {
	w := newWorld(t)
	w.Peer("nc")
	script := filepath.Join(w.client.Dir, "stubborn")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ntrap '' HUP TERM INT PIPE\nnc \"$@\"\nexec sleep 1000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.client.AddHost("js", w.j1, "ProxyCommand "+script+" %h %p"); err != nil {
		t.Fatal(err)
	}
	cmd := w.client.Run(t.Context(), w.bin, append([]string{"proxy", "-F", w.client.Config, "-J", "js"}, w.targetArgs()...)...)
	out, _ := cmd.StdoutPipe()
	keep, _ := cmd.StdinPipe()
	defer keep.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	children := sshtest.Descendants(cmd.Process.Pid)
	if len(children) == 0 {
		t.Fatal("no ProxyCommand runs: nothing is tested")
	}
	cmd.Process.Signal(syscall.SIGTERM)
	w.WaitGone(cmd.Process.Pid, 3*time.Second)
	w.WaitGone(children[0], time.Second)
	cmd.Wait()
	for _, pid := range children[1:] { // nc, if the script left it
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// TestOneSocket: some clients give one socket as stdin and stdout, and some
// give it non-blocking.
func TestOneSocket(t *testing.T) {
	w := newWorld(t)
	host, port, _ := net.SplitHostPort(lateServer(t))
	for _, flags := range []int{0, syscall.SOCK_NONBLOCK} {
		for _, jump := range []string{"none", "j1"} {
			pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|flags, 0)
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
			cmd := w.client.Run(t.Context(), w.bin, "proxy", "-F", w.client.Config, "-J", jump, host, port)
			cmd.Stdin, cmd.Stdout = theirs, theirs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			theirs.Close()
			go func() { // ends with the socket
				io.Copy(ours, noise(1<<20))
				syscall.Shutdown(pair[0], syscall.SHUT_WR)
			}()
			if got, want := hashOf(ours), hashOf(noise(1<<20)); got != want {
				t.Errorf("flags %#x, -J %s: got %s, want %s", flags, jump, got, want)
			}
			ours.Close()
			w.WaitGone(cmd.Process.Pid, 2*time.Second)
			cmd.Wait()
		}
	}
}

// TestLastWords: what the client wrote last arrives though it has gone and the
// peer has more to say.
func TestLastWords(t *testing.T) {
	const size = 200_000
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 1)
	go func() { // ends when the test closes the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello")
			go io.Copy(c, noise(1<<30)) // ends with the connection
			<-time.After(100 * time.Millisecond)
			all, _ := io.ReadAll(c)
			heard <- hashOf(strings.NewReader(string(all)))
			c.Close()
		}
	}()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	for _, jump := range []string{"none", "j1"} {
		cmd := w.client.Run(t.Context(), w.bin, "proxy", "-F", w.client.Config, "-J", jump, host, port)
		in, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		io.Copy(in, noise(size))
		in.Close()
		out.Close()
		if got, want := <-heard, hashOf(noise(size)); got != want {
			t.Errorf("-J %s: got %s, want %s", jump, got, want)
		}
		cmd.Wait()
	}
}

// TestOwnNames: our own ProxyCommand is known by a link's name too, and one that
// is not known ends at the second process.
func TestOwnNames(t *testing.T) {
	w := newWorld(t)
	link, script := filepath.Join(w.client.Dir, "tunnel"), filepath.Join(w.client.Dir, "script")
	if err := os.Symlink(w.bin, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec "+w.bin+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.add("linked", w.client.ProxyLine(link), "ProxyJump j1")
	if got := w.ssh(nil, "linked", "echo through"); got != "through\n" {
		t.Errorf("got %q, want through", got)
	}
	w.add("hidden", w.client.ProxyLine(script))
	_, stderr, _ := w.proxy(nil, append([]string{"--alias", "hidden"}, w.targetArgs()...)...)
	if !strings.Contains(stderr, "runs ssh-stay for hidden again") {
		t.Errorf("got %q, want the second process to refuse", stderr)
	}
}
