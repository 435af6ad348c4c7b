//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package state

import (
	"errors"
	"os"
)

// lockFile: there are no advisory locks here.
func lockFile(string) (*os.File, error) { return nil, errors.ErrUnsupported }
