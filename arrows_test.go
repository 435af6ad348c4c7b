package main

import (
	"go/build"
	"slices"
	"strings"
	"testing"
)

// arrows are the imports allowed between our packages. Everything else in a
// package is the standard library, golang.org/x, or a library of its own trade
// listed in libraries.
var arrows = map[string][]string{
	"auth":      {"pattern"},
	"config":    {"pattern"},
	"demo":      {},
	"doctor":    {},
	"hop":       {"auth", "internal/nowait", "keepalive"},
	"keepalive": {},
	"pattern":   {},
	"prompt":    {},
	"proxy":     {"hop", "internal/nowait", "keepalive", "stream"},
	"relay":     {"internal/nowait", "keepalive", "stream"},
	"setup":     {"config", "pattern"},
	"state":     {},
	"stream":    {},
	"wrapper":   {"config"},

	"internal/nowait":  {},
	"internal/oneproc": {},
	"relay/stay-relay": {"internal/oneproc", "relay"},
}

var libraries = map[string][]string{
	"auth":   {"github.com/Microsoft/go-winio"},
	"config": {"github.com/kevinburke/ssh_config"},
	"proxy":  {"github.com/cenkalti/backoff/v5", "github.com/creack/pty"},
	"state":  {"github.com/adrg/xdg"},
}

func TestArrows(t *testing.T) {
	for pkg, allowed := range arrows {
		for _, goos := range []string{"linux", "darwin", "windows"} {
			ctx := build.Default
			ctx.GOOS, ctx.CgoEnabled = goos, false
			p, err := ctx.ImportDir(pkg, 0)
			if err != nil {
				t.Fatalf("%s: %v", pkg, err)
			}
			for _, imp := range p.Imports {
				own, isOwn := strings.CutPrefix(imp, "ssh-stay/")
				switch {
				case isOwn && !slices.Contains(allowed, own):
					t.Errorf("%s imports %s: not among the arrows", pkg, imp)
				case !isOwn && strings.Contains(imp, ".") && !strings.HasPrefix(imp, "golang.org/x/") && !slices.Contains(libraries[pkg], imp):
					t.Errorf("%s imports %s: not among its libraries", pkg, imp)
				}
			}
		}
	}
	// A package that is not in the table has no rules: none may be missing.
	out := goList(t)
	if len(out) < len(arrows) {
		t.Fatalf("found %d packages, want at least %d", len(out), len(arrows))
	}
	for _, pkg := range out {
		if _, known := arrows[pkg]; !known && !strings.HasPrefix(pkg, "internal/") {
			t.Errorf("package %s is missing from the arrows", pkg)
		}
	}
}
