package state

import (
	"os"
	"time"
)

// Unasked is how often a session writes its figures without being asked, where
// they have changed: there are no signals here.
const Unasked = 30 * time.Second

// Asked never has an element here.
func Asked() <-chan os.Signal { return nil }

func ask(process) bool { return false }
