package vscode

import (
	"context"
	"errors"
	"sync"
)

// errEnded says that an ssh ended while something was still expected of it.
var errEnded = errors.New("ssh ended")

// transcript is what a program has said so far.
type transcript struct {
	mu    sync.Mutex // guards what follows
	text  []byte
	grown chan struct{} // closed by the next Write; nil while nobody waits
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if t.grown != nil {
		close(t.grown)
		t.grown = nil
	}
	return len(p), nil
}

func (t *transcript) String() string {
	text, _ := t.look()
	return text
}

func (t *transcript) look() (string, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.grown == nil {
		t.grown = make(chan struct{})
	}
	return string(t.text), t.grown
}

// await waits until ok takes the text, which it is shown each time that it has
// grown. The errors are errEnded and the context's.
func (t *transcript) await(ctx context.Context, ended <-chan struct{}, ok func(text string) bool) error {
	for {
		text, grown := t.look()
		if ok(text) {
			return nil
		}
		select {
		case <-grown:
		case <-ended:
			if ok(t.String()) {
				return nil
			}
			return errEnded
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
