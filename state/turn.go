package state

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// turns is how many processes of a user dial one host at a time. sshd drops
	// connections from the eleventh on that has not logged in yet, of all users
	// together (MaxStartups 10:30:100).
	turns = 4
	// turnPatience bounds the wait: without a turn it is only less polite.
	turnPatience = 3 * time.Second
)

// Turn waits until fewer than four processes of this user are at work on key, at
// most 3 s or until ctx ends, and then goes on whatever happened: to reconnect is
// worth more than to be polite. When a machine wakes, all its connections come
// back at the same moment. The caller calls release when logged in; the end of
// the process does it too.
func (d Dir) Turn(ctx context.Context, key string) (release func()) {
	sum := sha256.Sum256([]byte(key))
	base := filepath.Join(string(d), "turn-"+hex.EncodeToString(sum[:8]))
	return await(ctx, func(ctx context.Context) *os.File {
		if d.make() != nil {
			return nil
		}
		return takeTurn(ctx, base)
	})
}

// await calls take, which may hang: the directory may be on a dead file server,
// where no call can be called off.
func await(ctx context.Context, take func(context.Context) *os.File) (release func()) {
	ctx, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	taken := make(chan *os.File)
	go func() { // ends soon after ctx, or when the file server answers
		slot := take(ctx)
		select {
		case taken <- slot:
		case <-ctx.Done():
			closeSlot(slot)
		}
	}()
	select {
	case slot := <-taken:
		// Ends at once, or when the file server answers.
		return sync.OnceFunc(func() { go closeSlot(slot) })
	case <-ctx.Done():
		return func() {}
	}
}

func closeSlot(slot *os.File) {
	if slot != nil {
		slot.Close()
	}
}

// takeTurn tries the slots in random order until one is free or ctx ends. It
// returns nil if there are no locks to be had.
func takeTurn(ctx context.Context, base string) *os.File {
	for ctx.Err() == nil {
		for _, i := range rand.Perm(turns) {
			slot, err := lockFile(fmt.Sprintf("%s-%d", base, i))
			if slot != nil || err != nil {
				return slot
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20*time.Millisecond + rand.N(40*time.Millisecond)):
		}
	}
	return nil
}
