//go:build unix

package main

import (
	"bufio"
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ssh-stay/internal/vscode/remote"
)

// TestStandin runs the program as a driver does: it serves through its starter's hangup, and ends
// with the process that it was told of.
func TestStandin(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "standin")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	parent := exec.Command("cat") // ends when its stdin does
	hold, err := parent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "--parent-pid", strconv.Itoa(parent.Process.Pid), "--grace", "1ns")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "Listening on ")
	if err != nil || !ok {
		t.Fatalf("got %q, %v", line, err)
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s, err := remote.Open(ctx, dial(), remote.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Send([]byte("echo"))
	if m := <-s.Recv(); string(m) != "echo" {
		t.Errorf("got %q, want %q", m, "echo")
	}
	// The parent is dead, but nobody has reaped it.
	hold.Close()
	<-s.Lost()
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended by its parent: %v", err)
	}
	parent.Wait()
}

func TestStandinUsage(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "standin")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(bin, "extra").Output()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 || len(out) > 0 {
		t.Errorf("got %q, %v, want exit status 2 and no output", out, err)
	}
}
