//go:build darwin || freebsd

package relay

import "golang.org/x/sys/unix"

// peerUID is whose process connected to, or listened at, the other end. It is
// what getpeereid(3) asks.
func peerUID(fd int) (int, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return -1, err
	}
	return int(cred.Uid), nil
}
