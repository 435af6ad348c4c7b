//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestNewcomer runs testdata/newcomer: README's way from the first command to the
// last, by an account of its own, with the real ssh.
func TestNewcomer(t *testing.T) {
	n := newNewcomer(t)
	n.Peer("setpriv")
	bin := t.TempDir()
	for name, program := range map[string]string{"ssh-stay": n.bin, "ssh": n.Peer("ssh")} {
		as := fmt.Sprintf("#!/bin/sh\ncd %q\nexec setpriv --reuid %d --regid %d --clear-groups env -u XDG_STATE_HOME -u TMPDIR HOME=%q PATH=%q SHELL=/bin/sh %q \"$@\"\n",
			n.Home, n.id.Uid, n.id.Gid, n.Home, filepath.Dir(n.bin)+":"+os.Getenv("PATH"), program)
		n.must(os.WriteFile(filepath.Join(bin, name), []byte(as), 0o755))
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/newcomer",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+":"+env.Getenv("PATH"))
			env.Setenv("BIN", n.bin)
			env.Setenv("CONFIG", n.config)
			env.Setenv("OWN", filepath.Join(filepath.Dir(n.config), "ssh-stay.conf"))
			return nil
		},
	})
}
