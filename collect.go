package main

import (
	"runtime"
	"runtime/debug"
)

// smallEnough is memory that is left to itself: all that the runtime has, of which
// the heap is less than half then. Without us it is collected from 4 MiB of heap on.
const smallEnough = 12 << 20

// deferCollection keeps the garbage collector away while the process is small. Go
// runs it every two minutes at least, and its first run takes a quarter of a
// megabyte that an idle proxy, which makes no garbage, does not get back. From
// smallEnough on everything is as ever.
func deferCollection() {
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(smallEnough)
	first := &struct{ self any }{}
	runtime.AddCleanup(first, func(struct{}) { // after the first run
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}, struct{}{})
}
