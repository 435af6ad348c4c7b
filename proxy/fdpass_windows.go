package proxy

import (
	"errors"
	"os"
)

// CanPass is false: Windows has no descriptors to pass.
func CanPass(*os.File) bool { return false }

// Pass fails: Windows has no descriptors to pass.
func Pass(*os.File, *Conn) error {
	return errors.New("pass descriptor: not on Windows")
}
