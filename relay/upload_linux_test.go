package relay

import (
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ssh-stay/hop"
	"ssh-stay/internal/sshtest"
)

func unavailable(t *testing.T, err error, why string) *UnavailableError {
	t.Helper()
	u := (*UnavailableError)(nil)
	if !errors.As(err, &u) || !strings.Contains(u.Why, why) {
		t.Fatalf("got %v, want an UnavailableError with %q", err, why)
	}
	return u
}

func TestOpenUploadsOnce(t *testing.T) {
	sshtest.Leaks(t)
	f := newHost(t, hostConfig{})
	b := scriptBinary(t, echoRelay)
	c := newClient(b)
	var done, total int64
	c.Progress = func(d, t int64) { done, total = d, t }
	wantEcho(t, c, f.Exec)
	if done != int64(len(echoRelay)) || total != done {
		t.Errorf("got progress %d of %d, want %d of it", done, total, len(echoRelay))
	}
	dir := filepath.Join(f.Home, ".cache", "ssh-stay")
	wantOnly(t, dir, "relay-"+b.SHA256)
	for path, want := range map[string]os.FileMode{dir: os.ModeDir | 0o700, filepath.Join(dir, "relay-"+b.SHA256): 0o700} {
		info, err := os.Lstat(path)
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s: got mode %v, want %v", path, info.Mode(), want)
		}
	}
	wantEcho(t, c, f.Exec)
	if got := f.uploads(); got != 1 {
		t.Errorf("got %d uploads, want 1", got)
	}
	if _, err := c.Attach(soon(t), f.Exec); err != ErrGone {
		t.Errorf("attach: got %v, want %v", err, ErrGone)
	}
}

