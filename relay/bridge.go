//go:build linux || darwin || freebsd

package relay

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bridge connects the channel that sshd runs us for with the daemon.
func (p *program) bridge(start bool) int {
	closeOnExec()
	version, err := ownVersion()
	if err != nil {
		mark("error", err.Error())
		return 1
	}
	conn, err := p.reach(p.places(version), start)
	if errors.Is(err, errGone) {
		mark("gone", thisMachine().String())
		return 1
	}
	if err != nil {
		mark("error", err.Error())
		return 1
	}
	// The daemon speaks as soon as it has the descriptors: ours comes before.
	ip, port := sshdAddress()
	mark("ready", strings.TrimSpace(thisMachine().String()+" "+ip+" "+port))
	rights := unix.UnixRights(0, 1)
	if err := again(func() error { return unix.Sendmsg(conn, []byte{0}, rights, nil, 0) }); err != nil {
		fmt.Fprintln(os.Stderr, "ssh-stay relay: hand over:", err)
		return 1
	}
	return doze(conn)
}

// closeOnExec keeps what a login shell left open from the daemon and the shell
// that wait for hours.
func closeOnExec() {
	open, _ := os.ReadDir("/dev/fd")
	for _, entry := range open {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// reach returns a connection that a daemon has greeted. It starts over whenever
// the daemon goes meanwhile: one without streams may be about to exit.
func (p *program) reach(places []place, start bool) (int, error) {
	deadline := time.Now().Add(p.patience)
	for {
		conn, err := p.find(places)
		if err == nil {
			return conn, nil
		}
		if errors.Is(err, errGone) || errors.Is(err, errUnseen) {
			if !start {
				return -1, err
			}
			if err = p.start(places); err != nil && !errors.Is(err, errHeld) {
				return -1, err
			}
		}
		if time.Now().After(deadline) {
			return -1, fmt.Errorf("no relay answers: %w", err)
		}
		if err != nil {
			time.Sleep(time.Millisecond + rand.N(20*time.Millisecond))
		}
	}
}

// find connects with a daemon that lives. errGone: none does, anywhere. errUnseen:
// none that can be seen.
func (p *program) find(places []place) (int, error) {
	var unseen error // the first
	for _, at := range places {
		living, err := at.living()
		if living {
			return at.dial(p.patience)
		}
		unseen = cmp.Or(unseen, err)
	}
	conn, err := p.findRenamed(places)
	if errors.Is(err, errGone) {
		err = cmp.Or(unseen, err)
	}
	return conn, err
}

// findRenamed looks where a daemon of this machine is that had another name then.
// A lock does not tell: on NFS another machine may hold it. A socket does, since
// it refuses all but those of its own kernel.
func (p *program) findRenamed(places []place) (int, error) {
	var unseen error
	for _, place := range places {
		siblings, err := place.siblings()
		unseen = cmp.Or(unseen, err)
		for _, at := range siblings {
			living, err := at.living()
			unseen = cmp.Or(unseen, err)
			if !living {
				continue
			}
			conn, err := at.dial(p.patience)
			if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOENT) {
				return conn, err
			}
		}
	}
	return -1, cmp.Or(unseen, errGone)
}

// start starts a daemon in the first place that takes it. errHeld: another
// bridge does so now.
func (p *program) start(places []place) error {
	var failed error
	for _, at := range places {
		err := at.start(places)
		if err == nil || errors.Is(err, errHeld) {
			return err
		}
		failed = errors.Join(failed, err)
	}
	if failed == nil {
		return errors.New("every path for the socket is too long")
	}
	return failed
}

// start makes the socket and starts the daemon under the lock, which the
// daemon inherits; nothing of either stays here.
func (at place) start(places []place) error {
	if err := at.make(); err != nil {
		return err
	}
	lock, err := takeLock(at.lock())
	if err != nil {
		return err
	}
	defer lock.Close()
	// Another bridge may have found this place full a moment ago, and taken
	// the next.
	for _, other := range places {
		if living, _ := other.living(); living && other != at {
			return errHeld
		}
	}
	listener, err := at.listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	daemon, err := spawn(listener, lock)
	if err != nil {
		return err
	}
	if warning := leaveSession(daemon.Pid); warning != "" {
		mark("warn", warning)
	}
	return daemon.Release()
}

// spawn starts a daemon that has nothing of this channel.
func spawn(listener, lock *os.File) (*os.Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	return os.StartProcess(exe, []string{exe, "relay", "daemon"}, &os.ProcAttr{
		Dir:   "/",
		Files: []*os.File{null, null, null, listener, lock},
		Sys:   &unix.SysProcAttr{Setsid: true},
	})
}

// doze returns when the daemon closes conn, since the channel is used no more.
// It keeps no descriptor of the channel but stderr, which sshd waits for. What
// dozes, for hours maybe, is a shell if it can: it has a tenth of our memory.
func doze(conn int) int {
	null, err := unix.Open(os.DevNull, unix.O_RDWR, 0)
	if err != nil {
		return 1
	}
	if err := errors.Join(unix.Dup2(conn, 0), unix.Dup2(null, 1)); err != nil {
		return 1
	}
	unix.Close(conn)
	unix.Close(null)
	// No environment: it could define a function named read.
	unix.Exec("/bin/sh", []string{"sh", "-c", "read x; exit 0", "ssh-stay-relay"}, nil)
	var b [1]byte
	again(func() error { _, err := unix.Read(0, b[:]); return err })
	return 0
}
