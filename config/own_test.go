package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOwnFlags: as a jump host, and under the wrapper, a host is reached in the way
// that the flags of our own ProxyCommand say, as when ssh runs it.
func TestOwnFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	resolve := func(text string) (*Settings, error) {
		write(t, file, text)
		return Resolve(t.Context(), Query{Host: "h", File: file, Engine: EngineBuiltin})
	}
	_, err := resolve("Host x\n ProxyCommand ssh-stay proxy -J x %h %p\nHost h\n" +
		" ProxyCommand /opt/ssh-stay proxy --alias '%n' -vJ bob@a:23,b -4 -o StayInterval=7 --option='HostName real' %h %p 2>>log -z\n" +
		" ProxyJump late\n StayInterval 9\nIgnoreUnknown Stay*\n")
	if err == nil || !strings.Contains(err.Error(), "line 6: ") {
		t.Errorf("got %v, want our keyword in line 6 refused, and that of the flag taken", err)
	}
	s, err := resolve("Host x\n ProxyCommand ssh-stay proxy -J x %h %p\nHost h\n" +
		" ProxyCommand /opt/ssh-stay proxy --alias '%n' -vJ bob@a:23,b -4 -o StayInterval=7 --option='HostName real' %h %p 2>>log -z\n" +
		" ProxyJump late\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Jumps) != 2 || s.Jumps[0] != (Jump{User: "bob", Host: "a", Port: 23}) || s.Jumps[1].Host != "b" ||
		s.AddressFamily != "inet" || s.StayInterval != 7*time.Second || s.HostName != "real" || s.ProxyCommand != "" {
		t.Errorf("got %+v, want what the flags say", s)
	}
	if want := file + " line 4"; s.ProxySource != want {
		t.Errorf("got the jump from %s, want %s", s.ProxySource, want)
	}
	for flags, want := range map[string]string{
		"--no-such %h":     "unknown flag",
		"-o Host=x %h %p":  "cannot be an option",
		"-o Nonsense=x %h": "Bad configuration option: nonsense",
		"-J a@ %h %p":      "a@",
	} {
		if _, err := resolve("Host h\n  ProxyCommand ssh-stay proxy " + flags + "\n"); err == nil ||
			!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file+" line 2: ") {
			t.Errorf("%s: got %v, want %q and the line", flags, err, want)
		}
	}
}
