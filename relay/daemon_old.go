//go:build linux || darwin || freebsd

package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// young files may belong to an upload or a start that is under way.
const young = time.Hour

// uploaded returns the version of a binary that a client has uploaded, which is
// named by its SHA-256; of another file it is empty.
func uploaded(path string) string {
	sum, ok := strings.CutPrefix(filepath.Base(path), "relay-")
	if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != sha256.Size {
		return ""
	}
	return sum[:16]
}

// removeOld removes what other versions have left, if none of their daemons
// lives. The caller is the daemon of version own. Errors leave a file where it is.
func (p *program) removeOld(own string) {
	places := p.places(own)
	for _, at := range places {
		if at.safe() == nil {
			at.removeOld()
		}
	}
	// A binary that somebody installed is none of our business.
	exe, err := os.Executable()
	if err != nil || uploaded(exe) == "" {
		return
	}
	binaries, _ := filepath.Glob(filepath.Join(filepath.Dir(exe), "relay-*"))
	for _, path := range binaries {
		version := uploaded(path)
		if version != "" && version != own && isOld(path) && !inUse(places, version) {
			os.Remove(path)
		}
	}
}

// removeOld removes sockets and locks of other versions. They are removed under
// their lock, and who takes a lock looks whether it is still in place.
func (at place) removeOld() {
	locks, _ := filepath.Glob(filepath.Join(at.dir, "*.lock"))
	for _, path := range locks {
		old := at
		old.version = strings.TrimSuffix(filepath.Base(path), ".lock")
		if old.version == at.version || !isOld(path) {
			continue
		}
		lock, err := takeLock(path)
		if err != nil {
			continue
		}
		os.Remove(old.fresh())
		os.Remove(old.socket())
		os.Remove(path)
		lock.Close()
	}
}

// inUse says whether a daemon of that version lives, on this machine or, as far
// as locks tell, on another that shares the home. One that cannot be asked may.
func inUse(places []place, version string) bool {
	for _, at := range places {
		locks, _ := filepath.Glob(filepath.Join(at.base, "run*", version+".lock"))
		for _, path := range locks {
			if held, err := isHeld(path); held || err != nil {
				return true
			}
		}
	}
	return false
}

func isOld(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && time.Since(info.ModTime()) > young
}
