//go:build unix

package wrapper

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssh-stay/config"
)

// TestAdditions: what is put before a line, by what the files say.
func TestAdditions(t *testing.T) {
	const (
		proxy  = "ProxyCommand=/bin/ssh-stay proxy --alias '%n' --user '%r' "
		noUser = "ProxyCommand=/bin/ssh-stay proxy --alias '%n' "
	)
	for _, tc := range []struct {
		name, file, line string
		want             []string
	}{
		{"nothing set", "", "h", []string{proxy + "'%h' '%p'", "ServerAliveInterval=30", "ServerAliveCountMax=30"}},
		{"own probes", "ServerAliveInterval 5", "h", []string{proxy + "'%h' '%p'"}},
		{"none, on purpose", "ServerAliveInterval 0", "h", []string{proxy + "'%h' '%p'"}},
		{"interval and end", "StayInterval 7\nStayGiveUp 70", "h", []string{proxy + "'%h' '%p'", "ServerAliveInterval=7", "ServerAliveCountMax=10"}},
		{"no probes", "StayInterval 0", "h", []string{proxy + "'%h' '%p'"}},
		{"resume", "", "-o StayResume=target h", []string{proxy + "-o StayResume=target '%h' '%p'", "ServerAliveInterval=0"}},
		{"resume, own probes", "StayResume target\nServerAliveInterval 5", "h", []string{proxy + "'%h' '%p'"}},
		{"resume up to no jump", "StayResume jump", "h", []string{proxy + "'%h' '%p'", "ServerAliveInterval=30", "ServerAliveCountMax=30"}},
		{"resume up to a jump", "StayResume jump\nProxyUseFdpass yes", "-J g h", []string{proxy + "-J g '%h' '%p'", "ProxyUseFdpass=no", "ServerAliveInterval=0"}},
		{"fdpass", "ProxyUseFdpass yes\nServerAliveInterval 5", "h", []string{proxy + "'%h' '%p'"}},
		{"fdpass over a jump", "ProxyUseFdpass yes\nProxyJump g\nServerAliveInterval 5", "h", []string{proxy + "'%h' '%p'", "ProxyUseFdpass=no"}},
		{"fdpass of another", "ProxyUseFdpass yes\nProxyCommand x %h\nServerAliveInterval 5", "h", nil},
		{"stdin and stdout", "ServerAliveInterval 5", "-o ProxyCommand=- h", nil},
		{"of ours", "ProxyCommand ssh-stay proxy %h %p\nProxyUseFdpass yes\nServerAliveInterval 5", "h", []string{proxy + "'%h' '%p'"}},
		{"of theirs", "ServerAliveInterval 5", "-oProxyCommand=nc_%h h", []string{proxy + "-o ProxyCommand=nc_'%%h' '%h' '%p'"}},
		{"complete names", "CanonicalizeHostname yes\nServerAliveInterval 5", "localhost", []string{proxy + "'%h' '%p'", "CanonicalizeHostname=always"}},
		{"complete names, then a jump", "CanonicalizeHostname yes\nServerAliveInterval 5\nMatch canonical\n ProxyJump g", "localhost", []string{proxy + "'%h' '%p'", "HostName=localhost"}},
		{"as typed", "CanonicalizeHostname no\nServerAliveInterval 5", "localhost", []string{proxy + "'%h' '%p'"}},
		{"verbose", "ServerAliveInterval 5", "-vv h", []string{proxy + "-o LogLevel=DEBUG2 -v '%h' '%p'"}},
		{"quiet", "ServerAliveInterval 5", "-vq h", []string{proxy + "-o LogLevel=QUIET '%h' '%p'"}},
		{"an end of quiet", "ServerAliveInterval 5\nLogLevel QUIET", "-qv h", []string{proxy + "-o LogLevel=DEBUG1 '%h' '%p'"}},
		{"user with a quote", "ServerAliveInterval 5\nUser \"it's\"", "h", []string{noUser + "'%h' '%p'"}},
		{"user of a domain", `ServerAliveInterval 5
			User DOM\joe`, "h", []string{noUser + "'%h' '%p'"}},
		{"user with a semicolon", "ServerAliveInterval 5\nUser a;b", "h", []string{proxy + "'%h' '%p'"}},
		{"address counts", "ServerAliveInterval 5\nCheckHostIP yes", "h", nil},
		{"address counts, names are completed", "ServerAliveInterval 5\nCheckHostIP yes\nCanonicalizeHostname yes", "h", nil},
		{"localhost counts", "NoHostAuthenticationForLocalhost yes", "localhost", []string{"ServerAliveInterval=30", "ServerAliveCountMax=30"}},
		{"address counts not under resume", "ServerAliveInterval 5\nCheckHostIP yes\nStayResume target", "h", []string{proxy + "'%h' '%p'"}},
		{"address counts not behind a jump", "ServerAliveInterval 5\nCheckHostIP yes\nProxyJump g", "h", []string{proxy + "'%h' '%p'"}},
		{"address counts not behind a command", "ServerAliveInterval 5\nCheckHostIP yes\nProxyCommand x", "h", []string{proxy + "'%h' '%p'"}},
		{"the first of a kind counts", "ServerAliveInterval 5", "-l a -4 -b 1.1.1.1 -l b -6 c@h -o User=d",
			[]string{proxy + "-o AddressFamily=inet6 -o BindAddress=1.1.1.1 -o AddressFamily=inet -o User=a -o User=d '%h' '%p'"}},
		{"the second is not looked at", "ServerAliveInterval 5", "-p 22 -oUser=a -p nonsense -l @ h", []string{proxy + "-o Port=22 -o User=a '%h' '%p'"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(file, []byte("IgnoreUnknown Stay*\n"+tc.file+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			l := Parse(strings.Fields(tc.line), func() bool { return true })
			q := l.Query()
			q.File = file
			s, err := config.Resolve(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			rest := l.remaining(stayOption, jumpOption)
			got := l.Args("/bin/ssh-stay", s)
			var ours []string
			for _, option := range tc.want {
				ours = append(ours, "-o", unquoteSafe(option))
			}
			for i, a := range got {
				got[i] = unquoteSafe(a)
			}
			for i, a := range rest {
				rest[i] = unquoteSafe(a)
			}
			if want := append(ours, rest...); !slices.Equal(got, want) {
				t.Errorf("\n got %q\nwant %q", got, want)
			}
		})
	}
}

// unquoteSafe drops the quotes of words, which TestShells is about.
func unquoteSafe(s string) string { return strings.ReplaceAll(s, "'", "") }

// TestSocket: a ControlPath is what ssh makes of it for the line as it stands, as
// our ProxyCommand hides the jump hosts that have their share in it.
func TestSocket(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	text := "Host one\n\tProxyJump g\nHost two\n\tProxyJump g2\nHost none\n\tProxyJump g\n\tControlPath none\nHost *\n\tControlPath ~/x%%/%C\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		line string
		ours bool
	}{
		{"one", true}, {"two", true}, {"me@one -p 2222", true}, {"-J g3 h", true}, {"-J g3,u@g4 h", true}, {"-S /tmp/%C-%n one", true},
		{"-TS /tmp/%C one true", true}, {"-oControlPath=/tmp/%r-%C one", true}, {"-O check one", true},
		{"h", false}, {"none", false}, {"-S none one", false}, {"-o ControlPath=none one", false}, {"-o ProxyCommand=x h", false}, {"-J none one", false},
	} {
		l := Parse(strings.Fields(tc.line), func() bool { return true })
		q := l.Query()
		q.File = file
		s, err := config.Resolve(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		args := l.Args("/bin/ssh-stay", s)
		want, got := controlPath(t, file, strings.Fields(tc.line)), controlPath(t, file, args)
		if got != want {
			t.Errorf("%s: got ControlPath %q, want %q", tc.line, got, want)
		}
		if ours := slices.Contains(args, "ControlPath="+strings.ReplaceAll(want, "%", "%%")); ours != tc.ours {
			t.Errorf("%s: got %q, want ControlPath %q in it: %v", tc.line, args, want, tc.ours)
		}
		if tc.ours && strings.Contains(tc.line, "S /") && slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "/tmp/%C") }) {
			t.Errorf("%s: got %q, want no -S, which would win", tc.line, args)
		}
	}
}

