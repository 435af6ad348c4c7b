package setup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sample is a config of the awkward kind, and what setup makes of it.
type sample struct {
	name    string
	config  string // text of ~/.ssh/config
	none    bool   // there is none
	mode    os.FileMode
	prepare func(t *testing.T, home string) // after config is written
	system  string                          // text of the system's config
	program string
	file    string // -F, relative to the home
	change  Change

	through []string         // hosts that go through us
	past    []string         // hosts that do not, and are as they were
	lines   []string         // "HOST KEYWORD VALUE" of ssh -G
	behind  []string         // "HOST ROUTE" that ssh-stay finds behind itself
	refused func(error) bool // nothing is written
}

func write(path, text string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, home string) {
		t.Helper()
		name := filepath.Join(home, path)
		must(t, os.MkdirAll(filepath.Dir(name), 0o700))
		must(t, os.WriteFile(name, []byte(text), mode))
		must(t, os.Chmod(name, mode))
	}
}

// moved puts the config elsewhere, behind links in steps.
func moved(steps ...string) func(*testing.T, string) {
	return func(t *testing.T, home string) {
		t.Helper()
		at := filepath.Join(home, ".ssh", "config")
		for _, step := range steps {
			to := filepath.Join(home, step)
			must(t, os.MkdirAll(filepath.Dir(to), 0o700))
			must(t, os.Rename(at, to))
			link := to
			if !strings.HasPrefix(step, "abs/") {
				link, _ = filepath.Rel(filepath.Dir(at), to)
			}
			must(t, os.Symlink(link, at))
			at = to
		}
	}
}

func both(fns ...func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, home string) {
		for _, fn := range fns {
			fn(t, home)
		}
	}
}

const usual = "Host work\n    HostName work.example.com\n    User me\nHost *\n    Compression yes\n"

func seconds(n int) *time.Duration {
	d := time.Duration(n) * time.Second
	return &d
}

