//go:build !linux

package nowait

import "io"

// Reader is c.
func Reader(c ReadConn) io.Reader { return c }

// Writer is c.
func Writer(c WriteConn) io.Writer { return c }
