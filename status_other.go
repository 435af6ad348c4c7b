//go:build !windows

package main

import "os"

// takesEscapes says whether a terminal understands escape sequences: all do here.
func takesEscapes(*os.File) bool { return true }
