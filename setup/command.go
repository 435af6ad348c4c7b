package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// ProgramError is a path that no ProxyCommand should name.
type ProgramError struct {
	Path    string
	Why     string
	Missing bool // there is no program; else it should be elsewhere
}

func (e *ProgramError) Error() string { return e.Path + ": " + e.Why }

// command is the text of our ProxyCommand.
func (s *Setup) command() (string, error) {
	program, err := word(s.Program, runtime.GOOS)
	if err != nil {
		return "", err
	}
	command := program + " proxy"
	if !s.isDefault() {
		file, err := word(s.configPath(), runtime.GOOS)
		if err != nil {
			return "", err
		}
		command += " -F " + file
	}
	return command + tokens(runtime.GOOS), nil
}

// tokens are what ssh tells the proxy. The shell is not to act on what a name or
// user holds: ssh lets * pass in the one, blanks and $ in the other
// (valid_hostname, valid_ruser in ssh.c of 9.6; before, nearly anything).
// CreateProcess knows double quotes alone.
func tokens(goos string) string {
	if goos == "windows" {
		return ` --alias "%n" --user "%r" "%h" %p`
	}
	return " --alias '%n' --user '%r' '%h' %p"
}

// word makes a path one word for every shell that ssh may hand it to ($SHELL -c
// "exec ...", be it sh, fish or csh), for clients that split it themselves, and,
// on Windows, for both CreateProcess and the sh of Git. A path that has no such
// form is refused.
func word(path, goos string) (string, error) {
	if goos == "windows" {
		path = strings.ReplaceAll(path, `\`, "/")
	}
	if i := strings.IndexAny(path, "\"$`\\!"); i >= 0 {
		return "", &ProgramError{Path: path, Why: fmt.Sprintf("has a %q, which shells do not agree on", path[i])}
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", &ProgramError{Path: path, Why: "has a control character"}
	}
	text := strings.ReplaceAll(path, "%", "%%")
	if goos != "windows" && strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@") == "" {
		return text, nil
	}
	return `"` + text + `"`, nil
}

// CheckLasting refuses a program that lies where programs do not stay: built by
// `go run`, or in a folder for temporary files.
func CheckLasting(program string) error {
	path := filepath.ToSlash(program)
	folders := []string{filepath.ToSlash(os.TempDir()), "/tmp", "/private/tmp", "/var/tmp", "/dev/shm", "/proc"}
	for _, dir := range folders {
		if strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") {
			return &ProgramError{Path: program, Why: "lies where files do not stay"}
		}
	}
	if strings.Contains(path, "/go-build") || strings.HasSuffix(path, " (deleted)") {
		return &ProgramError{Path: program, Why: "lies where files do not stay"}
	}
	return nil
}

// CheckProgram refuses a path that cannot be run: with it in a config no ssh
// would connect. The error is a *ProgramError.
func CheckProgram(path string) error {
	_, err := exec.LookPath(path)
	if failed := (*exec.Error)(nil); errors.As(err, &failed) {
		err = failed.Err
	}
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		err = failed.Err
	}
	if err != nil {
		return &ProgramError{Path: path, Why: "is no program: " + err.Error(), Missing: true}
	}
	return nil
}
