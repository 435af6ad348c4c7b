package keepalive

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// clockTimer is a timer of the kernel that is never due: it is cancelled when the
// wall clock is set, which a sleep of the machine does as well, since the
// monotonic clock stands still in it (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
type clockTimer struct {
	file  *os.File
	conts chan os.Signal
}

// never is a wall time, in seconds, that the kernel takes for a timer.
const never = 1 << 32

func openClocks() (clocks, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	due := unix.ItimerSpec{Value: unix.NsecToTimespec(never * 1e9)}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &due, nil); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("timerfd_settime", err)
	}
	c := &clockTimer{os.NewFile(uintptr(fd), "timerfd"), make(chan os.Signal, 1)}
	signal.Notify(c.conts, syscall.SIGCONT)
	return c, nil
}

func (c *clockTimer) watch(ctx context.Context, set, continued func()) error {
	defer signal.Stop(c.conts)
	sets := make(chan error, 1)
	go func() { sets <- c.read(set) }() // ends when the file is closed
	for {
		select {
		case <-ctx.Done():
			c.file.Close()
			<-sets
			return nil
		case err := <-sets:
			c.file.Close()
			return err
		case <-c.conts:
			continued()
		}
	}
}

// read waits for one cancellation after the other: the kernel goes on with a
// timer that was told to be cancelled.
func (c *clockTimer) read(set func()) error {
	for {
		_, err := c.file.Read(make([]byte, 8))
		if err != nil && !errors.Is(err, unix.ECANCELED) {
			return err
		}
		set()
	}
}
