package setup

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// ProgramError is a path that no ProxyCommand should name.
type ProgramError struct {
	Path string
	Why  string
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
	return command + " --alias %n --user %r %h %p", nil
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
		return "", &ProgramError{path, fmt.Sprintf("has a %q, which shells do not agree on", path[i])}
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", &ProgramError{path, "has a control character"}
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
			return &ProgramError{program, "lies where files do not stay"}
		}
	}
	if strings.Contains(path, "/go-build") || strings.HasSuffix(path, " (deleted)") {
		return &ProgramError{program, "lies where files do not stay"}
	}
	return nil
}
