package auth

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestWritesUserFolder(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	file := filepath.Join(home, ".ssh", "known_hosts")
	h, _ := newHost(t, file)
	if err := h.Check(t.Context(), newSigner(t, "ed25519").PublicKey()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{filepath.Dir(file): 0o700, file: 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want mode %04o", path, info, err, want)
		}
	}
}

// diskLimit is the environment variable by which the test runs itself with a
// file that cannot grow.
const diskLimit = "STAY_TEST_FULL_DISK"

// A disk that is full in the middle of a line leaves the file as it was. The
// limit of file sizes stands in for the disk: both cut a write short.
func TestFullDisk(t *testing.T) {
	if file := os.Getenv(diskLimit); file != "" {
		appendBeyondLimit(t, file)
		return
	}
	before := "other " + authorized(newSigner(t, "ed25519").PublicKey())
	for _, text := range []string{before, before + "\n", ""} {
		file := writeFile(t, "known_hosts", text)
		cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
		cmd.Env = append(os.Environ(), diskLimit+"="+file)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "the limit was hit") {
			t.Errorf("%v: %s", err, out)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("got %q, %v, want %q as before", got, err, text)
		}
	}
}

func appendBeyondLimit(t *testing.T, file string) {
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	h, said := newHost(t, file)
	key := newSigner(t, "rsa").PublicKey()
	limit := uint64(info.Size()) + 30
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	if err := h.Check(t.Context(), key); err != nil {
		t.Errorf("got %v, want the key accepted", err)
	}
	if len(*said) != 1 || !strings.HasPrefix((*said)[0], "Failed to add the host to the list of known hosts (") {
		t.Errorf("got %q, want ssh's warning", *said)
	}
	t.Log("the limit was hit")
}
