package hop

import "golang.org/x/sys/windows"

// resetErrnos are what a connection that the peer has reset answers. Those of
// package syscall are of no error of Windows.
func resetErrnos() []error { return []error{windows.WSAECONNRESET, windows.WSAECONNABORTED} }
