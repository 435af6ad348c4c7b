package faults

import (
	"bytes"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// transferOver lets two peers exchange their bytes; what goes up is spoiled.
func transferOver(t *testing.T, spoil func([]byte) []byte) (near, far *Board) {
	t.Helper()
	open := func(name string) *Board {
		b, err := OpenBoard(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	}
	near, far = open("near"), open("far")
	const limit = 100_000
	upR, upW := io.Pipe()
	downR, downW := io.Pipe()
	spoiledR, spoiledW := io.Pipe()
	go func() { // ends with the near peer
		all, _ := io.ReadAll(upR)
		spoiledW.Write(spoil(all))
		spoiledW.Close()
	}()
	ended := make(chan error, 1)
	go func() { // ends with what goes up
		p := &Peer{Board: far, Seed: 1, Sends: Down, Limit: limit, Rate: 64 << 20}
		err := p.Far(spoiledR, downW)
		downW.Close()
		spoiledR.Close()
		ended <- err
	}()
	go func() { // ends when all is sent
		for near.At(Sent) < limit {
			<-time.After(time.Millisecond)
		}
		near.Set(Finish, 1)
	}()
	p := &Peer{Board: near, Seed: 1, Sends: Up, Limit: limit, Rate: 64 << 20}
	p.Near(downR, upW)
	<-ended
	return near, far
}

func TestPeers(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func([]byte) []byte
		state uint64
		at    uint64
		want  Verdict // of a session that ends with status 0
	}{
		{"nothing", func(b []byte) []byte { return b }, Done, 0, Intact},
		{"flipped", func(b []byte) []byte { b[70_001] ^= 1; return b }, Wrong, 70_001, Fail},
		{"gap", func(b []byte) []byte { return slices.Delete(b, 5000, 5010) }, Wrong, 5000, Fail},
		{"duplicate", func(b []byte) []byte { return slices.Insert(b, 9000, b[8000:9000]...) }, Wrong, 9000, Fail},
		{"more", func(b []byte) []byte { return append(b, 'x') }, Wrong, 100_000, Fail},
		{"less", func(b []byte) []byte { return b[:99_999] }, Done, 0, Fail},
	} {
		t.Run(tc.name, func(t *testing.T) {
			near, far := transferOver(t, tc.spoil)
			if got := far.At(State); got != tc.state || got == Wrong && far.At(WrongAt)-tc.at > 1 {
				t.Errorf("state %d at %d, want %d at %d", got, far.At(WrongAt), tc.state, tc.at)
			}
			if got, why := Judge(&End{Near: near, Far: far}, Terms{}); got != tc.want {
				t.Errorf("got %s %q, want %s", got, why, tc.want)
			}
		})
	}
}

func TestJudgeClean(t *testing.T) {
	near, far := transferOver(t, func(b []byte) []byte { return b[:5000] })
	const good = "ssh-stay: it: connection lost: reset\nhint: do this\nssh's own words\n"
	terms := Terms{Within: time.Second, Says: []string{"reset"}, Names: []string{"it: "}}
	for _, tc := range []struct {
		name string
		end  End
		want Verdict
	}{
		{"clean", End{Status: 255, Stderr: good}, Clean},
		{"after a notice", End{Status: 255, Stderr: "ssh-stay: it: still connecting: refused\n" + good}, Clean},
		{"late", End{Status: 255, Stderr: good, After: 2 * time.Second}, Fail},
		{"status 1", End{Status: 1, Stderr: good}, Fail},
		{"status 0", End{Status: 0, Stderr: good}, Fail},
		{"silent", End{Status: 255, Stderr: "ssh's own words\n"}, Fail},
		{"twice", End{Status: 255, Stderr: good + good}, Fail},
		{"no cause", End{Status: 255, Stderr: strings.ReplaceAll(good, "reset", "oops")}, Fail},
		{"three hints", End{Status: 255, Stderr: good + strings.Repeat("hint: more\n", 2)}, Fail},
		{"crash", End{Status: 255, Stderr: good + "panic: oops\n\ngoroutine 1 [running]:\n"}, Fail},
		{"no host", End{Status: 255, Stderr: strings.ReplaceAll(good, "it: ", "")}, Fail},
	} {
		tc.end.Near, tc.end.Far = near, far
		if got, why := Judge(&tc.end, terms); got != tc.want {
			t.Errorf("%s: got %s %q, want %s", tc.name, got, why, tc.want)
		}
	}
	terms.SSHTells = true
	for stderr, want := range map[string]Verdict{
		"Connection closed by UNKNOWN port 65535\r\n": Clean,
		"who knows\n": Fail,
		"":            Fail,
		good:          Clean,
	} {
		if got, why := Judge(&End{Near: near, Far: far, Status: 255, Stderr: stderr}, terms); got != want {
			t.Errorf("ssh tells %q: got %s %q, want %s", stderr, got, why, want)
		}
	}
	if got, _ := Judge(&End{Near: near, Far: near, Stderr: "fatal error: oops\n"}, Terms{}); got != Fail {
		t.Errorf("got %s for a crash, want %s", got, Fail)
	}
	far.Set(State, Wrong)
	if got, _ := Judge(&End{Near: near, Far: far, Status: 255, Stderr: good}, terms); got != Fail {
		t.Errorf("got %s for a wrong byte, want %s", got, Fail)
	}
}

// TestSource: both ends make the same bytes, however they are cut, and each way
// has its own.
func TestSource(t *testing.T) {
	whole, pieces, back := make([]byte, 10_000), make([]byte, 10_000), make([]byte, 10_000)
	noise(7, Up).Read(whole)
	source := noise(7, Up)
	for i, n := 0, 1; i < len(pieces); i, n = i+n, n%13+1 {
		source.Read(pieces[i:min(i+n, len(pieces))])
	}
	noise(7, Up.back()).Read(back)
	if !bytes.Equal(whole, pieces) || bytes.Equal(whole, back) {
		t.Error("the ends disagree, or the ways agree")
	}
}
