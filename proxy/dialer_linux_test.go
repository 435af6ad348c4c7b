package proxy

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuse has the kernel answer this thread errno wherever it sets a socket option,
// for as long as the thread lives.
func refuse(level, option int, errno syscall.Errno) error {
	const number, second, third = 0, 24, 32 // in struct seccomp_data, little-endian
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(k, skip int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(skip), K: uint32(k)}
	}
	answer := func(what uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what} }
	filter := []unix.SockFilter{
		load(number), unless(unix.SYS_SETSOCKOPT, 5),
		load(second), unless(level, 3),
		load(third), unless(option, 1),
		answer(unix.SECCOMP_RET_ERRNO | uint32(errno)),
		answer(unix.SECCOMP_RET_ALLOW),
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}

// TestKeepAliveRefused: a system that does not have an option, or forbids it, has
// its connections all the same, with the options that it does have.
func TestKeepAliveRefused(t *testing.T) {
	host, port := echo(t)
	for _, tt := range []struct {
		name          string
		level, option int
		errno         syscall.Errno
		want          keptAlive
	}{
		{"user timeout", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, syscall.ENOPROTOOPT, keptAlive{probes: true, times: true}},
		{"times", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, syscall.ENOPROTOOPT, keptAlive{probes: true, timeout: true}},
		{"probes", unix.SOL_SOCKET, unix.SO_KEEPALIVE, syscall.EPERM, keptAlive{timeout: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			var conn net.Conn
			var err error
			done := make(chan struct{})
			go func() { // ends with the dial, and its thread with it
				defer close(done)
				runtime.LockOSThread()
				if err = refuse(tt.level, tt.option, tt.errno); err != nil {
					err = fmt.Errorf("seccomp: %w", err)
					return
				}
				d := &Dialer{TOS: -1, KeepAlive: true, Interval: 7 * time.Second, GiveUp: 70 * time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))}
				conn, err = d.Dial(t.Context(), host, port)
			}()
			if <-done; err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got := keepAliveOf(t, conn); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if got := log.String(); !strings.Contains(got, "keepalive not set") || !strings.Contains(got, tt.errno.Error()) {
				t.Errorf("log: got %q, want %q", got, tt.errno)
			}
			io.WriteString(conn, "over")
			if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
				t.Error(err)
			}
		})
	}
}

// keptAlive is which options a connection has as asked for by an Interval of 7 s
// and a GiveUp of 70 s.
type keptAlive struct{ probes, times, timeout bool }

func keepAliveOf(t *testing.T, conn net.Conn) (k keptAlive) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		is := func(level, option, want int) bool {
			got, err := unix.GetsockoptInt(int(fd), level, option)
			return err == nil && got == want
		}
		k.probes = is(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		k.times = is(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 7) && is(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 7)
		k.timeout = is(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 70000)
	})
	return k
}
