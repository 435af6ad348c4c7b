package relay

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"ssh-stay/internal/sshtest"
)

// probe has a look, and expects that it leaves nothing.
func probe(t *testing.T, f *host, dirs ...string) *Report {
	t.Helper()
	count := func() (n int) {
		for _, dir := range append(dirs, f.Home, "/tmp") {
			left, err := filepath.Glob(dir + "/.ssh-stay-*")
			must(t, err)
			n += len(left)
		}
		return n
	}
	r, err := newClient(scriptBinary(t, echoRelay)).Probe(t.Context(), f.Exec)
	must(t, err)
	if n := count(); n > 0 {
		t.Errorf("%d files are left", n)
	}
	if _, err := os.Stat(filepath.Join(f.Home, ".cache")); err == nil && len(dirs) == 0 {
		t.Error("a folder was made")
	}
	return r
}

// TestProbe: places that would be made, that are there, and that are none.
func TestProbe(t *testing.T) {
	f := newHost(t, hostConfig{})
	r := probe(t, f)
	if !r.Served || !strings.HasPrefix(r.Platform, "Linux ") || len(r.Missing) > 0 || r.Kills || r.Loses {
		t.Errorf("got %+v", r)
	}
	home, runtime := f.Home+"/.cache/ssh-stay", f.Runtime+"/ssh-stay"
	if p, ok := r.Free(); !ok || p.Path != home || p.Free < 1<<20 || len(r.Places) != 3 {
		t.Errorf("got %+v, want %s first of three, with room", r.Places, home)
	}
	must(t, os.MkdirAll(home, 0o755)) // which others may read
	must(t, os.Mkdir(runtime, 0o700))
	r = probe(t, f, home, runtime)
	if p := r.Places[0]; p.OK || p.Why != "is not ours alone" {
		t.Errorf("got %+v, want it refused", p)
	}
	if p, ok := r.Free(); !ok || p.Path != runtime {
		t.Errorf("got %+v, want %s", r.Places, runtime)
	}

	f = newHost(t, hostConfig{})
	cache := f.Home + "/.cache"
	mount(t, cache, "noexec,mode=700,size=1m")
	if p := probe(t, f, cache).Places[0]; p.OK || p.Why != "cannot be executed from" || p.Free != 1<<20 {
		t.Errorf("got %+v, want a place of 1 MiB that executes nothing", p)
	}
}

// TestProbeShells: what the login shell may be.
func TestProbeShells(t *testing.T) {
	r := sshtest.For(t)
	account := r.Account()
	f := newHost(t, hostConfig{account: account})
	for _, shell := range []string{"bash", "zsh", "fish", "tcsh"} {
		must(t, exec.Command(r.Peer("usermod"), "--shell", r.Peer(shell), account.Name).Run())
		if p, ok := probe(t, f).Free(); !ok || p.Path != account.Home+"/.cache/ssh-stay" {
			t.Errorf("%s: got %+v", shell, p)
		}
	}
}

// TestProbeUnwritable: a user whose home is root's.
func TestProbeUnwritable(t *testing.T) {
	account := sshtest.For(t).Account()
	f := newHost(t, hostConfig{account: account, env: "XDG_CACHE_HOME=/var/lib"})
	r := probe(t, f, "/var/lib")
	if len(r.Places) != 2 || r.Places[0].Why != "cannot be written" || !r.Places[1].OK {
		t.Errorf("got %+v, want one that cannot be written and /tmp", r.Places)
	}
}

// TestProbeAsks has a busctl and an sshd of its own, which answer as those of
// systemd 255 and OpenSSH 9.2 do.
func TestProbeAsks(t *testing.T) {
	bin := t.TempDir()
	for name, text := range map[string]string{
		"busctl": `case $* in *KillUser*) echo "b true"; echo 'as 1 "root"';; *Linger*) echo "b false";; esac`,
		"sshd":   `echo "port 22"; echo "clientaliveinterval 60"; echo "clientalivecountmax 3"; echo "ClientAliveInterval 9"`,
	} {
		must(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700))
	}
	f := newHost(t, hostConfig{env: "PATH=" + bin + ":/usr/bin:/bin"})
	r := probe(t, f)
	if !r.Kills || r.Spares != `1 "root"` || !r.Loses {
		t.Errorf("got %+v, want that logind kills all but root and nobody lingers", r)
	}
	if want := map[string]string{"clientaliveinterval": "60", "clientalivecountmax": "3"}; !reflect.DeepEqual(r.ClientAlive, want) {
		t.Errorf("got %v, want %v", r.ClientAlive, want)
	}
	f = newHost(t, hostConfig{env: "PATH=" + t.TempDir()}) // where there is nothing
	r = probe(t, f)
	if r.Served || !reflect.DeepEqual(r.Missing, []string{"sha256sum, shasum or openssl", "gzip", "rm"}) || r.Kills {
		t.Errorf("got %+v, want all to be missing", r)
	}
}

