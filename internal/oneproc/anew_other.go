//go:build !linux

package oneproc

func limited() bool { return false }
