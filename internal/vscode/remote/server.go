package remote

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is a stand-in for the VS Code server: it keeps a window's state over its connections, as
// long as the real one does, and answers each Regular message with the same bytes.
// The zero value has VS Code's own times, and lets everyone in.
type Server struct {
	Token      string        // that clients must show; "" for none
	Grace      time.Duration // how long a lost client may stay away; 0 means 3 h
	ShortGrace time.Duration // the same, once any client connected since; 0 means 5 min
	KeepAlive  time.Duration // 0 means 5 s
	Ack        time.Duration // 0 means 2 s
	Log        func(string)  // called with one line an event, from any goroutine; nil for silence

	mu      sync.Mutex // guards all below
	windows map[string]*window
	seen    map[string]bool // every token that ever had a window
}

// window is what the server keeps of one management connection.
type window struct {
	token   string
	p       *protocol
	link    *link
	away    *time.Timer // ends the grace; nil while connected
	expires time.Time
}

// Serve accepts connections until ctx ends, and returns when all of them have. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	for {
		c, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		conns.Go(func() { s.ServeConn(ctx, c) }) // ended by cancel, at the latest
	}
}

// ServeConn serves one connection until it dies, and closes it. When ctx ends so does the
// window's state.
func (s *Server) ServeConn(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	w, l, err := s.accept(c)
	if err != nil {
		s.log("%v", err)
	}
	if l == nil {
		stop()
		c.Close()
		return
	}
	<-l.lost
	stop()
	s.lost(ctx, w, l)
}

func (s *Server) log(format string, args ...any) {
	if s.Log != nil {
		s.Log(fmt.Sprintf(format, args...))
	}
}

// accept does the server's half of the handshake. No link and no error: a plain request, answered.
func (s *Server) accept(c net.Conn) (*window, *link, error) {
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil, nil, err
	}
	query := req.URL.Query()
	switch {
	case req.URL.Path == "/version":
		_, err := fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\nConnection: close\r\n\r\nstand-in")
		return nil, nil, err
	case req.Header.Get("Upgrade") != "websocket" || query.Get("skipWebSocketFrames") != "true":
		_, err := fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return nil, nil, err
	}
	// RFC 6455 section 4.2.2.
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if _, err := fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:])); err != nil {
		return nil, nil, err
	}
	hello, err := readControl(r, "auth")
	if err != nil {
		return nil, nil, err
	}
	if s.Token != "" && hello.Auth != s.Token {
		return nil, nil, refuse(c, authMismatch)
	}
	if err := writeControl(c, control{Type: "sign", Data: newToken(), Signed: newToken()}); err != nil {
		return nil, nil, err
	}
	kind, err := readControl(r, "connectionType")
	if err != nil {
		return nil, nil, err
	}
	if kind.Wants != wantsManagement {
		return nil, nil, refuse(c, "Unknown initial data received")
	}
	return s.enter(c, r, query.Get("reconnectionToken"), query.Get("reconnection") == "true")
}

func refuse(c net.Conn, reason string) error {
	return errors.Join(&RefusedError{Reason: reason}, writeControl(c, control{Type: "error", Reason: reason}))
}

// enter puts c under the window of token, which it finds or makes.
func (s *Server) enter(c net.Conn, r *bufio.Reader, token string, again bool) (*window, *link, error) {
	s.mu.Lock()
	s.shortenLocked()
	w := s.windows[token]
	reason := ""
	switch {
	case again && w == nil && s.seen[token]:
		reason = seenBefore
	case again && w == nil:
		reason = neverSeen
	case !again && w != nil:
		reason = duplicateToken
	}
	if reason != "" {
		s.mu.Unlock()
		return nil, nil, fmt.Errorf("%.8s: %w", token, refuse(c, reason))
	}
	defer s.mu.Unlock()
	if w == nil {
		w = s.addLocked(token)
	}
	if w.away != nil {
		w.away.Stop()
		w.away = nil
	}
	l, err := w.p.attach(c, r, frame{kind: kindControl, data: []byte(`{"type":"ok"}`)})
	if err != nil {
		return nil, nil, err
	}
	w.link = l
	s.log("%.8s: connected, again: %t", token, again)
	return w, l, nil
}

func (s *Server) addLocked(token string) *window {
	w := &window{token: token, p: newProtocol(clocks{
		keepAlive: or(s.KeepAlive, 5*time.Second),
		ack:       or(s.Ack, 2*time.Second),
		timeout:   20 * time.Second,
		forgiving: true,
	})}
	if s.windows == nil {
		s.windows, s.seen = map[string]*window{}, map[string]bool{}
	}
	s.windows[token], s.seen[token] = w, true
	go echo(w.p) // ends when p is closed, by forget
	return w
}

// shortenLocked: any handshake that succeeds shows that clients can connect, so those that are
// away are given less time. It counts from then, and never makes the wait longer.
func (s *Server) shortenLocked() {
	short := or(s.ShortGrace, 5*time.Minute)
	for _, w := range s.windows {
		if w.away != nil && time.Until(w.expires) > short {
			w.expires = time.Now().Add(short)
			w.away.Reset(short)
		}
	}
}

// lost begins the grace of w, whose connection l died.
func (s *Server) lost(ctx context.Context, w *window, l *link) {
	w.p.mu.Lock()
	cause := l.cause
	w.p.mu.Unlock()
	s.mu.Lock()
	if w.link != l {
		s.mu.Unlock()
		return
	}
	if ctx.Err() != nil || errors.Is(cause, ErrDisconnected) {
		s.mu.Unlock()
		s.forget(w, "left")
		return
	}
	grace := or(s.Grace, 3*time.Hour)
	w.expires = time.Now().Add(grace)
	w.away = time.AfterFunc(grace, func() { s.expire(w) })
	s.mu.Unlock()
	s.log("%.8s: lost: %v", w.token, cause)
	context.AfterFunc(ctx, func() { s.forget(w, "server ends") })
}

func (s *Server) expire(w *window) {
	s.mu.Lock()
	back := w.away == nil || time.Now().Before(w.expires)
	s.mu.Unlock()
	if !back {
		s.forget(w, "grace is over")
	}
}

func (s *Server) forget(w *window, why string) {
	s.mu.Lock()
	known := s.windows[w.token] == w
	delete(s.windows, w.token)
	if w.away != nil {
		w.away.Stop()
	}
	s.mu.Unlock()
	if known {
		s.log("%.8s: forgotten: %s", w.token, why)
	}
	w.p.close(false)
}

func echo(p *protocol) {
	for {
		m, ok := p.next()
		if !ok || p.send(m) != nil {
			return
		}
	}
}
