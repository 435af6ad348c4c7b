//go:build unix

package prompt

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// effectGrace is what a signal has for taking effect: the program's own handler
// for ending ctx, the kernel for ending or stopping us.
const effectGrace = 100 * time.Millisecond

// caughtSignals are those that would leave a terminal without echo behind.
// SIGTTIN and SIGTTOU are not among them: see readByte and suspend.
var caughtSignals = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGTSTP}

// alarm makes fd readable when ctx ends or a signal comes, for a select.
type alarm struct {
	fd      int
	r, w    *os.File
	signals chan os.Signal
	quit    chan struct{}         // closed by stop
	ended   chan []syscall.Signal // the goroutine's end, and what it took
}

func newAlarm(ctx context.Context) (*alarm, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	a := &alarm{
		fd: int(r.Fd()), r: r, w: w,
		signals: make(chan os.Signal, len(caughtSignals)),
		quit:    make(chan struct{}),
		ended:   make(chan []syscall.Signal, 1),
	}
	if a.fd >= unix.FD_SETSIZE {
		r.Close()
		w.Close()
		return nil, unix.EMFILE
	}
	for _, sig := range caughtSignals {
		// nohup's SIGHUP has no effect to prevent.
		if !signal.Ignored(sig) {
			signal.Notify(a.signals, sig)
		}
	}
	go a.watch(ctx) // ends with stop, which waits for it
	return a, nil
}

func (a *alarm) watch(ctx context.Context) {
	var caught []syscall.Signal
	select {
	case sig := <-a.signals:
		caught = append(caught, sig.(syscall.Signal))
	case <-ctx.Done():
	case <-a.quit:
	}
	a.w.Close()
	a.ended <- caught
}

// stop lets signals have their effect again and returns those that had none.
func (a *alarm) stop() []syscall.Signal {
	signal.Stop(a.signals)
	close(a.quit)
	caught := <-a.ended
	a.r.Close()
	for {
		select {
		case sig := <-a.signals:
			caught = append(caught, sig.(syscall.Signal))
		default:
			return caught
		}
	}
}

// deliver lets the signals have the effect that they would have had without us:
// nil after a stop, else we are ended or the program has a handler.
func deliver(ctx context.Context, caught []syscall.Signal) (err error) {
	for _, sig := range caught {
		if sig == syscall.SIGTSTP {
			suspend(ctx)
			continue
		}
		err = fmt.Errorf("interrupted by signal: %v", sig)
		// The program's own handler has had the signal too. Where it ends ctx
		// that is all; a second one could find the handler gone.
		settle(ctx, nil)
		if ctx.Err() != nil {
			return err
		}
		unix.Kill(unix.Getpid(), sig)
		settle(ctx, nil)
	}
	return err
}

// suspend stops us, and tells after SIGCONT whether it did: in an orphaned
// process group there is no one to continue us, and stops have no effect.
//
// Once Notify has had SIGTSTP, Go keeps its handler, even after Reset, and drops
// the signal (runtime.sigdisable, Go 1.26). SIGTTIN, which nobody catches, stops
// by the same rules; SIGSTOP would stop an orphan, too, and for ever.
func suspend(ctx context.Context) (stopped bool) {
	cont := make(chan os.Signal, 1)
	signal.Notify(cont, syscall.SIGCONT)
	defer signal.Stop(cont)
	unix.Kill(unix.Getpid(), syscall.SIGTTIN)
	// The signal may go to another thread, and this one run on until it stops.
	// After a long stop the timer may be seen before SIGCONT is: look twice.
	for range 2 {
		if settle(ctx, cont) {
			return true
		}
	}
	return false
}

// settle waits for a signal on c, the end of ctx, or effectGrace. It tells
// whether the signal came.
func settle(ctx context.Context, c <-chan os.Signal) bool {
	timer := time.NewTimer(effectGrace)
	defer timer.Stop()
	select {
	case <-c:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}
