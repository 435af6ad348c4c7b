//go:build darwin || freebsd

package relay

import "golang.org/x/sys/unix"

// bootID changes with each boot. FreeBSD has none.
func bootID() string {
	id, _ := unix.Sysctl("kern.bootsessionuuid")
	return id
}
