package setup

import (
	"io/fs"
	"os"
)

// owner is left to the access list that a new file inherits from its folder.
type owner struct{}

func ownerOf(fs.FileInfo) owner           { return owner{} }
func links(fs.FileInfo) uint64            { return 1 }
func (owner) id() int                     { return -1 }
func (owner) mine() bool                  { return true }
func (owner) mayLead() bool               { return true }
func (owner) keepsGroup(fs.FileMode) bool { return true }
func (owner) give(*os.File, *file) error  { return nil }
func checkWritable(string, bool) error    { return nil }
func syncFolder(string) error             { return nil }