// controlPath is what ssh -G says of a line.
func controlPath(t *testing.T, file string, args []string) string {
	t.Helper()
	out, err := exec.Command("ssh", append([]string{"-G", "-F", file}, args...)...).Output()
	if err != nil {
		t.Fatalf("ssh -G %q: %v", args, err)
	}
	_, path, _ := strings.Cut(string(out), "\ncontrolpath ")
	path, _, _ = strings.Cut(path, "\n")
	return path
}

// TestUnresolved: what only ssh and the proxy can say does not stop us.
func TestUnresolved(t *testing.T) {
	l := Parse([]string{"-J", "g", "h"}, func() bool { return true })
	got := l.Args("/bin/ssh-stay", nil)
	want := []string{"-o", "ProxyCommand=/bin/ssh-stay proxy --alias '%n' -J g '%h' '%p'", "h"}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

// TestHostNamedProxy: `ssh proxy` is a host, though we be called ssh ourselves.
func TestHostNamedProxy(t *testing.T) {
	called := os.Args[0]
	defer func() { os.Args[0] = called }()
	os.Args[0] = "ssh"
	for command, want := range map[string]string{
		"ssh proxy nc %h %p": "ssh proxy nc %h %p", "/usr/bin/ssh proxy --alias %n %h %p": "", "ssh-stay proxy %h %p": "",
	} {
		s, err := config.Resolve(t.Context(), config.Query{Host: "h", File: "none", Options: []string{"ProxyCommand=" + command}})
		if err != nil || s.ProxyCommand != want {
			t.Errorf("%s: got %q, %v; want %q", command, s.ProxyCommand, err, want)
		}
	}
}
