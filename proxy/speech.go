package proxy

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// maxSpeech is as much as is kept: what ends a command comes last.
const maxSpeech = 1024

// speech is what a command writes to stderr. Until its host has said something
// the user waits for it, and sees it. What comes later comes into the middle of a
// session, and is kept for the log. Its methods may be called on nil.
type speech struct {
	r, w *os.File
	done chan struct{} // closed when all is read

	mu     sync.Mutex // guards screen and kept
	screen *os.File   // nil: nobody is to see it
	kept   []byte
}

// listen makes the stderr of a command that has not been started. started, and
// at last end, are to be called.
func listen(cmd *exec.Cmd, screen *os.File) (*speech, error) {
	r, w, err := stderrLike(screen)
	if err != nil {
		return nil, err
	}
	cmd.Stderr = w
	s := &speech{r: r, w: w, done: make(chan struct{}), screen: screen}
	go s.copy() // ends with the last writer, or by end
	return s, nil
}

// started closes the command's end; a command that did not start ends us too.
func (s *speech) started() {
	if s != nil {
		s.w.Close()
	}
}

func (s *speech) copy() {
	defer close(s.done)
	defer s.r.Close()
	buf := make([]byte, maxSpeech)
	for {
		n, err := s.r.Read(buf)
		if screen := s.hear(buf[:n]); screen != nil {
			screen.Write(buf[:n])
		}
		if err != nil { // on a terminal EIO, which says no more than EOF
			return
		}
	}
}

// hear returns where to show p, or keeps it.
func (s *speech) hear(p []byte) (screen *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.screen == nil {
		s.kept = append(s.kept, p...)
		s.kept = s.kept[max(0, len(s.kept)-maxSpeech):]
	}
	return s.screen
}

// hush has nothing more shown.
func (s *speech) hush() {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.screen = nil
	}
}

// end waits for the last words of a command that has ended. What it left running
// may hold its stderr.
func (s *speech) end() {
	if s == nil {
		return
	}
	select {
	case <-s.done:
	case <-time.After(commandGrace):
		s.r.Close()
	}
}

// text is what was kept, as far as it is text.
func (s *speech) text() string {
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(strings.ReplaceAll(string(s.kept), "\r\n", "\n"), ""))
}
