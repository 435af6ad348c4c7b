package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// sameSettings reports the fields in which two settings differ, but where they
// were made.
func sameSettings(t *testing.T, name string, got, want *Settings) {
	t.Helper()
	g, w := reflect.ValueOf(*got), reflect.ValueOf(*want)
	for i := range g.NumField() {
		field := g.Type().Field(i).Name
		if strings.HasSuffix(field, "Source") || field == "eval" || field == "PathError" {
			continue
		}
		if a, b := g.Field(i).Interface(), w.Field(i).Interface(); !reflect.DeepEqual(a, b) {
			t.Errorf("%s: %s: got %q from ssh -G, want %q as found by us", name, field, a, b)
		}
	}
}

// What ssh is asked for comes out as what we find ourselves: also what it does
// not print, our keywords and what stands behind our own ProxyCommand.
func TestAskedAsFound(t *testing.T) {
	const own = "IgnoreUnknown Stay*\nProxyCommand ssh-stay proxy --alias %n %h %p\n"
	for name, text := range map[string]string{
		"nothing":                    "",
		"jump behind our command":    own + "ProxyJump bob@a:23,b\n",
		"command behind ours":        own + "Host h\n ProxyCommand nc %h %p\n",
		"Stay keywords":              own + "Host x\n StayInterval 3\nHost h\n StayInterval 20\n StayGiveUp 1h\nHost *\n StayInterval 30\n StayResume target\n StayKeep none\n",
		"Stay keywords and Match":    own + "Match exec true\n StayInterval 7\nMatch final host h.example.org\n StayPatience 9\nMatch originalhost h\n HostName h.example.org\n",
		"includes":                   own + "Include $DIR/part*\nInclude $DIR/none\nHost other\n Include $DIR/part1\n",
		"identities, certificates":   own + "IdentityFile ~/.ssh/x\nIdentityFile %d/y\nCertificateFile ~/.ssh/x-cert.pub\nStayInterval 4\n",
		"files with blanks in lists": "IdentityFile \"/a b\"\nProxyCommand sh -c 'x  y' # z\nKnownHostsCommand /bin/k %H \"a\"\n",
		"batch mode":                 own + "BatchMode yes\n",
		"names that DNS would tell":  own + "CanonicalizeHostname yes\nCanonicalDomains nowhere.invalid\nMatch final host h.*\n User wrong\nMatch final\n User right\n",
		"a process is left behind":   own + "Match exec \"sleep 3 & true\"\n StayInterval 11\n",
		"algorithms":                 "Ciphers ^aes256-ctr\nHostKeyAlgorithms -ssh-ed25519*\nMACs hmac-sha2-512\n",
		"many": "Port 2222\nUser bob\nServerAliveInterval 15\nServerAliveCountMax 5\nConnectTimeout 7\nConnectionAttempts 3\n" +
			"AddressFamily inet\nBindAddress 127.0.0.1\nIPQoS ef\nTCPKeepAlive no\nRekeyLimit 1G 1h\nLogLevel DEBUG\nHostKeyAlias ALIAS\n" +
			"UserKnownHostsFile ~/a %d/b\nGlobalKnownHostsFile /c /d\nRevokedHostKeys /r\nStrictHostKeyChecking accept-new\nHashKnownHosts yes\n" +
			"IdentitiesOnly yes\nIdentityAgent ~/agent\nPubkeyAuthentication no\nPasswordAuthentication no\nBatchMode no\nAddKeysToAgent confirm 1h\n" +
			"PreferredAuthentications password\nNumberOfPasswordPrompts 1\nCheckHostIP yes\nUpdateHostKeys no\nVerifyHostKeyDNS yes\n",
	} {
		dir := filepath.Join(t.TempDir(), ".ssh")
		write(t, filepath.Join(dir, "part1"), "StayGiveUp 50\nHost h\n ProxyJump gate\n")
		write(t, filepath.Join(dir, "part2"), "ProxyCommand /x/ssh-stay proxy %h %p\nUser late\nIgnoreUnknown Stay*\n")
		file := filepath.Join(dir, "config")
		write(t, file, strings.ReplaceAll(text, "$DIR", dir))
		q := Query{Host: "h", File: file, Engine: EngineBuiltin, Options: []string{"StayKeep=5m"}}
		want, err := Resolve(t.Context(), q)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		q.Engine = EngineSSH
		got, err := Resolve(t.Context(), q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sameSettings(t, name, got, want)
	}
}

// TestAsksWhatItCannot: a keyword that we do not know is ssh's to judge. This ssh
// knows one more than the real one.
func TestAsksWhatItCannot(t *testing.T) {
	dir := t.TempDir()
	newer := filepath.Join(dir, "ssh")
	write(t, newer, "#!/bin/sh\nexec ssh -o IgnoreUnknown=NewKeyword \"$@\"\n")
	if err := os.Chmod(newer, 0o700); err != nil {
		t.Fatal(err)
	}
	text := file(t, "NewKeyword x\nHost h\n  User bob\n  ServerAliveInterval 7\n")
	q := Query{Host: "h", File: text, SSH: newer}
	s, err := Resolve(t.Context(), q)
	if err != nil || s.User != "bob" || s.ServerAliveInterval != 7*time.Second {
		t.Errorf("got %+v, %v, want user bob and 7s as ssh tells", s, err)
	}
	for _, tt := range []struct {
		name, want string
		Query
	}{
		{"builtin", "line 1: Bad configuration option: newkeyword", Query{Engine: EngineBuiltin, SSH: newer}},
		{"an ssh that does not know it", "line 1: Bad configuration option: newkeyword", Query{}},
		{"no ssh", "line 1: Bad configuration option: newkeyword", Query{SSH: filepath.Join(dir, "none")}},
		{"no ssh where it must be", "none: no such file", Query{SSH: filepath.Join(dir, "none"), Engine: EngineSSH}},
	} {
		q := tt.Query
		q.Host, q.File = "h", text
		if _, err := Resolve(t.Context(), q); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", tt.name, err, tt.want)
		}
	}
}