// Accounts whose login shell is not sh, and what such shells print unasked.
func TestLoginShells(t *testing.T) {
	r := sshtest.For(t)
	account := r.Account()
	f := newHost(t, hostConfig{account: account})
	must(t, os.WriteFile(filepath.Join(f.Home, ".bashrc"), []byte("echo Welcome back; printf 'no newline'; echo on stderr >&2\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(f.Home, ".tcshrc"), []byte("echo Welcome back\n"), 0o644))
	for _, shell := range []string{"sh", "bash", "dash", "zsh", "fish", "tcsh"} {
		t.Run(shell, func(t *testing.T) {
			must(t, exec.Command(r.Peer("usermod"), "--shell", r.Peer(shell), account.Name).Run())
			b := scriptBinary(t, echoRelay+"# "+shell)
			wantEcho(t, newClient(b), f.Exec)
			if _, err := os.Stat(filepath.Join(f.Home, ".cache/ssh-stay/relay-"+b.SHA256)); err != nil {
				t.Error(err)
			}
		})
	}
}

// What /bin/sh may be.
func TestFarShells(t *testing.T) {
	r := sshtest.For(t)
	f := newHost(t, hostConfig{})
	for _, sh := range []string{r.Peer("bash") + " --posix", r.Peer("busybox") + " sh", r.Peer("zsh") + " --emulate sh"} {
		wantEcho(t, newClient(scriptBinary(t, echoRelay+"# "+sh)), func(ctx context.Context, command string) (net.Conn, error) {
			return f.Exec(ctx, strings.Replace(command, "/bin/sh", sh, 1))
		})
	}
}

// tools makes a folder with programs of those names, for a PATH of its own.
func tools(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append(names, "uname", "id", "ls", "mkdir", "rm", "chmod", "find", "mv", "cat") {
		must(t, os.Symlink(sshtest.For(t).Peer(name), filepath.Join(dir, name)))
	}
	return dir
}

func TestTools(t *testing.T) {
	for _, tt := range []struct {
		tools, why string
	}{
		{"gzip sha256sum", ""},
		{"gzip shasum perl", ""},
		{"gzip openssl", ""},
		{"gzip", "no sha256sum, shasum or openssl"},
		{"openssl", "no gzip"},
	} {
		t.Run(tt.tools, func(t *testing.T) {
			f := newHost(t, hostConfig{env: "PATH=" + tools(t, strings.Fields(tt.tools)...)})
			c := newClient(scriptBinary(t, echoRelay))
			if tt.why == "" {
				wantEcho(t, c, f.Exec)
				return
			}
			_, err := c.Open(soon(t), f.Exec)
			unavailable(t, err, tt.why)
		})
	}
}

func TestPlatforms(t *testing.T) {
	for uname, want := range map[string]string{
		"Linux x86_64": "linux/amd64", "Linux aarch64": "linux/arm64",
		"Darwin x86_64": "darwin/amd64", "Darwin arm64": "darwin/arm64",
		"Plan9 mips": "", "FreeBSD amd64": "",
	} {
		t.Run(uname, func(t *testing.T) {
			fake := t.TempDir()
			must(t, os.WriteFile(filepath.Join(fake, "uname"), []byte("#!/bin/sh\necho "+uname+"\n"), 0o755))
			f := newHost(t, hostConfig{env: "PATH=" + fake + ":/usr/bin:/bin"})
			var all []Binary
			for platform := range unames {
				b := scriptBinary(t, echoRelay+"# "+platform)
				b.OS, b.Arch, _ = strings.Cut(platform, "/")
				all = append(all, b)
			}
			c := newClient(all...)
			if want == "" {
				_, err := c.Open(soon(t), f.Exec)
				unavailable(t, err, uname)
				return
			}
			wantEcho(t, c, f.Exec)
			for _, b := range all {
				_, err := os.Stat(filepath.Join(f.Home, ".cache/ssh-stay/relay-"+b.SHA256))
				if stored := err == nil; stored != (b.OS+"/"+b.Arch == want) {
					t.Errorf("the binary of %s/%s: got stored %v", b.OS, b.Arch, stored)
				}
			}
		})
	}
}

// mount puts an empty file system over dir, which it makes, for the test.
func mount(t *testing.T, dir, options string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	if out, err := exec.Command(sshtest.For(t).Peer("mount"), "-t", "tmpfs", "-o", options, "sshtest", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}

// bulky makes an echoRelay that compresses to more than 512 KiB.
func bulky(t *testing.T) Binary {
	t.Helper()
	return scriptBinary(t, echoRelay+"exit\n"+noise(1<<20))
}

func noise(n int) string {
	var text strings.Builder
	for text.Len() < n {
		text.WriteString(rand.Text())
	}
	return text.String()
}

func TestUploadPlaces(t *testing.T) {
	for _, tt := range []struct {
		name    string
		spoil   func(t *testing.T, home string) // makes the first place unusable
		uploads int
	}{
		{"noexec", func(t *testing.T, home string) { mount(t, home+"/.cache", "noexec,mode=700") }, 1},
		{"read-only", func(t *testing.T, home string) { mount(t, home, "ro,mode=700") }, 1},
		{"full", func(t *testing.T, home string) { mount(t, home+"/.cache", "size=64k,mode=700") }, 2},
		{"a link", func(t *testing.T, home string) {
			must(t, os.MkdirAll(home+"/.cache", 0o700))
			must(t, os.Symlink(t.TempDir(), home+"/.cache/ssh-stay"))
		}, 1},
		{"open to others", func(t *testing.T, home string) {
			must(t, os.MkdirAll(home+"/.cache/ssh-stay", 0o755))
		}, 1},
		{"another's", func(t *testing.T, home string) {
			must(t, os.MkdirAll(home+"/.cache/ssh-stay", 0o700))
			must(t, os.Chown(home+"/.cache/ssh-stay", 65534, 65534))
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newHost(t, hostConfig{})
			tt.spoil(t, f.Home)
			b := bulky(t)
			c := newClient(b)
			wantEcho(t, c, f.Exec)
			wantOnly(t, filepath.Join(f.Runtime, "ssh-stay"), "relay-"+b.SHA256)
			wantOnly(t, filepath.Join(f.Home, ".cache", "ssh-stay"))
			wantEcho(t, c, f.Exec)
			if got := f.uploads(); got != tt.uploads {
				t.Errorf("got %d uploads, want %d", got, tt.uploads)
			}
		})
	}
}

// TestTmp: without a home and a runtime folder there is /tmp, and no place
// else: least of all in / where an empty name before ours would lead.
func TestUploadTmp(t *testing.T) {
	r := sshtest.For(t)
	account := r.Account()
	f := newHost(t, hostConfig{account: account, env: "XDG_CACHE_HOME=relative"})
	u, err := user.Lookup(account.Name)
	must(t, err)
	dir := "/tmp/ssh-stay-" + u.Uid
	must(t, os.RemoveAll(dir)) // of another account that had the number
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := scriptBinary(t, echoRelay)
	wantEcho(t, newClient(b), f.Exec)
	wantOnly(t, dir, "relay-"+b.SHA256)
	// Someone else had the name first.
	must(t, os.RemoveAll(dir))
	must(t, os.Mkdir(dir, 0o777))
	_, err = newClient(b).Open(soon(t), f.Exec)
	unavailable(t, err, dir+" is not ours alone")
	wantOnly(t, dir)
}

func TestForcedCommands(t *testing.T) {
	for _, tt := range []struct {
		command, why, stderr string
	}{
		{"/bin/cat", "no answer within 300ms", ""},
		{"sleep 60", "no answer within 300ms", ""},
		{"internal-sftp", "ended without an answer", ""},
		{"echo not for you >&2; exit 1", "ended without an answer", "not for you\n"},
		{"yes", "no answer in the 64 KiB", ""},
	} {
		t.Run(tt.command, func(t *testing.T) {
			sshtest.Leaks(t) // of what ends with the hop
			f := newHost(t, hostConfig{lines: []string{"ForceCommand " + tt.command}})
			c := newClient(scriptBinary(t, echoRelay))
			if strings.Contains(tt.why, "ms") {
				c.Patience = 300 * time.Millisecond
			}
			_, err := c.Open(soon(t), f.Exec)
			if u := unavailable(t, err, tt.why); u.Stderr != tt.stderr {
				t.Errorf("got stderr %q, want %q", u.Stderr, tt.stderr)
			}
			if f.Err() != nil {
				t.Errorf("got %v, want a hop that goes on", f.Err())
			}
		})
	}
}

func TestExecRefused(t *testing.T) {
	f := newHost(t, hostConfig{lines: []string{"MaxSessions 0"}})
	_, err := newClient(scriptBinary(t, echoRelay)).Open(soon(t), f.Exec)
	if refused := (*hop.ExecRefusedError)(nil); !errors.As(err, &refused) {
		t.Errorf("got %v, want the ExecRefusedError of the hop", err)
	}
}

// broken is a connection that breaks after some bytes were written, and its hop
// with it.
type broken struct {
	net.Conn
	hop  *hop.Hop
	left int
}

func (b *broken) Write(p []byte) (int, error) {
	n, err := b.Conn.Write(p[:min(len(p), b.left)])
	if b.left -= n; b.left == 0 {
		b.hop.Close()
	}
	return n, err
}

func TestTruncatedUpload(t *testing.T) {
	f := newHost(t, hostConfig{})
	b := bulky(t)
	fired := false
	_, err := newClient(b).Open(soon(t), func(ctx context.Context, command string) (net.Conn, error) {
		conn, err := f.Exec(ctx, command)
		if strings.Contains(command, "gzip") && err == nil {
			fired = true
			conn = &broken{conn, f.Hop, 100_000}
		}
		return conn, err
	})
	if u := (*UnavailableError)(nil); err == nil || errors.As(err, &u) || !fired {
		t.Errorf("got %v, want the error of the hop; fault fired: %v", err, fired)
	}
	wantOnly(t, filepath.Join(f.Home, ".cache", "ssh-stay"))
	f.Hop = f.dial()
	wantEcho(t, newClient(b), f.Exec)
}

func TestWrongUpload(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		script    string // that is sent instead
		garbage   bool   // not compressed
		uploads   int
	}{
		{"corrupted", "what arrived", echoRelay + "# and more", false, 1},
		{"not gzip", "cannot unpack", echoRelay, true, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newHost(t, hostConfig{env: "XDG_CACHE_HOME="}) // leaves home and runtime
			b := scriptBinary(t, echoRelay)
			b.WriteGzip = func(w io.Writer, _ func(int64, int64)) error {
				if tt.garbage {
					_, err := io.WriteString(w, tt.script)
					return err
				}
				z := gzip.NewWriter(w)
				io.WriteString(z, tt.script)
				return z.Close()
			}
			must(t, os.WriteFile(filepath.Join(f.Home, "tmp"), nil, 0o600))
			_, err := newClient(b).Open(soon(t), noTmp(f, t))
			unavailable(t, err, tt.why)
			if got := f.uploads(); got < tt.uploads {
				t.Errorf("got %d uploads, want %d at least", got, tt.uploads)
			}
			wantOnly(t, filepath.Join(f.Home, ".cache", "ssh-stay"))
			wantOnly(t, filepath.Join(f.Runtime, "ssh-stay"))
		})
	}
}

// noTmp keeps a test that fails in the first places out of the real /tmp.
func noTmp(f *host, t *testing.T) ExecFunc {
	dir := t.TempDir()
	return func(ctx context.Context, command string) (net.Conn, error) {
		return f.Exec(ctx, strings.Replace(command, "/tmp/ssh-stay-", dir+"/ssh-stay-", 1))
	}
}

// A program that does not run, such as one for another system, is not kept.
func TestDoesNotRun(t *testing.T) {
	f := newHost(t, hostConfig{})
	_, err := newClient(scriptBinary(t, "\x7fELF and so on\x00")).Open(soon(t), noTmp(f, t))
	unavailable(t, err, "does not run")
	wantOnly(t, filepath.Join(f.Home, ".cache", "ssh-stay"))
}

func TestUploadsAtOnce(t *testing.T) {
	f := newHost(t, hostConfig{})
	b := bulky(t)
	var clients sync.WaitGroup
	for range 6 {
		h := f.dial()
		clients.Go(func() { // ends with its upload
			conn, err := newClient(b).Open(soon(t), func(ctx context.Context, command string) (net.Conn, error) { return h.Exec(ctx, command) })
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			first := make([]byte, len("first bytes"))
			if _, err := io.ReadFull(conn, first); string(first) != "first bytes" {
				t.Errorf("got %q, %v", first, err)
			}
		})
	}
	clients.Wait()
	wantOnly(t, filepath.Join(f.Home, ".cache", "ssh-stay"), "relay-"+b.SHA256)
}

// An upload clears away what broken ones left a day ago, and nothing else.
func TestLeftovers(t *testing.T) {
	f := newHost(t, hostConfig{})
	dir := filepath.Join(f.Home, ".cache", "ssh-stay")
	must(t, os.MkdirAll(dir, 0o700))
	for name, days := range map[string]int{".new-A": 2, ".new-B": 0, "relay-0": 40} {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, nil, 0o600))
		at := time.Now().AddDate(0, 0, -days)
		must(t, os.Chtimes(path, at, at))
	}
	b := scriptBinary(t, echoRelay)
	wantEcho(t, newClient(b), f.Exec)
	wantOnly(t, dir, ".new-B", "relay-0", "relay-"+b.SHA256)
}

// The context of an upload ends it although the far end takes nothing any more.
func TestUploadContext(t *testing.T) {
	f := newHost(t, hostConfig{})
	b := scriptBinary(t, echoRelay)
	ctx, cancel := context.WithCancelCause(t.Context())
	tired := fmt.Errorf("tired of waiting")
	b.WriteGzip = func(w io.Writer, _ func(int64, int64)) error {
		for n := 0; ; n++ {
			if n == 150 { // of the 200 or so that fit into the channel's window
				time.AfterFunc(100*time.Millisecond, func() { cancel(tired) })
			}
			if _, err := w.Write(make([]byte, 10_000)); err != nil {
				return err
			}
		}
	}
	deaf := func(ctx context.Context, command string) (net.Conn, error) {
		return f.Exec(ctx, strings.Replace(command, "gzip -dc", "exec sleep 60", 1))
	}
	if _, err := newClient(b).Open(ctx, deaf); !errors.Is(err, tired) {
		t.Errorf("got %v, want the cause of the context", err)
	}
}
