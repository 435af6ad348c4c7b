//go:build unix

package config

import (
	"bufio"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// trusted is OpenSSH's rule: the file is root's or ours, and no one else may
// write it. Debian's ssh lets a group write that has no one but us in it.
func trusted(info fs.FileInfo, debian func() bool) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	if st.Uid != 0 && st.Uid != uint32(os.Getuid()) || info.Mode()&0o002 != 0 {
		return false
	}
	return info.Mode()&0o020 == 0 || debian() && groupIsOurs(st.Gid)
}

// groupIsOurs says whether our user is the one member of a group: no other has
// it as the primary one, and it lists no other.
func groupIsOurs(gid uint32) bool {
	uid, group := strconv.Itoa(os.Getuid()), strconv.FormatUint(uint64(gid), 10)
	name, members := "", 0
	for f := range fields("/etc/passwd", 4) {
		if f[2] == uid && name == "" {
			name = f[0]
		}
		if f[3] == group {
			members++
			if f[2] != uid {
				return false
			}
		}
	}
	for f := range fields("/etc/group", 4) {
		if f[2] != group {
			continue
		}
		if f[3] != "" {
			return f[3] == name
		}
		return members > 0
	}
	return false
}

// fields yields the lines of a colon-separated file that have at least n fields.
func fields(file string, n int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		f, err := os.Open(file)
		if err != nil {
			return
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if parts := strings.Split(s.Text(), ":"); len(parts) >= n && !yield(parts) {
				return
			}
		}
	}
}
