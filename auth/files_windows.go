package auth

import (
	"net"
	"os"

	"github.com/Microsoft/go-winio"
)

// checkMode leaves access control lists to the system.
func checkMode(string, os.FileInfo) error { return nil }

func dialAgent(path string) (net.Conn, error) { return winio.DialPipe(path, nil) }
