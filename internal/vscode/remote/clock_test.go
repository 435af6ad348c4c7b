package remote

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a server's end of one connection in the hands of a test: its handshake is done, and
// after it only the test writes.
type scripted struct {
	net.Conn
	r *bufio.Reader
}

// serveByHand answers one client's handshake.
func serveByHand(t *testing.T, c net.Conn) scripted {
	s := scripted{c, bufio.NewReader(c)}
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	_, err := http.ReadRequest(s.r)
	must(err)
	_, err = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	must(err)
	_, err = readControl(s.r, "auth")
	must(err)
	must(writeControl(c, control{Type: "sign"}))
	_, err = readControl(s.r, "connectionType")
	must(err)
	must(writeControl(c, control{Type: "ok"}))
	return s
}

// frames passes on what the client sends, until its end of the pipe closes.
func (s scripted) frames() <-chan frame {
	ch := make(chan frame, 100)
	go func() {
		defer close(ch)
		for {
			f, err := readFrame(s.r)
			if err != nil {
				return
			}
			ch <- f
		}
	}()
	return ch
}

func (s scripted) write(t *testing.T, f frame) {
	t.Helper()
	if _, err := s.Write(f.append(nil)); err != nil {
		t.Error(err)
	}
}

// openByHand opens a session with a server in the test's hands.
func openByHand(t *testing.T, cfg Config) (*Session, scripted) {
	t.Helper()
	near, far := net.Pipe()
	served := make(chan scripted, 1)
	go func() { served <- serveByHand(t, far) }()
	s, err := Open(t.Context(), near, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, <-served
}

func after(t *testing.T, start time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(start); got != want {
		t.Errorf("after %v, want %v", got, want)
	}
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := openByHand(t, Config{})
		frames := far.frames()
		time.Sleep(7 * time.Second)
		// One byte, not a frame: it counts as life.
		if _, err := far.Write([]byte{byte(kindKeepAlive)}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		<-s.Lost()
		after(t, start, 20*time.Second)
		if err := s.Err(); err != ErrSilent {
			t.Errorf("got %v, want %v", err, ErrSilent)
		}
		n := 0
		for f := range frames {
			if n++; f.kind != kindKeepAlive {
				t.Errorf("got a frame of type %d, want keepalives only", f.kind)
			}
		}
		if n != 5 { // at 5, 10, 15, 20 and 25 s
			t.Errorf("%d keepalives, want 5", n)
		}
		s.Close()
		far.Close()
	})
}

func TestSilencePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := openByHand(t, Config{Paused: true})
		frames := far.frames()
		time.Sleep(24 * time.Hour)
		if err := s.Err(); err != nil || len(frames) > 0 {
			t.Fatalf("idle: got %v and %d frames, want neither", err, len(frames))
		}
		s.Send([]byte("a"))
		f := <-frames
		time.Sleep(15 * time.Second)
		far.write(t, frame{kind: kindAck, ack: f.id}) // in time
		time.Sleep(time.Hour)
		if err := s.Err(); err != nil {
			t.Fatalf("acked: got %v", err)
		}
		s.Send([]byte("b"))
		start := time.Now()
		<-s.Lost()
		after(t, start, 20*time.Second)
		s.Close()
		far.Close()
	})
}

// A process that was stopped finds its deadline passed, and the bytes of all that time unread.
func TestSilenceAfterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := openByHand(t, Config{})
		go io.Copy(io.Discard, far)
		time.Sleep(10*time.Second + time.Millisecond) // past a beat
		s.p.mu.Lock()
		s.p.link.pulse.Stop() // as if stopped, up to the silence check at 20 s
		s.p.mu.Unlock()
		start := time.Now()
		<-s.Lost()
		after(t, start, 15*time.Second-time.Millisecond) // 10 s to the check, and 5 s more for the bytes
		s.Close()
		far.Close()
	})
}

func TestAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := openByHand(t, Config{})
		frames := far.frames()
		time.Sleep(time.Second)
		start := time.Now()
		far.write(t, frame{kind: kindRegular, id: 1})
		<-s.Recv()
		if f := <-frames; f.kind != kindAck || f.ack != 1 {
			t.Errorf("got %+v, want an ack of 1", f)
		}
		after(t, start, 2*time.Second)

		// A message carries the ack: no other follows before the keepalive.
		far.write(t, frame{kind: kindRegular, id: 2})
		<-s.Recv()
		s.Send([]byte("m"))
		if f := <-frames; f.kind != kindRegular || f.ack != 2 {
			t.Errorf("got %+v, want a message with ack 2", f)
		}
		if f := <-frames; f.kind != kindKeepAlive || f.ack != 2 {
			t.Errorf("got %+v, want a keepalive with ack 2", f)
		}
		after(t, start, 4*time.Second)
		far.Close()
		s.Close()
	})
}

func TestReplayRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := openByHand(t, Config{Paused: true, Ack: time.Hour})
		frames := far.frames()
		time.Sleep(time.Minute)
		for _, id := range []uint32{1, 1, 3, 4} { // 1 twice, 2 missing
			synctest.Wait()
			if id == 3 && len(frames) > 0 {
				t.Error("an answer to a duplicate, want none")
			}
			far.write(t, frame{kind: kindRegular, id: id, data: []byte{byte(id)}})
		}
		if m := <-s.Recv(); m[0] != 1 {
			t.Errorf("got message %d, want 1", m[0])
		}
		if f := <-frames; f.kind != kindReplayRequest {
			t.Errorf("got %+v, want a request for a replay", f)
		}
		for id := byte(2); id <= 4; id++ {
			far.write(t, frame{kind: kindRegular, id: uint32(id), data: []byte{id}})
			if m := <-s.Recv(); m[0] != id {
				t.Errorf("got message %d, want %d", m[0], id)
			}
		}
		s.Send([]byte("x"))
		first := <-frames
		far.write(t, frame{kind: kindReplayRequest})
		if f := <-frames; f.kind != kindRegular || f.id != first.id {
			t.Errorf("got %+v, want %+v again", f, first)
		}
		if len(frames) > 0 {
			t.Errorf("%d more frames, want one request in 10 s", len(frames))
		}
		far.Close()
		s.Close()
	})
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := openByHand(t, Config{Paused: true})
		frames := far.frames()
		far.write(t, frame{kind: kindPause})
		synctest.Wait()
		s.Send([]byte("x"))
		synctest.Wait()
		if len(frames) > 0 {
			t.Error("sent though paused")
		}
		far.write(t, frame{kind: kindResume})
		if f := <-frames; f.kind != kindRegular {
			t.Errorf("got %+v, want the message", f)
		}
		far.Close()
		s.Close()
	})
}

// A server that takes the connection and says nothing has 10 s; one that stops after `sign` as long.
func TestHandshakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go io.Copy(io.Discard, far)
		start := time.Now()
		if _, err := Open(t.Context(), near, Config{}); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a timeout", err)
		}
		after(t, start, 10*time.Second)

		near, far = net.Pipe()
		go io.Copy(io.Discard, far)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start = time.Now()
		if _, err := Open(ctx, near, Config{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's end", err)
		}
		after(t, start, 3*time.Second)
	})
}

// A peer that reads nothing holds Close for its second.
func TestCloseBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := openByHand(t, Config{})
		s.Send([]byte("never read"))
		start := time.Now()
		s.Close()
		after(t, start, time.Second)
		if err := s.Send(nil); err != net.ErrClosed {
			t.Errorf("Send after Close: got %v, want %v", err, net.ErrClosed)
		}
		if _, ok := <-s.Recv(); ok {
			t.Error("Recv after Close: still open")
		}
		far.Close()
	})
}
