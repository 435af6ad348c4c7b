package config

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// resolve asks for host in a configuration of this text. Home is a folder of
// the test's own, and $DIR in the text its .ssh.
func resolve(t *testing.T, text, host string) (*Settings, error) {
	t.Helper()
	home := t.TempDir()
	dir := filepath.Join(home, ".ssh")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "test")
	write(t, file, strings.ReplaceAll(text, "$DIR", dir))
	return Resolve(t.Context(), Query{Host: host, File: file, Home: home, LocalUser: "me"})
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRoute(t *testing.T) {
	const own = "ProxyCommand ssh-stay proxy --alias %n %h %p\n"
	for _, tt := range []struct{ name, text, jump, command string }{
		{"nothing", "", "", ""},
		{"jump behind our own command", own + "ProxyJump j", "j", ""},
		{"jump behind our own command in another block", "Host *\n " + own + "Host h\n ProxyJump a,b\n", "a,b", ""},
		{"command behind our own", own + "ProxyCommand nc %h", "", "nc %h"},
		{"own with a path", "ProxyCommand /usr/bin/ssh-stay proxy %h %p\nProxyJump j", "j", ""},
		{"own with exec", "ProxyCommand exec /usr/bin/ssh-stay proxy %h %p\nProxyJump j", "j", ""},
		{"own with a quoted path", "ProxyCommand \"/opt/my tools/ssh-stay\" proxy %h %p\nProxyJump j", "j", ""},
		{"own with exec and quotes", "ProxyCommand exec '/opt/my tools/ssh-stay' proxy %h %p\nProxyJump j", "j", ""},
		{"own on Windows", `ProxyCommand "C:\Program Files\ssh-stay.exe" proxy %h %p` + "\nProxyJump j", "j", ""},
		{"own with =", "ProxyCommand=ssh-stay proxy %h %p\nProxyJump j", "j", ""},
		{"another command of ours", "ProxyCommand ssh-stay relay %h\nProxyJump j", "", "ssh-stay relay %h"},
		{"a name that only begins like ours", "ProxyCommand ssh-stayed proxy %h\nProxyJump j", "", "ssh-stayed proxy %h"},
		{"foreign", "ProxyCommand nc %h %p\nProxyJump j", "", "nc %h %p"},
		{"foreign keeps quotes and hashes", `ProxyCommand nc "a  b" #c`, "", `nc "a  b" #c`},
		{"jump first", "ProxyJump j\nProxyCommand nc %h", "j", ""},
		{"jump none", "ProxyJump none\nProxyJump j", "", ""},
		{"jump NONE", "ProxyJump NONE", "", ""},
		{"jump none, then a command", "ProxyJump none\nProxyCommand nc %h", "", "nc %h"},
		{"command none", "ProxyCommand none\nProxyJump j", "", ""},
		{"command none behind our own", own + "ProxyCommand none\nProxyJump j", "", ""},
	} {
		s, err := resolve(t, tt.text, "h")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var jumps []string
		for _, j := range s.Jumps {
			jumps = append(jumps, j.String())
		}
		if got := strings.Join(jumps, ","); got != tt.jump || s.ProxyCommand != tt.command {
			t.Errorf("%s: got jump %q and command %q, want %q and %q", tt.name, got, s.ProxyCommand, tt.jump, tt.command)
		}
	}
}

