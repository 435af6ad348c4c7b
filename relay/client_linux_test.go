package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ssh-stay/internal/sshtest"
)

// toldRelay says of its host what a file in the home says.
const toldRelay = `#!/bin/sh
case "$*" in
"relay version") exit 0;;
"relay open") word=ready;;
"relay attach") read word <"$HOME/word";;
esac
read text <"$HOME/text"
printf '\nssh-stay-relay 1 %s\n' "$word $text"
[ $word = ready ] && exec cat
`

// told has a toldRelay answer an attach so, and every other verb with ready.
func (f *host) told(t *testing.T, word, text string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(f.Home, "word"), []byte(word+"\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(f.Home, "text"), []byte(text+"\n"), 0o600))
}

// Of hosts that share a name and a key, one has the streams.
func TestAttachElsewhere(t *testing.T) {
	f := newHost(t, hostConfig{})
	b := scriptBinary(t, toldRelay)
	first, rebooted := identify("a", "id1", "boot1").String(), identify("a", "id1", "boot2").String()
	other, clone := identify("b", "id2", "boot3").String(), identify("b", "id1", "boot3").String()
	elsewhere := &ElsewhereError{}
	for _, tt := range []struct {
		name, word, text string
		want             any // ErrGone, elsewhere, or nil
	}{
		{"ready", "ready", first, nil},
		{"gone", "gone", first, ErrGone},
		{"started again", "gone", rebooted, ErrGone},
		{"gone there", "gone", other, elsewhere},
		{"gone on one of the same image", "gone", clone, elsewhere},
		{"ready there, for others", "ready", other, elsewhere},
		{"does not say", "gone", "", ErrGone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(b)
			f.told(t, "ready", first)
			conn, err := c.Open(soon(t), f.Exec)
			must(t, err)
			defer conn.Close()
			f.told(t, tt.word, tt.text)
			conn, err = c.Attach(soon(t), f.Exec)
			if err == nil {
				conn.Close()
			}
			var got any
			if found := (*ElsewhereError)(nil); errors.As(err, &found) {
				got = elsewhere
			} else if err != nil {
				got = err
			}
			if got != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// Without an Open before, the first Attach says where the streams are.
func TestAttachAlone(t *testing.T) {
	f := newHost(t, hostConfig{})
	c := newClient(scriptBinary(t, toldRelay))
	first, other := identify("a", "id1", "").String(), identify("b", "id2", "").String()
	f.told(t, "gone", first)
	if _, err := c.Attach(soon(t), f.Exec); err != ErrGone {
		t.Errorf("got %v, want %v", err, ErrGone)
	}
	f.told(t, "ready", first)
	conn, err := c.Attach(soon(t), f.Exec)
	must(t, err)
	conn.Close()
	f.told(t, "gone", other)
	_, err = c.Attach(soon(t), f.Exec)
	if elsewhere := (*ElsewhereError)(nil); !errors.As(err, &elsewhere) {
		t.Errorf("got %v, want an ElsewhereError", err)
	}
}

func TestSshd(t *testing.T) {
	f := newHost(t, hostConfig{})
	c := newClient(scriptBinary(t, toldRelay))
	for text, want := range map[string]string{
		"":                       "",
		"m-b":                    "",
		"m-b 192.0.2.1 2222":     "192.0.2.1:2222",
		"m-b 2001:db8::1 22":     "[2001:db8::1]:22",
		"m-b fe80::1%eth0 22":    "[fe80::1%eth0]:22",
		"m-b evil.example 22":    "",
		"m-b 192.0.2.1 66000":    "",
		"m-b 192.0.2.1 22 and 3": "",
	} {
		f.told(t, "ready", text)
		conn, err := c.Open(soon(t), f.Exec)
		must(t, err)
		conn.Close()
		if got := c.Sshd(); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// The bridge may have been cleaned away while its daemon lives.
func TestAttachUploads(t *testing.T) {
	f := newHost(t, hostConfig{})
	f.told(t, "ready", "m-b")
	b := scriptBinary(t, toldRelay)
	c := newClient(b)
	conn, err := c.Open(soon(t), f.Exec)
	must(t, err)
	defer conn.Close()
	must(t, os.RemoveAll(filepath.Join(f.Home, ".cache")))
	f.commands = nil
	conn, err = c.Attach(soon(t), f.Exec)
	must(t, err)
	defer conn.Close()
	if f.uploads() != 1 {
		t.Errorf("got %d uploads, want 1", f.uploads())
	}
	for _, command := range f.commands {
		if strings.Contains(command, "relay open") {
			t.Errorf("it may start a relay: %s", command)
		}
	}
}

// The time for an answer leaves some for another way to the target, where there
// is one.
func TestPatience(t *testing.T) {
	for _, tt := range []struct {
		name               string
		attach             bool
		patience, deadline time.Duration
		want               time.Duration
	}{
		{"default", false, 0, 0, 10 * time.Second},
		{"set", false, time.Minute, 0, time.Minute},
		{"a deadline far away", false, 0, time.Minute, 10 * time.Second},
		{"a deadline", false, 0, 15 * time.Second, 5 * time.Second},
		{"attach has no other way", true, 0, 15 * time.Second, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				c := newClient()
				c.Patience = tt.patience
				call := c.Open
				if tt.attach {
					call = c.Attach
				}
				start := time.Now()
				_, err := call(ctx, func(ctx context.Context, _ string) (net.Conn, error) {
					<-ctx.Done()
					return nil, context.Cause(ctx)
				})
				unavailable(t, err, "no answer within "+tt.want.String())
				if took := time.Since(start); took != tt.want {
					t.Errorf("got an error after %v, want %v", took, tt.want)
				}
			})
		})
	}
}

// TestUploadTime has an upload script's end of the connection, whose timing no
// real one would keep to.
func TestUploadTime(t *testing.T) {
	const slow, chunks = 14 * time.Second, 40
	input := strings.Repeat("x", chunks)
	tooLong := errTooLong.Why
	take := func(far net.Conn, n int) { io.CopyN(io.Discard, far, int64(n)) }
	for _, tt := range []struct {
		name     string
		deadline time.Duration
		far      func(far net.Conn)
		why      string // empty: it is stored
		want     time.Duration
	}{
		{"takes nothing", 0, func(net.Conn) {}, tooLong, 15 * time.Second},
		{"stops taking", 0, func(far net.Conn) {
			time.Sleep(slow)
			take(far, 1)
		}, tooLong, slow + 15*time.Second},
		{"takes slowly", 0, func(far net.Conn) {
			for range chunks {
				time.Sleep(slow)
				take(far, 1)
			}
			io.WriteString(far, "\n"+Mark+"stored\n")
		}, "", chunks * slow},
		{"unpacks slowly", 0, func(far net.Conn) {
			take(far, chunks)
			for n := range chunks {
				time.Sleep(slow)
				fmt.Fprintf(far, "\n%sat %d\n", Mark, n+1)
			}
			io.WriteString(far, "\n"+Mark+"stored\n")
		}, "", chunks * slow},
		{"stops unpacking", 0, func(far net.Conn) {
			take(far, chunks)
			for range chunks {
				io.WriteString(far, "\n"+Mark+"at 5\n")
				time.Sleep(time.Second)
			}
		}, tooLong, 15 * time.Second},
		{"a deadline", time.Minute, func(far net.Conn) {
			for range chunks {
				time.Sleep(slow)
				take(far, 1)
			}
		}, tooLong, time.Minute},
		{"an early answer", 0, func(far net.Conn) {
			time.Sleep(time.Second)
			io.WriteString(far, "\n"+Mark+"error no space\n")
		}, "no space", time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				var script sync.WaitGroup
				script.Go(func() { tt.far(far) }) // ends some time after near
				defer script.Wait()
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				b := Binary{WriteGzip: func(w io.Writer, progress func(done, total int64)) error {
					progress(0, chunks)
					for n := range chunks {
						if _, err := io.WriteString(w, input[n:n+1]); err != nil {
							return err
						}
						progress(int64(n+1), chunks)
					}
					return nil
				}}
				start := time.Now()
				err := (&starter{newClient(), nil, "open"}).send(ctx, near, &b)
				if tt.why == "" {
					must(t, err)
				} else {
					unavailable(t, err, tt.why)
				}
				if took := time.Since(start); took != tt.want {
					t.Errorf("got the end after %v, want %v", took, tt.want)
				}
			})
		})
	}
}

