//go:build relays

package relay

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// files are what `make relays` made. The sums are those of the programs before
// they were compressed.
//
//go:embed bin/SHA256SUMS bin/*.gz
var files embed.FS

// Binaries are the programs that this build can bring to a far end.
func Binaries() ([]Binary, error) {
	sums, err := fs.ReadFile(files, "bin/SHA256SUMS")
	if err != nil {
		return nil, err
	}
	var all []Binary
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		goos, arch, ok := strings.Cut(strings.TrimPrefix(name, "stay-relay-"), "-")
		if !ok || unames[goos+"/"+arch] == nil {
			return nil, fmt.Errorf("bin/SHA256SUMS: no platform in %q", line)
		}
		all = append(all, Binary{goos, arch, sum, func(w io.Writer, progress func(done, total int64)) error {
			f, err := files.Open("bin/" + name + ".gz")
			if err != nil {
				return err
			}
			info, err := f.Stat()
			if err != nil {
				return err
			}
			return copyTold(w, f, info.Size(), progress)
		}})
	}
	return all, nil
}
