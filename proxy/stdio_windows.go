package proxy

import "os"

// unblock leaves f alone: the runtime reads Windows pipes as they are.
func unblock(f *os.File) *os.File { return f }

// isPipeOrSocket is of no use here: nothing splices.
func isPipeOrSocket(*os.File) bool { return false }

func growPipe(*os.File, int) {}

// waitReaderGone cannot wait here; ssh on Windows ends us itself
// (TerminateProcess).
func waitReaderGone(*os.File) bool { return false }

func hangUp(p *os.Process) { p.Kill() }
