// Command stay-relay is the far end of a resumed stream and nothing else: a
// small binary that ssh-stay uploads to hosts where it is not installed. It is
// called as ssh-stay would be, `stay-relay relay open`.
package main

import (
	"fmt"
	"os"

	_ "ssh-stay/internal/oneproc"
	"ssh-stay/relay"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "relay" {
		fmt.Fprintln(os.Stderr, "usage: stay-relay relay open|attach|daemon|version")
		os.Exit(2)
	}
	os.Exit(relay.Main(os.Args[2:], relay.NewServer))
}