func samples() []sample {
	all := Change{}
	work := Change{Patterns: []string{"work"}}
	keyed, keyedWork := Change{Interval: seconds(9)}, Change{Patterns: []string{"work"}, Interval: seconds(9)}
	return []sample{
		{name: "usual", config: usual, change: all, through: []string{"work", "other"}},
		{name: "one host", config: usual, change: work, through: []string{"work"}, past: []string{"other", "workx"}},
		{name: "empty", change: all, through: []string{"a"}},
		{name: "blank line", config: "\n", change: all, through: []string{"a"}},
		{name: "only comments", config: "# nothing\n  # here", change: work, through: []string{"work"}, past: []string{"a"}},
		{name: "no config", none: true, change: all, through: []string{"a"}},
		{name: "no folder", none: true, prepare: func(t *testing.T, home string) { must(t, os.Remove(filepath.Join(home, ".ssh"))) }, change: all, through: []string{"a"}},
		{name: "no final newline", config: "Host work\n  Port 7", change: work, through: []string{"work"}, lines: []string{"work port 7"}, past: []string{"a"}},
		{name: "crlf", config: strings.ReplaceAll(usual, "\n", "\r\n"), change: all, through: []string{"work", "a"}, lines: []string{"work user me"}},
		{name: "crlf without end", config: "Host work\r\n  Port 7\r", change: work, through: []string{"work"}, lines: []string{"work port 7"}, past: []string{"a"}},
		{name: "tabs and equals", config: "Host\twork\n\tPort\t=\t7\nHost=eq\nUser=\"q q\"\n", change: work, through: []string{"work"}, past: []string{"eq", "a"}},
		{name: "no indent", config: "Host work\nPort 7\nHost *\nUser x", change: all, through: []string{"work"}, lines: []string{"work port 7", "work user x"}},
		{name: "global lines first", config: "User early\nPort 99\n" + usual, change: work, through: []string{"work"}, past: []string{"a"}, lines: []string{"a user early", "a port 99"}},
		{name: "host all at the top", config: "Host *\n  User all\nHost work\n  User late\n", change: work, through: []string{"work"}, past: []string{"a"}, lines: []string{"work user all"}},
		{name: "match at the top", config: "Match host work\n  Port 7\nMatch all\n  User x\n", change: work, through: []string{"work"}, past: []string{"a"}, lines: []string{"work port 7", "a user x"}},
		{name: "match exec", config: "Match exec \"test %n = work\"\n  Port 7\n", change: work, through: []string{"work"}, past: []string{"a"}, lines: []string{"work port 7"}},
		{name: "match final", config: "Match final host work\n  Port 7\nHost work\n  User me\n", change: all, through: []string{"work", "a"}, lines: []string{"work port 7"}},
		{name: "match originalhost list", config: "Match originalhost work,play !host x\n  Port 7\n", change: Change{Patterns: []string{"pl*"}}, through: []string{"play"}, past: []string{"work", "x"}},
		{name: "unicode", config: "# Büro ☕\nHost büro\n  User jürgen\nHost work\n", change: work, through: []string{"work"}, past: []string{"a"}},
		{name: "bytes that are not utf-8", config: "# \xff\xfe\nHost work\n  User \xe9\n", change: work, through: []string{"work"}, past: []string{"a"}},
		{name: "byte order mark", config: "\ufeff" + usual, change: all, refused: isRefused},
		{name: "utf-16", config: "\xff\xfeH\x00o\x00s\x00t\x00 \x00a\x00\n\x00", change: all, refused: isRefused},
		{name: "broken", config: "Host work\n  Prt 7\n", change: all, refused: isRefused},
		{name: "nul byte", config: "Host work\n  Port 7\x00\n  User me\n", change: work, through: []string{"work"}, past: []string{"a"}},
		{name: "a megabyte", config: strings.Repeat("# a line of some length, as generators write them\n", 20000) + usual, change: work, through: []string{"work"}, past: []string{"a"}},
		{name: "many hosts", config: manyHosts(400), change: Change{Patterns: []string{"h*"}}, through: []string{"h7"}, past: []string{"a"}},

		{name: "mode 0644", config: usual, mode: 0o644, change: all, through: []string{"work"}},
		{name: "mode 0640", config: usual, mode: 0o640, change: all, through: []string{"work"}},
		{name: "mode 0400", config: usual, mode: 0o400, change: all, through: []string{"work"}},
		{name: "mode 0700", config: usual, mode: 0o700, change: all, through: []string{"work"}},
		{name: "symbolic link", config: usual, prepare: moved("dotfiles/ssh_config"), change: all, through: []string{"work"}},
		{name: "absolute link", config: usual, prepare: moved("abs/ssh_config"), change: all, through: []string{"work"}},
		{name: "chain of links", config: usual, prepare: moved("one/config", "abs/two", "three/x"), change: all, through: []string{"work"}},
		{name: "folder is a link", config: usual, prepare: func(t *testing.T, home string) {
			must(t, os.Rename(filepath.Join(home, ".ssh"), filepath.Join(home, "real")))
			must(t, os.Symlink("real", filepath.Join(home, ".ssh")))
		}, change: all, through: []string{"work"}},
		{name: "link to nothing", none: true, prepare: func(t *testing.T, home string) {
			must(t, os.Symlink("nowhere", filepath.Join(home, ".ssh", "config")))
		}, change: all, refused: is(errDangling)},
		{name: "a folder for a config", none: true, prepare: write(".ssh/config/x", "", 0o600), change: all, refused: is(errIrregular)},
		{name: "hard link", config: usual, prepare: func(t *testing.T, home string) {
			must(t, os.Link(filepath.Join(home, ".ssh", "config"), filepath.Join(home, "second")))
		}, change: all, refused: isReadOnly},
		{name: "a file of that name", config: usual, prepare: write(".ssh/ssh-stay.conf", "Host mine\n", 0o600), change: all, refused: isForeign},
		{name: "of another config", config: usual, prepare: write(".ssh/ssh-stay.conf", header+"\n"+forPrefix+"/else/config\n", 0o600), change: all, refused: isForeign},
		{name: "another owner", config: usual, prepare: func(t *testing.T, home string) {
			must(t, os.Chown(filepath.Join(home, ".ssh", "config"), 4242, 4343))
		}, change: all, refused: as[*OwnerError]},
		{name: "another owner of the folder", config: usual, prepare: func(t *testing.T, home string) {
			must(t, os.Chown(filepath.Join(home, ".ssh"), 4242, 4343))
		}, change: all, refused: as[*OwnerError]},
		{name: "another owner of the folder behind", config: usual, prepare: both(moved("dotfiles/c"), func(t *testing.T, home string) {
			must(t, os.Chown(filepath.Join(home, "dotfiles"), 4242, 4343))
		}), change: all, refused: as[*OwnerError]},
		{name: "another owner, no config", none: true, prepare: func(t *testing.T, home string) {
			must(t, os.Chown(filepath.Join(home, ".ssh"), 4242, 4343))
		}, change: all, refused: as[*OwnerError]},
		{name: "another owner of the home", none: true, prepare: func(t *testing.T, home string) {
			must(t, os.Remove(filepath.Join(home, ".ssh")))
			must(t, os.Chown(home, 4242, 4343))
		}, change: all, refused: as[*OwnerError]},
		{name: "another group", config: usual, mode: 0o640, prepare: func(t *testing.T, home string) {
			must(t, os.Chown(filepath.Join(home, ".ssh", "config"), 0, 4343))
		}, change: all, through: []string{"work"}},
		{name: "a left-over of ours", config: usual, prepare: func(t *testing.T, home string) {
			write(".ssh/ssh-stay.conf", header+"\n"+forPrefix+filepath.Join(home, ".ssh", "config")+"\n\n# setup old\nHost old\n    ProxyCommand false\n", 0o600)(t, home)
		}, change: work, through: []string{"work"}, past: []string{"old"}},

		{name: "ignores unknown", config: "IgnoreUnknown Foo,Bar*\nFoo 1\nBarBaz 2\n" + usual, change: keyed, through: []string{"work"}},
		{name: "ignores unknown in a block", config: "Host work\n  IgnoreUnknown Foo\n  Foo 1\nHost *\n  Compression yes\n", change: keyedWork, refused: isRefused},
		{name: "ignores unknown in blocks", config: "Match all\n  IgnoreUnknown Foo\n  Foo 1\nHost work\n  Foo 2\n", change: keyedWork, through: []string{"work"}, past: []string{"a"}},
		{name: "ignores ours already", config: "IgnoreUnknown stay*\n" + usual, change: keyed, through: []string{"work"}},
		{name: "ignores everything", config: "IgnoreUnknown *\nHost work\n  Anything 1\n", change: all, through: []string{"work"}},
		{name: "ignores, in quotes", config: "IgnoreUnknown \"Foo,Bar\"\nFoo 1\n" + usual, change: keyed, through: []string{"work"}},
		{name: "ignores in an include", config: "Include more\nFoo 1\n" + usual, prepare: write(".ssh/more", "IgnoreUnknown Foo\n", 0o600), change: keyed, through: []string{"work"}},
		{name: "ignores in the system's", config: usual, system: "IgnoreUnknown Quux\nQuux 1\n", change: keyed, through: []string{"work"}},
		{name: "ignores twice", config: "IgnoreUnknown Foo\nFoo 1\nIgnoreUnknown Bar\nHost work\n  Port 7\n", change: keyed, through: []string{"work"}},
		{name: "include first", config: "Include conf.d/*\n" + usual, prepare: both(write(".ssh/conf.d/10", "Host ten\n  Port 10\n", 0o600), write(".ssh/conf.d/20", "Host twenty\n  Port 20\n", 0o600)), change: Change{Patterns: []string{"ten"}}, through: []string{"ten"}, past: []string{"twenty", "work", "a"}},
		{name: "include of nothing", config: "Include nothing/*\nInclude ~/none\n" + usual, change: work, through: []string{"work"}, past: []string{"a"}},
		{name: "include in a block", config: "Host work\n  Include extra\nHost *\n  Compression yes\n", prepare: write(".ssh/extra", "Port 7\n", 0o600), change: all, through: []string{"work"}, lines: []string{"work port 7"}},

		{name: "command of its own", config: "Host work\n  ProxyCommand nc %h %p\n", change: all, through: []string{"work"}, behind: []string{"work nc %h %p", "a direct"}},
		{name: "command none", config: "Host work\n  ProxyCommand none\nHost *\n  ProxyCommand nc %h %p\n", change: all, through: []string{"work", "a"}, behind: []string{"work direct", "a nc %h %p"}},
		{name: "jump", config: "Host work\n  ProxyJump gate,inner\nHost gate\n  Port 7\n", change: all, through: []string{"work", "gate"}, behind: []string{"work gate,inner", "gate direct"}},
		{name: "jump with ControlPath", config: "Host work\n  ProxyJump gate\nHost *\n  ControlPath ~/.ssh/cm-%C\n", change: work, through: []string{"work"}, past: []string{"gate"}, behind: []string{"work gate"}},
		{name: "descriptors, direct", config: "Host work\n  ProxyUseFdpass yes\n", change: all, through: []string{"work"}, lines: []string{"work proxyusefdpass yes"}},
		{name: "descriptors over a jump", config: "Host work\n  ProxyUseFdpass yes\n  ProxyJump gate\n", change: all, through: []string{"work"}, lines: []string{"work proxyusefdpass no"}, behind: []string{"work gate"}},
		{name: "descriptors over a jump by a pattern", config: "Host *.corp\n  ProxyJump gate\nHost *\n  ProxyUseFdpass yes\n", change: all, through: []string{"db.corp", "x.corp", "a"},
			lines: []string{"db.corp proxyusefdpass no", "x.corp proxyusefdpass no", "a proxyusefdpass yes"}, behind: []string{"db.corp gate"}},
		{name: "descriptors over a jump by a pattern with its first names", config: "Host *.corp !x.corp\n  ProxyJump gate\nHost x.corp\nHost *\n  ProxyUseFdpass yes\n", change: all, through: []string{"db.corp", "x.corp"},
			lines: []string{"db.corp proxyusefdpass no", "x.corp proxyusefdpass yes"}, behind: []string{"db.corp gate", "x.corp direct"}},
		{name: "descriptors over a jump of all", config: "Host * !gate\n  ProxyJump gate\n  ProxyUseFdpass yes\n", change: all, through: []string{"a", "a.invalid", "gate"},
			lines: []string{"a proxyusefdpass no", "a.invalid proxyusefdpass no"}, behind: []string{"a gate", "gate direct"}},
		{name: "descriptors over a jump, of some patterns", config: "Host *.corp\n  ProxyJump gate\nHost *\n  ProxyUseFdpass yes\n", change: Change{Patterns: []string{"db*", "!db9*", "web.corp", "a"}}, through: []string{"db.corp", "web.corp", "db.lan", "a"}, past: []string{"x.corp", "db9.corp", "b"},
			lines: []string{"db.corp proxyusefdpass no", "web.corp proxyusefdpass no", "db.lan proxyusefdpass yes", "a proxyusefdpass yes"}},
		{name: "descriptors over a jump of a match", config: "Match originalhost *.corp exec \"test %n != y.corp\"\n  ProxyJump gate\nMatch user bob\n  ProxyJump none\nHost *\n  ProxyUseFdpass yes\n", change: all, through: []string{"db.corp", "y.corp"},
			lines: []string{"db.corp proxyusefdpass no", "y.corp proxyusefdpass no", "a proxyusefdpass yes"}},
		{name: "descriptors over a jump that is not there now", config: "Match exec false\n  ProxyJump gate\nMatch all\n  ProxyUseFdpass yes\n", change: all, through: []string{"a", "x.y"}, lines: []string{"a proxyusefdpass no", "x.y proxyusefdpass no"}},
		{name: "descriptors over a jump of one, in an include", config: "Host work\n  Include extra\nHost *\n  ProxyUseFdpass yes\n", prepare: write(".ssh/extra", "ProxyJump gate\n", 0o600), change: all, through: []string{"work", "a"}, lines: []string{"work proxyusefdpass no", "a proxyusefdpass yes"}},
		{name: "descriptors over a jump that only ssh sees", config: "Host *.corp\n  HostName gw\nMatch host gw\n  ProxyJump gate\nHost *\n  ProxyUseFdpass yes\n", change: all, through: []string{"db.corp"}, lines: []string{"db.corp proxyusefdpass no"}, behind: []string{"db.corp gate"}},
		{name: "descriptors of a command by a match", config: "Match host *.corp\n  ProxyCommand nc -F %h %p\n  ProxyUseFdpass yes\n", change: all, refused: isPassing("*.corp")},
		{name: "descriptors of a command by a match, left out", config: "Match host *.corp\n  ProxyCommand nc -F %h %p\n  ProxyUseFdpass yes\n", change: Change{Patterns: []string{"*", "!*.corp"}}, through: []string{"a"}, past: []string{"db.corp", "x.corp"}},
		{name: "descriptors of a command", config: "Host work\n  ProxyCommand nc -F %h %p\n  ProxyUseFdpass yes\n", change: all, through: []string{"a"}, past: []string{"work"}},
		{name: "descriptors of a command, asked for", config: "Host work\n  ProxyCommand nc -F %h %p\n  ProxyUseFdpass yes\n", change: work, refused: as[*PassingError]},
		{name: "descriptors, systemd's", config: usual, system: "Host unix/* vsock/*\n  ProxyCommand /usr/lib/systemd/systemd-ssh-proxy %h %p\n  ProxyUseFdpass yes\n", change: all, through: []string{"work"}, past: []string{"unix/y"}},
		{name: "descriptors in a match block", config: "Match host work\n  ProxyCommand nc -F %h %p\n  ProxyUseFdpass yes\n", change: all, through: []string{"a"}, past: []string{"work"}},
		{name: "descriptors of all", config: "ProxyUseFdpass yes\nProxyCommand nc -F %h %p\n", change: all, refused: isPassing("*")},
		{name: "ours by hand", config: "IgnoreUnknown Stay*\nHost *\n  ProxyCommand ssh-stay proxy --alias '%n' --user '%r' %h %p\nHost work\n  ProxyJump gate\n", change: all, through: []string{"work"}, behind: []string{"work gate"}},
		{name: "keywords of ours", config: "IgnoreUnknown Stay*\nHost work\n  StayResume target\n  StayInterval 9\n", change: all, through: []string{"work"}},
		{name: "canonical, not behind a proxy", config: "CanonicalizeHostname yes\nCanonicalDomains invalid\n", change: all, refused: as[*CanonicalError]},
		{name: "canonical always", config: "CanonicalizeHostname always\nCanonicalDomains invalid\n" + usual, change: all, through: []string{"work"}},
		{name: "canonical, elsewhere", config: "Match host work\n  Port 7\nHost far\n  CanonicalizeHostname yes\n", change: work, through: []string{"work"}, past: []string{"far"}},
		{name: "addresses of all", config: "CheckHostIP yes\n", change: all, refused: as[*AddressError]},
		{name: "addresses of one", config: "Host work\n  CheckHostIP yes\n", change: all, refused: as[*AddressError]},
		{name: "addresses, elsewhere", config: "Host far\n  CheckHostIP yes\n", change: work, through: []string{"work"}, past: []string{"far"}},
		{name: "addresses over a jump", config: "Host work\n  CheckHostIP yes\n  ProxyJump gate\n", change: all, through: []string{"work"}},
		{name: "addresses of a command", config: "Host work\n  CheckHostIP yes\n  ProxyCommand nc %h %p\n", change: all, through: []string{"work"}},
		{name: "addresses, resumed", config: "Host work\n  CheckHostIP yes\n", change: Change{Patterns: []string{"work"}, Resume: "target"}, through: []string{"work"}},
		{name: "addresses, resumed by a jump host that there is not", config: "Host work\n  CheckHostIP yes\n", change: Change{Patterns: []string{"work"}, Resume: "jump"}, refused: as[*AddressError]},
		{name: "trusts this machine", config: "NoHostAuthenticationForLocalhost yes\nHost work\n", change: all, through: []string{"work"}},
		{name: "trusts this machine, which is a host", config: "NoHostAuthenticationForLocalhost yes\nHost work\n  HostName 127.0.0.1\n", change: all, refused: as[*AddressError]},
		{name: "server alive of the user", config: "ServerAliveInterval 17\nServerAliveCountMax 5\n", change: all, through: []string{"a"}, lines: []string{"a serveraliveinterval 17", "a serveralivecountmax 5"}},
		{name: "several of a pattern", config: "Host a b c\n  Port 7\nHost *.example.com !x.example.com\n  User e\n", change: Change{Patterns: []string{"*.example.com", "!x.example.com", "b"}}, through: []string{"b", "y.example.com"}, past: []string{"a", "c", "x.example.com"}},
		{name: "resume", config: "ServerAliveInterval 17\nHost work\n  ProxyUseFdpass yes\n", change: Change{Patterns: []string{"work"}, Resume: "target", Interval: seconds(20)}, through: []string{"work"}, past: []string{"a"}, lines: []string{"work serveraliveinterval 0", "work proxyusefdpass no", "a serveraliveinterval 17"}},

		{name: "blank in the program", config: usual, program: "/opt/my tools/ssh-stay", change: all, through: []string{"work"}},
		{name: "percent in the program", config: usual, program: "/opt/100%/ssh-stay", change: all, through: []string{"work"}},
		{name: "dollar in the program", config: usual, program: "/opt/$x/ssh-stay", change: all, refused: as[*ProgramError]},
		{name: "another file", config: "Host work\n", prepare: both(write("etc/my conf*/ssh [x]", usual, 0o644), write("etc/my conf!/ssh [x].ssh-stay.conf", "ProxyCommand wrong\n", 0o600), write("etc/my conf*/ssh x.ssh-stay.conf", "ProxyCommand wrong\n", 0o600)), file: "etc/my conf*/ssh [x]", change: all, through: []string{"work"}},
		{name: "another file, with quotes", prepare: write(`etc/it's "x"/c`, usual, 0o644), file: `etc/it's "x"/c`, change: all, refused: as[*ProgramError]},
	}
}

func manyHosts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Host h%d\n  Port %d\n", i, 1000+i)
	}
	return b.String()
}
