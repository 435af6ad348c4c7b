package state

import "os"

// ours leaves access control lists to the system.
func ours(os.FileInfo) bool { return true }
