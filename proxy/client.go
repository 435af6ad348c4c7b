package proxy

import (
	"os"
	"sync"
)

// Client is the ssh that runs us: the other ends of our stdin and stdout.
type Client struct {
	in, out *os.File
	gone    chan struct{}

	// held keeps the files given to us from being closed by their finalizers:
	// in and out share their descriptors.
	held [2]*os.File

	// Of Meet, for Splice: what the client has said so far, as far as a host may
	// have to be told it again, and a read of in that is under way.
	said  []byte
	ahead readAhead

	close, leave sync.Once
}

// NewClient takes over stdin and stdout. Pipes and sockets become
// non-blocking: a copy to a blocking pipe spins a core while its reader pauses
// (golang/go#75304). Terminals and files are left as they are, since others
// share them.
func NewClient(stdin, stdout *os.File) *Client {
	c := &Client{in: unblock(stdin), out: unblock(stdout), gone: make(chan struct{}), held: [2]*os.File{stdin, stdout}}
	go func() { // ends with the client, or with the process
		if waitReaderGone(c.out) {
			c.left()
		}
	}()
	return c
}

// Gone is closed when nobody can read our stdout any more: ssh has died or
// closed its end. Its stdin may still hold its last words.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// hasGone is Gone as of now.
func (c *Client) hasGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// left notes that nobody reads our stdout any more.
func (c *Client) left() { c.leave.Do(func() { close(c.gone) }) }

// closeOut is the EOF that ssh sees.
func (c *Client) closeOut() { c.close.Do(func() { c.out.Close() }) }