// The script tells how far it is while it waits for more, whatever the far
// end's shell is, and leaves nothing behind that tells.
func TestUploadTellsProgress(t *testing.T) {
	r := sshtest.For(t)
	f := newHost(t, hostConfig{})
	b := bulky(t)
	for _, sh := range []string{"/bin/sh", r.Peer("bash") + " --posix", r.Peer("busybox") + " sh", r.Peer("zsh") + " --emulate sh"} {
		t.Run(sh, func(t *testing.T) {
			t.Parallel()
			conn, err := f.Exec(soon(t), strings.Replace(uploadScript(b.SHA256, rand.Text(), 0), "/bin/sh", sh, 1))
			must(t, err)
			defer conn.Close()
			defer time.AfterFunc(15*time.Second, func() { f.Hop.Close() }).Stop()
			hear := func(word string) answer {
				t.Helper()
				a, err := readAnswer(conn)
				if err != nil || a.word != word {
					t.Fatalf("got %q, %v; want %s", a, err, word)
				}
				return a
			}
			hear("go")
			w := &halting{w: conn, left: 400_000, more: make(chan struct{})}
			go func() { // ends with the channel
				b.WriteGzip(w, func(int64, int64) {})
				conn.(interface{ CloseWrite() error }).CloseWrite()
			}()
			for a := hear("at"); len(a.text) < 6; a = hear("at") {
			}
			close(w.more)
			a, err := readAnswer(conn)
			for ; err == nil && a.word == "at"; a, err = readAnswer(conn) {
			}
			if err != nil || a.word != "stored" {
				t.Errorf("got %q, %v; want stored", a, err)
			}
			if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
				t.Errorf("got %q, %v; want the end", rest, err)
			}
			if said := stderr(conn); said != "" {
				t.Errorf("got %q on standard error", said)
			}
		})
	}
}

// halting waits for more when so much is written.
type halting struct {
	w    net.Conn
	left int
	more chan struct{}
}

func (h *halting) Write(p []byte) (int, error) {
	if h.left -= len(p); h.left < 0 {
		<-h.more
	}
	return h.w.Write(p)
}
