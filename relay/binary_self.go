//go:build !relays

package relay

import (
	"os"
	"runtime"
)

// Binaries are the programs that this build can bring to a far end: itself, to
// one of its own platform. With the build tag relays it carries one for each
// platform that a relay runs on.
func Binaries() ([]Binary, error) {
	if unames[runtime.GOOS+"/"+runtime.GOARCH] == nil {
		return nil, nil
	}
	path := "/proc/self/exe" // the running one, when an update has replaced the file
	if runtime.GOOS != "linux" {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	self, err := fileBinary(runtime.GOOS, runtime.GOARCH, path)
	if err != nil {
		return nil, err
	}
	return []Binary{self}, nil
}