// %C is what ssh makes of it.
func TestTokenOfSSH(t *testing.T) {
	out, err := exec.Command("ssh", "-G", "-F", "none", "-o", "ControlPath=%C", "-o", "HostName=h.example.org", "-p", "2222", "-l", "bob", "h").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, hash, _ := strings.Cut(string(out), "\ncontrolpath ")
	hash, _, _ = strings.Cut(hash, "\n")
	s, err := Resolve(t.Context(), Query{Host: "h", File: file(t, "HostName %h.example.org\nPort 2222\nUser bob\nIdentityFile /k/%C\n")})
	if err != nil || len(hash) != 40 || s.IdentityFile[0] != "/k/"+hash {
		t.Errorf("got %+v, %v, want IdentityFile /k/%s", s, err, hash)
	}
}

// TestDefaultFiles: of the two files that ssh reads by itself, the user's comes
// first and must be safe.
func TestDefaultFiles(t *testing.T) {
	home := t.TempDir()
	config := filepath.Join(home, ".ssh", "config")
	write(t, config, "Port 2222\n")
	q := Query{Host: "h", Home: home, LocalUser: "me"}
	for _, tt := range []struct {
		mode os.FileMode
		want string
	}{
		{0o600, ""}, {0o644, ""}, {0o666, "Bad owner or permissions on " + config}, {0o602, "Bad owner or permissions on " + config},
	} {
		if err := os.Chmod(config, tt.mode); err != nil {
			t.Fatal(err)
		}
		s, err := Resolve(t.Context(), q)
		switch {
		case tt.want == "" && (err != nil || s.Port != 2222):
			t.Errorf("mode %o: got %v, %v, want port 2222", tt.mode, s, err)
		case tt.want != "" && (err == nil || err.Error() != tt.want):
			t.Errorf("mode %o: got %v, want %s", tt.mode, err, tt.want)
		}
	}
	q.File = config // -F takes any
	if s, err := Resolve(t.Context(), q); err != nil || s.Port != 2222 {
		t.Errorf("-F: got %v, %v, want port 2222", s, err)
	}
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	q.File = ""
	if s, err := Resolve(t.Context(), q); err != nil || s.Port != 22 {
		t.Errorf("no file: got %v, %v, want port 22", s, err)
	}
}
