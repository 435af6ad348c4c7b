package relay

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestReadAnswer(t *testing.T) {
	long := strings.Repeat("x", 2*maxAnswer)
	for _, tt := range []struct {
		in   string
		want answer
		rest string // that is left to read
	}{
		{"ssh-stay-relay 1 ready\n\nrest", answer{"ready", ""}, "\nrest"},
		{"\nssh-stay-relay 1 need Linux x86_64\n", answer{"need", "Linux x86_64"}, ""},
		{"Welcome!\r\nno newline\nssh-stay-relay 1 gone\nssh-stay-relay 1 ready\n", answer{"gone", ""}, "ssh-stay-relay 1 ready\n"},
		{"said: ssh-stay-relay 1 ready\nssh-stay-relay 2 ready\nssh-stay-relay 1 error a b\n", answer{"error", "a b"}, ""},
		{long + "\nssh-stay-relay 1 error " + long + "\nrest", answer{"error", long[:maxAnswer-len(Mark+"error ")]}, "rest"},
	} {
		r := strings.NewReader(tt.in)
		got, err := readAnswer(r)
		if err != nil || got != tt.want {
			t.Errorf("%.40q: got %.40q, %v; want %.40q", tt.in, got, err, tt.want)
		}
		if rest, _ := io.ReadAll(r); string(rest) != tt.rest {
			t.Errorf("%.40q: got %.40q left, want %q", tt.in, rest, tt.rest)
		}
	}
}

func TestReadNoAnswer(t *testing.T) {
	if _, err := readAnswer(strings.NewReader("login: ssh-stay-relay 1 ready")); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
	r := bytes.NewReader(bytes.Repeat([]byte("y\n"), maxNoise))
	_, err := readAnswer(r)
	if unavailable := (*UnavailableError)(nil); !errors.As(err, &unavailable) || r.Len() != maxNoise {
		t.Errorf("got %v with %d bytes left, want an UnavailableError after %d", err, r.Len(), maxNoise)
	}
}

// FuzzReadAnswer: whatever the far end says, the answer is a line of it behind
// the mark, and nothing behind that line is read.
func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte("\nssh-stay-relay 1 ready\nbytes"))
	f.Add([]byte("noise\nssh-stay-relay 1 error x y\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		a, err := readAnswer(r)
		read := in[:len(in)-r.Len()]
		if err != nil {
			if unavailable := (*UnavailableError)(nil); err != io.EOF && err != io.ErrUnexpectedEOF && !errors.As(err, &unavailable) {
				t.Fatalf("got %v of an unknown kind", err)
			}
			return
		}
		lines := bytes.Split(read, []byte("\n"))
		last := string(lines[len(lines)-2])
		want := strings.TrimSuffix(Mark+a.word+" "+a.text, " ")
		if len(lines[len(lines)-1]) > 0 || !strings.HasPrefix(last, want) || len(want) > maxAnswer {
			t.Fatalf("got %q of %q", a, read)
		}
	})
}

// TestScriptsPassAnyShell: see the comment on top of script.go.
func TestScriptsPassAnyShell(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	var all []Binary
	for platform := range unames {
		goos, arch, _ := strings.Cut(platform, "/")
		all = append(all, Binary{OS: goos, Arch: arch, SHA256: hash})
	}
	for _, command := range []string{startScript(all, "attach"), uploadScript(hash, "NONCE", 2)} {
		script, ok := strings.CutPrefix(command, "exec /bin/sh -c '")
		if !ok || strings.IndexAny(script, "'\\!\n") != len(script)-1 || strings.IndexByte(script, '\'') != len(script)-1 {
			t.Errorf("got %q, want no quote, backslash, exclamation mark and newline within", command)
		}
		if len(command) > 3000 {
			t.Errorf("got %d bytes, want at most 3000", len(command))
		}
	}
}

func TestBinaries(t *testing.T) {
	all, err := Binaries()
	if err != nil || len(all) == 0 {
		t.Fatalf("got %d binaries and %v", len(all), err)
	}
	for _, b := range all {
		var z bytes.Buffer
		var told, total int64
		if err := b.WriteGzip(&z, func(d, t int64) { told, total = d, t }); err != nil || told != total || total == 0 {
			t.Errorf("%s/%s: got %d of %d bytes and %v", b.OS, b.Arch, told, total, err)
		}
		if got := unzippedSum(t, &z); got != b.SHA256 {
			t.Errorf("%s/%s: got SHA-256 %s, want %s", b.OS, b.Arch, got, b.SHA256)
		}
	}
}

func unzippedSum(t *testing.T, r io.Reader) string {
	t.Helper()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, z); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// TestCopyToldErrors: io.EOF is left to the writer, whose reader has gone.
func TestCopyToldErrors(t *testing.T) {
	short := copyTold(io.Discard, strings.NewReader("abc"), 4, func(int64, int64) {})
	if short != io.ErrUnexpectedEOF {
		t.Errorf("a short file: got %v, want %v", short, io.ErrUnexpectedEOF)
	}
	gone := copyTold(goneWriter{}, strings.NewReader("abc"), 3, func(int64, int64) {})
	if gone != io.EOF {
		t.Errorf("a reader that has gone: got %v, want %v", gone, io.EOF)
	}
}

type goneWriter struct{}

func (goneWriter) Write([]byte) (int, error) { return 0, io.EOF }

func ExampleUnavailableError() {
	fmt.Println(&UnavailableError{Why: "no gzip"})
	// Output: no relay at the far end: no gzip
}
