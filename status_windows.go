package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// takesEscapes has the console understand escape sequences, which older ones do
// on request alone, and says whether it does.
func takesEscapes(f *os.File) bool {
	var mode uint32
	h := windows.Handle(f.Fd())
	if windows.GetConsoleMode(h, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
