package oneproc

import (
	"runtime"
	"syscall"
)

const (
	procs = "GOMAXPROCS"
	// before tells the second start what procs was at the first: "=VALUE", or
	// nothing where it was not set.
	before = "SSH_STAY_" + procs
)

// limited says that the runtime began with one processor. It does not return where
// the program starts anew; where that fails, the program goes on as it is.
func limited() bool {
	if was, again := syscall.Getenv(before); again {
		syscall.Unsetenv(before)
		if is, _ := syscall.Getenv(procs); is != "1" || runtime.GOMAXPROCS(0) != 1 {
			return false // it was not us who set it
		}
		if was == "" {
			syscall.Unsetenv(procs)
		} else {
			syscall.Setenv(procs, was[1:])
		}
		return true
	}
	if args := arguments(); len(args) > 1 && args[1] == "proxy" {
		anew(args)
	}
	return false
}

// anew returns only where the program cannot be started once more.
func anew(args []string) {
	var exe [4096]byte
	n, err := syscall.Readlink("/proc/self/exe", exe[:])
	if err != nil || n == len(exe) {
		return
	}
	path := string(exe[:n])
	if !same(path, "/proc/self/exe") { // removed, replaced, or of another root
		return
	}
	was, set := syscall.Getenv(procs)
	if set {
		was = "=" + was
	}
	// Of a name that is there twice the first counts, for Go and libc alike.
	env := append([]string{procs + "=1", before + "=" + was}, syscall.Environ()...)
	syscall.Exec(path, args, env)
}

func same(a, b string) bool {
	var x, y syscall.Stat_t
	return syscall.Stat(a, &x) == nil && syscall.Stat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// arguments are those of the command line, which package os does not have yet.
func arguments() (args []string) {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	var arg []byte
	for buf := make([]byte, 4096); ; {
		n, err := syscall.Read(fd, buf)
		if n <= 0 || err != nil {
			return args
		}
		for _, c := range buf[:n] {
			if c != 0 {
				arg = append(arg, c)
				continue
			}
			args, arg = append(args, string(arg)), arg[:0]
		}
	}
}
