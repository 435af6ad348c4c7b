//go:build unix

package setup

import (
	"errors"
	"io/fs"
	"os"
	"slices"
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

func (o owner) id() int    { return o.uid }
func (o owner) mine() bool { return !o.known || o.uid == os.Geteuid() }

// mayLead says whether to follow a link of this owner to a file of ours: root
// must not, where a user could not have written there.
func (o owner) mayLead() bool { return os.Geteuid() != 0 || o.mine() }

// keepsGroup says whether a new file can have this group, or need not: where the
// group may do what all others may, none gains or loses by another.
func (o owner) keepsGroup(mode fs.FileMode) bool {
	if !o.known || mode>>3&7 == mode&7 || os.Geteuid() == 0 || o.gid == os.Getegid() {
		return true
	}
	groups, err := os.Getgroups()
	return err == nil && slices.Contains(groups, o.gid)
}

// give makes a new file's group this one, where it is not and it matters: the
// owner is already.
func (o owner) give(f *os.File, as *file) error {
	info, err := f.Stat()
	if err != nil || !o.known || ownerOf(info) == o {
		return err
	}
	err = f.Chown(-1, o.gid)
	// Root too cannot, without the capability, or to a group outside its user
	// namespace.
	if err == nil || !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	if as.mode>>3&7 != as.mode&7 {
		return &GroupError{as.target}
	}
	return nil
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