// TestProbeReads has files of sshd's that sshd itself does not read for us, as for
// all users but root. A Match block ends with its file.
func TestProbeReads(t *testing.T) {
	r := sshtest.For(t)
	etc, bin := t.TempDir(), t.TempDir()
	must(t, os.Mkdir(filepath.Join(etc, "sshd_config.d"), 0o755))
	must(t, os.WriteFile(filepath.Join(bin, "sshd"), []byte("#!/bin/sh\nexit 1\n"), 0o700))
	force := "ForceCommand " + r.Peer("unshare") + ` -m sh -c "mount --bind ` + etc + ` /etc/ssh && exec sh -c \"\$SSH_ORIGINAL_COMMAND\""`
	f := newHost(t, hostConfig{env: "PATH=" + bin + ":/usr/bin:/bin", lines: []string{force}})
	const interval, count = "clientaliveinterval", "clientalivecountmax"
	for _, tc := range []struct {
		part, main string
		want       map[string]string
	}{
		{"", "ClientAliveInterval 5m\nClientAliveCountMax 4\n", map[string]string{interval: "5m", count: "4"}},
		{"", "\tclientaliveinterval\t300\t# five * minutes\r\n", map[string]string{interval: "300"}},
		{"", "ClientAliveInterval=300\nClientAliveCountMax = \"4\"\n", map[string]string{interval: "300", count: "4"}},
		{"", "#ClientAliveInterval 9\nClientAliveInterval 30s\nClientAliveInterval 9\n", map[string]string{interval: "30s"}},
		{"", "Port 22\nmatch User guest\n\tClientAliveInterval 9\n", map[string]string{}},
		{"Match User guest\nClientAliveInterval 9\n", "ClientAliveInterval 1h\n", map[string]string{interval: "1h"}},
		{"ClientAliveInterval 7\n", "ClientAliveInterval 9\nClientAliveCountMax\n", map[string]string{interval: "7"}},
	} {
		must(t, os.WriteFile(filepath.Join(etc, "sshd_config.d", "a.conf"), []byte(tc.part), 0o644))
		must(t, os.WriteFile(filepath.Join(etc, "sshd_config"), []byte(tc.main), 0o644))
		if got := probe(t, f).ClientAlive; !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q and %q: got %v, want %v", tc.part, tc.main, got, tc.want)
		}
	}
}

// TestProbeFails: no command, another command, and one that does not end.
func TestProbeFails(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"ForceCommand /bin/false", "it ended without an answer"},
		{"ForceCommand sleep 60", "no answer within 2s"},
		{"ForceCommand yes", "no answer in the 64 KiB that it says"},
		{"ForceCommand while echo && echo ssh-stay-relay 1 place ok 1 /x; do :; done", "it does not stop talking"},
	} {
		f := newHost(t, hostConfig{lines: []string{tc.line}})
		c := newClient()
		c.Patience = 2 * time.Second
		_, err := c.Probe(t.Context(), f.Exec)
		if none := (*UnavailableError)(nil); !errors.As(err, &none) || none.Why != tc.want {
			t.Errorf("%s: got %v, want %s", tc.line, err, tc.want)
		}
	}
	refused := errors.New("refused")
	_, err := newClient().Probe(t.Context(), func(context.Context, string) (net.Conn, error) { return nil, refused })
	if !errors.Is(err, refused) {
		t.Errorf("got %v, want the error of exec", err)
	}
}

// TestProbeScript is one word for any login shell.
func TestProbeScript(t *testing.T) {
	script := strings.TrimSuffix(strings.TrimPrefix(probeScript("x"), "exec /bin/sh -c '"), "'")
	if i := strings.IndexAny(script, "'\\!\n"); i >= 0 {
		t.Errorf("a login shell would act on %q", script[i:min(i+20, len(script))])
	}
}
