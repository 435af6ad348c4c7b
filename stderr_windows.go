package main

import "os"

func writeStderr(p []byte) { os.Stderr.Write(p) }
