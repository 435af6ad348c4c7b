package config

import "io/fs"

// trusted leaves the access list of a file to Windows.
func trusted(fs.FileInfo, func() bool) bool { return true }
