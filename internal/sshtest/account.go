//go:build linux

package sshtest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// Account is a system account with a password, made for one test: what a login
// by password or through PAM needs, and dropbear for any login. Its home and
// ~/.ssh satisfy a server that minds modes and owners.
type Account struct {
	Name     string
	Password string
	Home     string // removed by Close
}

const (
	accountPrefix = "sshtest-"
	homePrefix    = "sshtest-home-"
	// ownerComment stands in the comment field of passwd(5), before the number
	// of the process that made the account.
	ownerComment = "sshtest of process "
)

// NewAccount adds an account to the system, which takes root, and removes those
// of processes that have ended. The caller closes it.
func NewAccount() (*Account, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a login by password needs a system account for the test, and so root")
	}
	if err := sweepAccounts(); err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp("", homePrefix)
	if err != nil {
		return nil, err
	}
	a := &Account{
		Name:     accountPrefix + strings.ToLower(rand.Text()[:12]),
		Password: rand.Text(),
		Home:     home,
	}
	if err := a.add(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Account) add() error {
	err := system(nil, "useradd", "--no-create-home", "--home-dir", a.Home, "--no-user-group", "--gid", "nogroup",
		"--no-log-init", "--shell", "/bin/sh", "--comment", ownerComment+strconv.Itoa(os.Getpid()), a.Name)
	if err != nil {
		return err
	}
	if err := system([]byte(a.Name+":"+a.Password+"\n"), "chpasswd"); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(a.Home, ".ssh"), 0o700); err != nil {
		return err
	}
	return a.Authorize("")
}

// Authorize appends a line to ~/.ssh/authorized_keys.
func (a *Account) Authorize(line string) error {
	if err := appendFile(a.AuthorizedKeys(), line); err != nil {
		return err
	}
	return a.own(a.Home, filepath.Join(a.Home, ".ssh"), a.AuthorizedKeys())
}

// AuthorizedKeys is the path of the file.
func (a *Account) AuthorizedKeys() string { return filepath.Join(a.Home, ".ssh", "authorized_keys") }

// SshdLines are the lines of sshd_config by which an Sshd lets the account in
// with its own authorized_keys too.
func (a *Account) SshdLines() ([]string, error) {
	cat, err := Peer("cat")
	if err != nil {
		return nil, err
	}
	// As root, since the folder of the test need not be open to the account.
	return []string{"AuthorizedKeysCommand " + cat + " " + a.AuthorizedKeys(), "AuthorizedKeysCommandUser root"}, nil
}

func (a *Account) own(paths ...string) error {
	u, err := user.Lookup(a.Name)
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	for _, path := range paths {
		if err := os.Chown(path, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// Close removes the account and its home.
func (a *Account) Close() error {
	return errors.Join(removeAccount(a.Name), os.RemoveAll(a.Home))
}

// removeAccount does nothing about an account that is not there. Sessions that
// may be ending are no reason to keep one, hence --force.
func removeAccount(name string) error {
	if _, err := user.Lookup(name); err != nil {
		return nil
	}
	return system(nil, "userdel", "--force", name)
}

// sweepAccounts removes the accounts of test processes that were killed.
func sweepAccounts() error {
	text, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(line, ":")
		if len(fields) < 7 || !strings.HasPrefix(fields[0], accountPrefix) {
			continue
		}
		number, ours := strings.CutPrefix(fields[4], ownerComment)
		pid, err := strconv.Atoi(number)
		if !ours || err != nil || !processEnded(pid) {
			continue
		}
		if err := removeAccount(fields[0]); err != nil {
			return err
		}
		if strings.HasPrefix(filepath.Base(fields[5]), homePrefix) {
			os.RemoveAll(fields[5])
		}
	}
	return nil
}

// system runs a program of the system and gives its words with its error.
func system(stdin []byte, name string, args ...string) error {
	path, err := Peer(name)
	if err != nil {
		return err
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// Account makes an account.
func (r Rig) Account() *Account {
	r.Helper()
	a, err := NewAccount()
	r.must(err)
	r.end(a)
	return a
}
