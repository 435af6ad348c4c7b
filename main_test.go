package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(runtime.NumCPU()) // which oneproc has taken from the tests
	testscript.Main(m, map[string]func(){
		"ssh-stay": func() { os.Exit(run(os.Args[1:])) },
	})
}

// TestScripts runs testdata/script: the command line as a user meets it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
	})
}

// goList is our packages, without the module's name and itself.
func goList(t *testing.T) []string {
	out, err := exec.Command("go", "list", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []string
	for line := range strings.Lines(string(out)) {
		if pkg, ok := strings.CutPrefix(strings.TrimSpace(line), "ssh-stay/"); ok {
			pkgs = append(pkgs, pkg)
		}
	}
	return pkgs
}
