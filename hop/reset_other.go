//go:build !windows

package hop

import "syscall"

// resetErrnos are what a connection that the peer has reset answers.
func resetErrnos() []error { return []error{syscall.ECONNRESET, syscall.EPIPE} }
