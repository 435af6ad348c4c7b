//go:build unix

package auth

import (
	"net"
	"os"
	"syscall"
)

// checkMode refuses a private key of ours that others can read, as ssh does
// (authfile.c); a key that another user owns is not checked.
func checkMode(file string, info os.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) == os.Getuid() && info.Mode().Perm()&0o077 != 0 {
		return &TooOpenError{file, info.Mode().Perm()}
	}
	return nil
}

func dialAgent(path string) (net.Conn, error) { return net.Dial("unix", path) }
