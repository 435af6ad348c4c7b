//go:build !linux && !darwin && !windows

package keepalive

import "errors"

// readTCP: this system's account of a connection is not known here.
func readTCP(uintptr) (TCPInfo, error) { return TCPInfo{}, errors.ErrUnsupported }
