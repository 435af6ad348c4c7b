//go:build unix

package setup

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// owner is whose a file is, or shall be.
type owner struct {
	uid, gid int
	known    bool
}

func ownerOf(info fs.FileInfo) owner {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return owner{}
	}
	return owner{int(st.Uid), int(st.Gid), true}
}

func links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

// writable says whether a new file can have this owner.
func (o owner) writable() bool {
	return os.Geteuid() == 0 || o.uid == os.Geteuid()
}

// mayPointTo says whether to follow a link of this owner to a file of that one:
// root must not, where a user could not have written there.
func (o owner) mayPointTo(target owner) bool {
	return os.Geteuid() != 0 || o.uid == 0 || o.uid == target.uid
}

// give makes a new file's owner this one, where it is not.
func (o owner) give(f *os.File) error {
	info, err := f.Stat()
	if err != nil || !o.known || ownerOf(info) == o {
		return err
	}
	if os.Geteuid() != 0 && o.uid != os.Geteuid() {
		return nil // a folder that others own and we may write: a new file is ours
	}
	return f.Chown(o.uid, o.gid)
}

func (o owner) giveFolder(dir string) error {
	if os.Geteuid() != 0 || !o.known || o.uid == 0 {
		return nil
	}
	return os.Lchown(dir, o.uid, o.gid)
}

// checkWritable asks the kernel, which knows of read-only mounts and immutable
// files. A file's own mode does not count: it is replaced, not written.
func checkWritable(path string, dir bool) error {
	err := unix.Access(path, unix.W_OK)
	if err == unix.EACCES && !dir {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	d.Sync() // some file systems cannot
	return nil
}
