package main

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// textDelay is when a session has started for good.
const textDelay = 2 * time.Second

// dropText unmaps, once a session has started, what that touched of the
// program's text and constants. They are clean pages of the file: what a session
// needs comes back by a few soft faults, and the rest, some 4 MiB of parsers
// and handshakes, no longer counts as memory of each proxy.
func dropText() { time.AfterFunc(textDelay, unmapText) }

func unmapText() {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	exe, _ := os.Readlink("/proc/self/exe")
	var ranges [][2]uintptr
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if !bytes.HasSuffix(lines.Bytes(), []byte(exe)) {
			continue
		}
		fields := strings.Fields(lines.Text()) // FROM-TO MODE OFFSET DEVICE INODE PATH
		if len(fields) != 6 || fields[5] != exe {
			continue
		}
		low, high, _ := strings.Cut(fields[0], "-")
		from, err1 := strconv.ParseUint(low, 16, 64)
		to, err2 := strconv.ParseUint(high, 16, 64)
		// Constants of a program that was loaded elsewhere than linked hold
		// relocated pointers, which the file does not have.
		clean := fields[1] == "r-xp" || fields[1] == "r--p" && from < 1<<32
		if err1 == nil && err2 == nil && clean {
			ranges = append(ranges, [2]uintptr{uintptr(from), uintptr(to)})
		}
	}
	maps.Close() // before, or it brings pages back
	for _, r := range ranges {
		unix.Syscall(unix.SYS_MADVISE, r[0], r[1]-r[0], unix.MADV_DONTNEED)
	}
}
