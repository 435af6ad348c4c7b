package wrapper

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

var (
	// ErrNoSSH is a PATH without an ssh other than this program.
	ErrNoSSH = errors.New("no ssh in PATH")
	// ErrLoop is an ssh in PATH that runs this program again.
	ErrLoop = errors.New("the ssh in PATH is ssh-stay again")
)

// program is how ssh's file is called.
func program() string {
	if runtime.GOOS == "windows" {
		return "ssh.exe"
	}
	return "ssh"
}

// IsSSH says whether a program was called as ssh: args as os.Args. As the
// ProxyCommand of a file of that name it is called with words that ssh would
// refuse behind a host.
func IsSSH(args []string) bool {
	if len(args) == 0 {
		return false
	}
	name := args[0][strings.LastIndexAny(args[0], `/\`)+1:]
	if runtime.GOOS == "windows" {
		name = strings.TrimSuffix(strings.ToLower(name), ".exe")
	}
	return name == "ssh" && (len(args) < 3 || args[1] != "proxy" || args[2] != "--alias")
}

// FindSSH returns the first ssh in PATH that is not this program, under whatever
// link or as whatever copy.
func FindSSH() (string, error) {
	self, err := Self()
	if err != nil {
		return "", err
	}
	own, err := os.Stat(self)
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			continue // what the working directory holds is not the user's choice
		}
		path := filepath.Join(dir, program())
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || runtime.GOOS != "windows" && info.Mode()&0o111 == 0 {
			continue
		}
		if os.SameFile(own, info) || own.Size() == info.Size() && sameText(self, path) {
			continue
		}
		return path, nil
	}
	return "", ErrNoSSH
}

// Self is this program's file, without links.
func Self() (string, error) {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return self, nil
}

// sameText says whether two files of one size hold the same.
func sameText(a, b string) bool {
	f, err := os.Open(a)
	if err != nil {
		return false
	}
	defer f.Close()
	g, err := os.Open(b)
	if err != nil {
		return false
	}
	defer g.Close()
	r, s := bufio.NewReaderSize(f, 1<<16), bufio.NewReaderSize(g, 1<<16)
	for {
		x, err := r.ReadByte()
		y, other := s.ReadByte()
		if err != nil || other != nil {
			return err == io.EOF && other == io.EOF
		}
		if x != y {
			return false
		}
	}
}

// passage is the environment variable that tells of wrappers among our parents:
// PID:COUNT, of the last and of all.
const passage = "SSH_STAY_WRAPPER"

// maxPassages is how many there may be: each is a ProxyCommand that runs ssh for
// the next jump host, and nobody has more of these.
const maxPassages = 16

// Enter returns the environment for the real ssh. It is ErrLoop where that has
// brought us back: in the process that ran it, or again and again.
func Enter(pid int, env []string) ([]string, error) {
	count := 0
	var out []string
	for _, kv := range env {
		last, ok := strings.CutPrefix(kv, passage+"=")
		if !ok {
			out = append(out, kv)
			continue // of two of a name, programs differ over which one counts
		}
		text, n, _ := strings.Cut(last, ":")
		if text == strconv.Itoa(pid) {
			return nil, ErrLoop
		}
		seen, _ := strconv.Atoi(n)
		count = max(count, seen)
	}
	if count >= maxPassages {
		return nil, ErrLoop
	}
	return append(out, fmt.Sprintf("%s=%d:%d", passage, pid, count+1)), nil
}

// Shell is by what ssh shall run our ProxyCommand: by the user's SHELL, as ever,
// but for one that runs no commands, of accounts that nobody shall log in to.
func Shell(shell string) string {
	if shell == "" || runtime.GOOS == "windows" {
		return shell
	}
	info, err := os.Stat(shell)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return "/bin/sh"
	}
	switch filepath.Base(shell) {
	case "nologin", "false", "true":
		return "/bin/sh"
	}
	return shell
}

// TakesTag says by the banner of `ssh -V` whether -P takes a value: from OpenSSH
// 9.4 on.
func TakesTag(banner string) bool {
	m := regexp.MustCompile(`OpenSSH\D*(\d+)\.(\d+)`).FindStringSubmatch(banner)
	if m == nil {
		return true
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major > 9 || major == 9 && minor >= 4
}