func TestStayDefaults(t *testing.T) {
	for _, tt := range []struct {
		text             string
		interval, giveUp time.Duration
	}{
		{"", 30 * time.Second, 15 * time.Minute},
		{"ServerAliveInterval 0", 30 * time.Second, 15 * time.Minute},
		{"ServerAliveCountMax 9", 30 * time.Second, 15 * time.Minute},
		{"ServerAliveInterval 15", 15 * time.Second, 45 * time.Second},
		{"ServerAliveInterval 20\nServerAliveCountMax 30", 20 * time.Second, 10 * time.Minute},
		{"ServerAliveInterval 20\nServerAliveCountMax 0", 20 * time.Second, 20 * time.Second},
		{"IgnoreUnknown stay*\nServerAliveInterval 15\nStayInterval 5\nStayGiveUp 1h", 5 * time.Second, time.Hour},
		{"IgnoreUnknown Stay*\nStayInterval 0", 0, 15 * time.Minute},
		{"IgnoreUnknown Stay*\nStayInterval none", 30 * time.Second, 15 * time.Minute},
		{"IgnoreUnknown Stay*\nStayInterval=1m\nStayInterval 2m", time.Minute, 15 * time.Minute},
	} {
		s, err := resolve(t, tt.text, "h")
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if s.StayInterval != tt.interval || s.StayGiveUp != tt.giveUp {
			t.Errorf("%q: got interval %v, give up %v, want %v, %v", tt.text, s.StayInterval, s.StayGiveUp, tt.interval, tt.giveUp)
		}
		if s.StayPatience != 30*time.Second || s.StayKeep != 24*time.Hour || s.StayResume != "no" {
			t.Errorf("%q: got %v, %v, %s, want the defaults 30s, 24h, no", tt.text, s.StayPatience, s.StayKeep, s.StayResume)
		}
	}
}

