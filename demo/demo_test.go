package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// demoFor is a demo short enough for a test, whose ssh-stay is this test
// binary behaving as mode says (see proxy_test.go). Its temp directory and the
// path of its ssh-stay contain what a shell or ssh would trip over.
func demoFor(t *testing.T, mode string) (*Demo, *output) {
	t.Helper()
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "a temp dir"))
	if err := os.Mkdir(os.TempDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv(modeVariable, mode)
	t.Setenv("SSH_AUTH_SOCK", "nobody's business")
	t.Setenv("SHELL", "/bin/false")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(t.TempDir(), `a 100% "good" $HOME`)
	if err := os.Symlink(exe, self); err != nil {
		t.Fatal(err)
	}
	out := &output{}
	return &Demo{
		Out: out, Self: self,
		idle: time.Second, silence: 1500 * time.Millisecond, answer: time.Second,
	}, out
}

func TestDemo(t *testing.T) {
	tests := []struct {
		name, mode string
		change     func(*Demo)
		want       string // the error
		shows      string // in the output, a regular expression
	}{
		{"as told", "keepalive", nil, "", `(?s)firewall   forgets stock ssh` +
			`.*stock ssh  no answer and no error in 1\.\d s` +
			`.*firewall   stock ssh: longest silence \d\.\d s, [1-9]\d* bytes swallowed` +
			`.*firewall   ssh-stay: longest silence 0\.\d s, 0 bytes swallowed` +
			`.*flows forgotten: 1 of 2\n` +
			`\nstock ssh  hangs: no answer in 1\.\d s after 1\.\d s of silence` +
			`\nssh-stay   answers in \d+\.\d ms after 1\.\d s of silence\n` +
			`\nTo have this for your own hosts:\n\n    ssh-stay setup\n$`},
		{"no keepalive", "silent", nil,
			"the firewall forgot ssh-stay; ssh-stay did not answer", `ssh-stay   hangs: `},
		{"no fault", "keepalive", func(d *Demo) { d.idle = time.Hour },
			"the firewall did not forget stock ssh; stock ssh did not hang", `stock ssh  answers in `},
		{"ssh-stay ends", "fail", nil,
			"ssh-stay ended by itself: exit status 255", `ssh-stay says: out of order\?\[1m`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, out := demoFor(t, tt.mode)
			if tt.change != nil {
				tt.change(d)
			}
			got := ""
			if err := d.Run(t.Context()); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got error %q, want %q", got, tt.want)
			}
			if !regexp.MustCompile(tt.shows).MatchString(out.String()) {
				t.Errorf("the output does not match %s", tt.shows)
			}
			for line := range strings.Lines(out.String()) {
				if len(line) > 80 {
					t.Errorf("line of %d columns: %s", len(line)-1, line)
				}
			}
			nothingLeft(t)
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// ^C may come at any time.
func TestDemoInterrupted(t *testing.T) {
	for _, at := range []string{"", "The same", "logged in", "left alone", "forgets", `asked "line 2"`} {
		t.Run(at, func(t *testing.T) {
			d, out := demoFor(t, "keepalive")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out.at, out.call = at, cancel
			if at == "" {
				cancel()
			}
			if err := d.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("got error %v, want %v", err, context.Canceled)
			}
			nothingLeft(t)
		})
	}
}

// A ProxyCommand that listens to nothing is ended all the same.
func TestDemoInterruptedHanging(t *testing.T) {
	d, out := demoFor(t, "hang")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out.at, out.call = "stock ssh  logged in", cancel
	if err := d.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	nothingLeft(t)
}

// The end of ctx ends all there is on the stage, though clients hold on.
func TestStageEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	t.Chdir(t.TempDir())
	st, err := newStage(ctx, &running, ".", time.Hour, "ssh-stay")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", st.stock.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len("SSH-"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	ended := make(chan struct{})
	go func() { // ends with the stage, or with the test binary
		running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("still running 5 s after the end of ctx")
	}
	noGoroutines(t)
}

func TestDemoNoSSH(t *testing.T) {
	d, _ := demoFor(t, "keepalive")
	t.Setenv("PATH", t.TempDir())
	err := d.Run(t.Context())
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "install the OpenSSH client") {
		t.Errorf("got error %v, want what to install", err)
	}
	nothingLeft(t)
}

// An ssh whose path ProxyJump would break is still the one that is run.
func TestDemoSSHPathWithSpace(t *testing.T) {
	d, out := demoFor(t, "keepalive")
	real, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatal(err)
	}
	d.SSH = filepath.Join(os.TempDir(), "ssh")
	if err := os.Symlink(real, d.SSH); err != nil {
		t.Fatal(err)
	}
	if err := d.Run(t.Context()); err != nil {
		t.Errorf("got error %v\n%s", err, out)
	}
	os.Remove(d.SSH)
	nothingLeft(t)
}

// nothingLeft fails the test if files, processes or goroutines of a demo are
// still there.
func nothingLeft(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("files left: %v %v", left, err)
	}
	// Every process of the demo runs in its directory; a Linux matter.
	dirs, _ := filepath.Glob("/proc/[0-9]*/cwd")
	if runtime.GOOS == "linux" && len(dirs) == 0 {
		t.Error("no process seen, not even this one")
	}
	for _, dir := range dirs {
		if cwd, _ := os.Readlink(dir); strings.HasPrefix(cwd, os.TempDir()+"/") {
			t.Errorf("process left: %s in %s", dir, cwd)
		}
	}
	noGoroutines(t)
}

// noGoroutines waits a second for goroutines with code of this package to end:
// one that has reported its end may still be on its last instruction.
func noGoroutines(t *testing.T) {
	t.Helper()
	var left []string
	for end := time.Now().Add(time.Second); time.Now().Before(end); runtime.Gosched() {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		left = nil
		for _, g := range strings.Split(string(stacks), "\n\n") {
			if strings.Contains(g, "ssh-stay/demo.") && !strings.Contains(g, "testing.") ||
				strings.Contains(g, "x/crypto/ssh.") {
				left = append(left, g)
			}
		}
		if left == nil {
			return
		}
	}
	t.Errorf("goroutines left:\n%s", strings.Join(left, "\n\n"))
}

// output is a buffer that calls call when it sees the text at.
type output struct {
	mu   sync.Mutex // guards buf
	buf  bytes.Buffer
	at   string
	call func()
}

func (o *output) Write(p []byte) (int, error) {
	if o.call != nil && o.at != "" && bytes.Contains(p, []byte(o.at)) {
		o.call()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