func TestPaths(t *testing.T) {
	t.Setenv("STAY_TEST_DIR", "/from/env")
	s, err := resolve(t, `Host h
	HostName %h.example.org
	User u%%
	IdentityFile ~/.ssh/one
	IdentityFile %d/two
	IdentityFile ~/.ssh/one
	IdentityFile ${STAY_TEST_DIR}/%n-%h-%r-%p-%u
	CertificateFile /cert
	CertificateFile none
	UserKnownHostsFile ~/a "/b c" %d/%k
	RevokedHostKeys none
	IdentityAgent $STAY_TEST_DIR
Host *
	IdentityFile /last
	Port 2201
`, "H")
	if err != nil {
		t.Fatal(err)
	}
	if s.Port != 2201 || len(s.IdentityFile) != 1 {
		t.Errorf("got port %d, %v: Host h applies to H, want it not to", s.Port, s.IdentityFile)
	}
	home := t.TempDir()
	s, err = Resolve(t.Context(), Query{Host: "h", File: "none", Home: home, LocalUser: "me", Options: []string{
		"HostName=%h.example.org", "User=u", "Port=2201", "IdentityFile ~/.ssh/one", "IdentityFile=%d/two", "IdentityFile=~/.ssh/one",
		"IdentityFile=${STAY_TEST_DIR}/%n-%h-%r-%p-%u-%%", "CertificateFile=/cert", "CertificateFile=none",
		`UserKnownHostsFile=~/a "/b c" %d/%k`, "RevokedHostKeys=none", "IdentityAgent=$STAY_TEST_DIR"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		got, want []string
	}{
		{"IdentityFile", s.IdentityFile, []string{home + "/.ssh/one", home + "/two", "/from/env/h-h.example.org-u-2201-me-%"}},
		{"CertificateFile", s.CertificateFile, []string{"/cert"}},
		{"UserKnownHostsFile", s.UserKnownHostsFile, []string{home + "/a", "/b c", home + "/h"}},
		{"RevokedHostKeys", []string{strings.Join(s.RevokedHostKeys, " ")}, []string{""}},
		{"IdentityAgent", []string{s.IdentityAgent}, []string{"/from/env"}},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}

func TestErrorsNameTheirLine(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"\nUserKnownHostsFile ${STAY_TEST_UNSET}/x", "line 2: userknownhostsfile: environment variable STAY_TEST_UNSET is not set"},
		{"UserKnownHostsFile x%", "line 1: userknownhostsfile: \"x%\" ends in a lone %"},
		{"HostName %p", "line 1: hostname: unknown key %p"},
		{"Host h\n Port 99999", "line 2: port: bad port"},
		{"Match nonsense x\n", "line 1: match: unsupported Match attribute \"nonsense\""},
		{"Match host\n", "line 1: match: missing argument for \"host\""},
		{"Match \"host h\n", "line 1: match: invalid quotes"},
		{"IgnoreUnknown Stay*\nStayResume maybe", "line 2: stayresume: unsupported option"},
		{"Host other\nNoSuchKeyword x", "line 2: Bad configuration option: nosuchkeyword"},
		{"StayInterval 5", "line 1: Bad configuration option: stayinterval (without IgnoreUnknown Stay*)"},
		{"ConnectTimeout 5 6", "line 1: connecttimeout: extra arguments"},
		{"Ciphers +", "line 1: ciphers: bad algorithm list"},
		{"Ciphers a,,b", "line 1: ciphers: unknown algorithm \"a\""},
		{"Include", "line 1: include: missing argument"},
		{"=x", "line 1: x: missing argument"},
	} {
		_, err := resolve(t, tt.text, "h")
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "test: ", "test "), "test "+tt.want) {
			t.Errorf("%q: got %v, want %s in it", tt.text, err, tt.want)
		}
	}
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	write(t, file, "Port 2201\nUser file\nServerAliveInterval 7\n")
	s, err := Resolve(t.Context(), Query{Host: "h", File: file, User: "arg", Options: []string{"Port=2202", "port 2203", "User opt"}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Port != 2202 || s.User != "arg" || s.ServerAliveInterval != 7*time.Second {
		t.Errorf("got port %d, user %s, interval %v, want 2202, arg, 7s", s.Port, s.User, s.ServerAliveInterval)
	}
	if s, err = Resolve(t.Context(), Query{Host: "h", File: file, Port: 2204, Options: []string{"Port=2202"}}); err != nil || s.Port != 2204 {
		t.Errorf("got %v, %v, want port 2204", s, err)
	}
	for _, opt := range []string{"Port", "Host=x", "Match=all", "Include=/x", "Port=1 2", "Port=22\nUser=x"} {
		if _, err := Resolve(t.Context(), Query{Host: "h", File: file, Options: []string{opt}}); err == nil || !strings.HasPrefix(err.Error(), "command line") {
			t.Errorf("option %q: got %v, want an error of the command line", opt, err)
		}
	}
}

func TestInclude(t *testing.T) {
	home := t.TempDir()
	dir := filepath.Join(home, ".ssh")
	write(t, filepath.Join(dir, "config"), "Include conf.d/*.conf ~/extra missing\nHost h\n  Include in-block\n  Port 2201\nHost *\n  User last\n")
	write(t, filepath.Join(dir, "conf.d/1.conf"), "ServerAliveInterval 1\nHost other\n  Port 1\n")
	write(t, filepath.Join(dir, "conf.d/2.conf"), "ServerAliveInterval 2\nInclude conf.d/deep/3\n")
	write(t, filepath.Join(dir, "conf.d/deep/3"), "ServerAliveCountMax 33\n")
	write(t, filepath.Join(home, "extra"), "ConnectTimeout 4\n")
	write(t, filepath.Join(dir, "in-block"), "Host h\n  ConnectionAttempts 5\nHost other\n  Port 6\n")
	s, err := Resolve(t.Context(), Query{Host: "h", Home: home, LocalUser: "me"})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%v %d %v %d %d %s", s.ServerAliveInterval, s.ServerAliveCountMax, s.ConnectTimeout, s.ConnectAttempts, s.Port, s.User)
	if want := "1s 33 4s 5 2201 last"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s, err = Resolve(t.Context(), Query{Host: "other", Home: home, LocalUser: "me"})
	if err != nil || s.Port != 1 || s.ConnectAttempts != 1 {
		t.Errorf("got %+v, %v, want port 1 and nothing of the block of another host", s, err)
	}
	write(t, filepath.Join(dir, "config"), "Include loop\n")
	write(t, filepath.Join(dir, "loop"), "Include loop\n")
	if _, err := Resolve(t.Context(), Query{Host: "h", Home: home, LocalUser: "me"}); err == nil || !strings.Contains(err.Error(), "too many nested Include") {
		t.Errorf("loop: got %v, want an error of too many nested Include lines", err)
	}
	for i := range maxIncludeDepth {
		write(t, filepath.Join(dir, fmt.Sprint("n", i)), fmt.Sprintf("Include n%d\n", i+1))
	}
	write(t, filepath.Join(dir, "config"), "Include n1\n")
	write(t, filepath.Join(dir, fmt.Sprint("n", maxIncludeDepth)), "Port 2216\n")
	if s, err := Resolve(t.Context(), Query{Host: "h", Home: home, LocalUser: "me"}); err != nil || s.Port != 2216 {
		t.Errorf("%d deep: got %v, want port 2216", maxIncludeDepth, err)
	}
	if _, err := Resolve(t.Context(), Query{Host: "h", File: filepath.Join(dir, "nowhere")}); err == nil {
		t.Error("-F of a missing file: got no error, want one")
	}
}

func TestMatchExecRunsOnlyWhenReached(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	if _, err := resolve(t, "Match host other exec \"touch "+mark+"\"\nPort 1\n", "h"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the command was run, want it left alone after a criterion that does not hold")
	}
}

// TestMatchExecStdout runs itself: what Match exec prints must not reach the
// stdout that belongs to ssh.
func TestMatchExecStdout(t *testing.T) {
	if file := os.Getenv("STAY_TEST_EXEC"); file != "" {
		s, err := Resolve(t.Context(), Query{Host: "h", File: file})
		if err != nil || s.Port != 2201 {
			t.Fatalf("got %v, want port 2201", err)
		}
		return
	}
	file := filepath.Join(t.TempDir(), "config")
	write(t, file, "Match exec \"echo no''ise; cat\"\nPort 2201\n")
	cmd := exec.Command(os.Args[0], "-test.run=^TestMatchExecStdout$")
	cmd.Env = append(os.Environ(), "STAY_TEST_EXEC="+file)
	cmd.Stdin = strings.NewReader("noise")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if bytes.Contains(out, []byte("noise")) {
		t.Errorf("got %q on stdout, want nothing of the command", out)
	}
}

func TestParseTime(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want time.Duration
	}{
		{"0", 0}, {"90", 90 * time.Second}, {"1m30", 90 * time.Second}, {"1m30s", 90 * time.Second}, {"2H", 2 * time.Hour},
		{"1d", 24 * time.Hour}, {"1w", 7 * 24 * time.Hour}, {"1w2d3h4m5s", 788645 * time.Second}, {"24h", 24 * time.Hour},
	} {
		if got, err := ParseTime(tt.in); err != nil || got != tt.want {
			t.Errorf("ParseTime(%q): got %v, %v, want %v", tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{"-1", "1x", "s", "1.5", "1 m", "99999999999", "9999999w", "1ms", "m1", "٣"} {
		if got, err := ParseTime(in); err == nil {
			t.Errorf("ParseTime(%q): got %v, want an error", in, got)
		}
	}
}

func TestCheckNames(t *testing.T) {
	for _, tt := range []struct {
		name       string
		host, user bool // is good as
	}{
		{"host.example.org", true, true},
		{"2001:db8::1", true, true},
		{"fe80::1%eth0", true, true},
		{"a_b-c", true, true},
		{"bücher.example", true, true},
		{"à-b", true, true}, // its second byte is a Latin-1 no-break space
		{"[::1]", true, true},
		{"a@b", true, true},
		{"a b", false, true},
		{"a,b", false, true},
		{"DOMAIN\\user", false, false},
		{"", false, false},
		{"-oProxyCommand=x", false, false},
		{"a -b", false, false},
		{"a$b", false, false},
		{"a;b", false, false},
		{"a`b", false, false},
		{"a'b", false, false},
		{`a"b`, false, false},
		{"a&b", false, false},
		{"a|b", false, false},
		{"a<b", false, false},
		{"a>b", false, false},
		{"a(b", false, false},
		{"a)b", false, false},
		{"a{b", false, false},
		{"a}b", false, false},
		{"a\\b", false, false},
		{"a\nb", false, false},
		{"a\tb", false, false},
		{"a\x00b", false, false},
		{"a\x1b[31mb", false, false},
		{"a\x7fb", false, false},
		{"a\u0085b", false, false},
	} {
		if err := CheckHost(tt.name); (err == nil) != tt.host {
			t.Errorf("CheckHost(%q): got %v, want good: %v", tt.name, err, tt.host)
		}
		if err := CheckUser(tt.name); (err == nil) != tt.user {
			t.Errorf("CheckUser(%q): got %v, want good: %v", tt.name, err, tt.user)
		}
	}
}

func TestParseJumps(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []Jump
	}{
		{"none", nil},
		{"a", []Jump{{"", "a", 0}}},
		{"u@a:2201,b", []Jump{{"u", "a", 2201}, {"", "b", 0}}},
		{"u@v@a", []Jump{{"u@v", "a", 0}}},
		{"[2001:db8::1]", []Jump{{"", "2001:db8::1", 0}}},
		{"u@[2001:db8::1]:2201", []Jump{{"u", "2001:db8::1", 2201}}},
		{"ssh://a", []Jump{{"", "a", 0}}},
		{"ssh://u@a:2201/", []Jump{{"u", "a", 2201}}},
		{"ssh://u;fingerprint=x@a", []Jump{{"u", "a", 0}}},
		{"ssh://u%40v@a", []Jump{{"u@v", "a", 0}}},
		{"a,ssh://b:22,u@c", []Jump{{"", "a", 0}, {"", "b", 22}, {"u", "c", 0}}},
	} {
		got, err := ParseJumps(tt.in)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("ParseJumps(%q): got %v, %v, want %v", tt.in, got, err, tt.want)
		}
		for _, j := range got { // main passes the rest of a list on as text
			if again, err := ParseJumps(j.String()); err != nil || len(again) != 1 || again[0] != j {
				t.Errorf("ParseJumps(%q): got %v, %v, want %v back", j.String(), again, err, j)
			}
		}
	}
	for _, in := range []string{
		"", ",", "a,", "@a", "u@", "a:0", "a:65536", "a:x", "a:-1", "::1", "[::1", "[::1]x", "[]:22", ":22", "-a", "u@-a", "-u@a",
		"a;b", "$(x)", "`x`", "u$x@a", "a b", "a\nb", "ssh://", "ssh://a/path", "ssh://a%00b", "ssh://a%40b", "ssh://u%00@a", "ssh://u%0a@a", "ssh://u%zz@a", "ssh://u%24x@a",
		"ssh://@a",
	} {
		if got, err := ParseJumps(in); err == nil {
			t.Errorf("ParseJumps(%q): got %v, want an error", in, got)
		}
	}
}

func TestExpandCommand(t *testing.T) {
	s := &Settings{Alias: "Name", User: "u", ProxyCommand: "nc %h %p %n %k %r %%"}
	if got, err := s.ExpandCommand("host", 2201); err != nil || got != "nc host 2201 Name name u %" {
		t.Errorf("got %q, %v, want nc host 2201 Name name u %%", got, err)
	}
	s.HostKeyAlias = "Key"
	if got, err := s.ExpandCommand("host", 22); err != nil || got != "nc host 22 Name key u %" {
		t.Errorf("got %q, %v, want nc host 22 Name key u %%", got, err)
	}
	for _, bad := range []Settings{
		{Alias: "$(x)", User: "u"}, {Alias: "a", User: "u;x", ProxyCommand: "nc %r"}, {Alias: "a", User: "u", HostKeyAlias: "`x`"},
		{Alias: "a", User: "u", ProxyCommand: "nc %x"}, {Alias: "a", User: "u", ProxyCommand: "nc %"},
	} {
		if got, err := bad.ExpandCommand("host", 22); err == nil {
			t.Errorf("%+v: got %q, want an error", bad, got)
		}
	}
	s.ProxyCommand, s.User = "nc %h", `DOM\joe`
	if got, err := s.ExpandCommand("host", 22); err != nil || got != "nc host" {
		t.Errorf("got %q, %v; want no say for a user whom the command is not told", got, err)
	}
	if got, err := s.ExpandCommand("h;x", 22); err == nil {
		t.Errorf("got %q, want an error", got)
	}
}

// What ssh makes of ProxyJump is a ProxyCommand, whose tokens are those of the host
// behind (ssh_config(5), OpenSSH 9.2).
func TestExpandJumps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	write(t, file, "Host web\n HostName web.example.org\n Port 2201\n User deploy\n ProxyJump a-%h-%p,%r@jump-%n.example.org:22,[fe80::1%%lo]\nHost bad\n ProxyJump x%x\n")
	s, err := Resolve(t.Context(), Query{Host: "web", File: file})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.ExpandJumps(s.HostName, s.Port)
	want := []Jump{{Host: "a-web.example.org-2201"}, {User: "deploy", Host: "jump-web.example.org", Port: 22}, {Host: "fe80::1%lo"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if s.Jumps[0].Host != "a-%h-%p" {
		t.Errorf("Jumps itself is %+v now", s.Jumps)
	}
	s, err = Resolve(t.Context(), Query{Host: "bad", File: file})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.ExpandJumps(s.HostName, s.Port); err == nil {
		t.Errorf("got %+v, want an error for an unknown token", got)
	}
	if got, err := (&Settings{Alias: "a", User: "u", Jumps: []Jump{{Host: "%h"}}}).ExpandJumps("$(x)", 22); err == nil {
		t.Errorf("got %+v, want an error for a bad name", got)
	}
}

func TestPrintExplains(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	write(t, file, "IgnoreUnknown Stay*\nHost h\n  Port 2201\n  StayInterval 9\n")
	s, err := Resolve(t.Context(), Query{Host: "h", File: file, Options: []string{"User=u"}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Print(&out, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"port 2201  # " + file + ":3\n", "stayinterval 9  # " + file + ":4\n", "user u  # command line\n", "tcpkeepalive yes\n",
	} {
		if !strings.Contains(out.String(), "\n"+want) {
			t.Errorf("got %s\nwant a line %q", out.String(), want)
		}
	}
}

// TestAddressCounts: where ssh's own check of a host depends on its address.
func TestAddressCounts(t *testing.T) {
	const check, trust = "CheckHostIP yes\n", "NoHostAuthenticationForLocalhost yes\n"
	for _, tt := range []struct{ host, text, want string }{
		{"h", "", ""},
		{"h", "CheckHostIP no\nNoHostAuthenticationForLocalhost no", ""},
		{"h", check, "CheckHostIP"},
		{"h", check + "HostKeyAlias a", "CheckHostIP"},
		{"h", check + "HostName 192.0.2.1", ""},
		{"192.0.2.1", check + "Port 2222", ""},
		{"h", check + "HostName 192.0.2.1\nHostKeyAlias a", ""},
		{"h", check + "HostName 192.0.2.1\nHostKeyAlias a\nPort 2222", "CheckHostIP"},
		{"localhost", check, ""},
		{"h", check + "HostName 127.1.2.3\nHostKeyAlias a\nPort 2222", ""},
		{"h", trust, ""},
		{"localhost", trust, "NoHostAuthenticationForLocalhost"},
		{"LocalHost", trust, "NoHostAuthenticationForLocalhost"},
		{"db.localhost", trust, "NoHostAuthenticationForLocalhost"},
		{"127.1", trust, "NoHostAuthenticationForLocalhost"},
		{"::1", trust, "NoHostAuthenticationForLocalhost"},
		{"h", trust + "HostName 127.0.0.1", "NoHostAuthenticationForLocalhost"},
		{"h", trust + "HostName 127.0.0.1\nHostKeyAlias a", ""},
		{"localhost", trust + "HostName 192.0.2.1", ""},
		{"h", check + trust, "CheckHostIP"},
	} {
		s, err := resolve(t, tt.text, tt.host)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.AddressCounts(); got != tt.want {
			t.Errorf("%s, %q: got %q, want %q", tt.host, tt.text, got, tt.want)
		}
	}
}
