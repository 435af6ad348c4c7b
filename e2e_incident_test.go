//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"

	"ssh-stay/config"
	"ssh-stay/internal/sshtest"
)

// canary is the file that a hostile name makes in the working directory, if any
// shell ever runs what is in it.
const canary = "canary"

// hostileNames are names that neither a host nor a user may have, each a way to
// have a shell, or a program's options, do something.
func hostileNames() []string {
	var names []string
	for _, command := range []string{"touch canary", ">canary", "touch${IFS}canary", ": >canary;", "eval touch canary"} {
		for _, around := range []string{
			";%s", "x;%s", "x;%s;", "|%s", "x|%s", "||%s", "&%s", "x&&%s", "x&%s&", "$(%s)", "x$(%s)", "`%s`", "x`%s`",
			"'$(%s)'", "\"$(%s)\"", "x';%s;'", "x\";%s;\"", "x\n%s", "\n%s\n", "x\r\n%s", "x\v;%s", "x\f|%s", "(%s)",
			"{ %s; }", "<(%s)", "x\\\n%s", "x #\n%s", "-oProxyCommand=%s;", "-oPermitLocalCommand=yes -oLocalCommand=%s;",
			"$'%s'", "${x:-`%s`}", "%%$(%s)", "~$(%s)", "!$(%s)", "x\x1b;%s", "x\x7f;%s", "\u0085;%s", "%%0a;%s",
		} {
			names = append(names, fmt.Sprintf(around, command))
		}
	}
	return append(names, "-", "--", "-J", "-F/etc/passwd", "--help", "-oUser=x", "$HOME", "${HOME}", "x\\", "x\x01", "x\x1b[2J",
		"x\u009b2J", "x\ty\a", "\"", "'", "`", ";", "&", "|", "<", ">", "(", ")", "{", "}", "$", "\\", "\n", "\r", "\x7f", "\x1b")
}

// oddNames may be taken, but nothing of them is to be obeyed: by a shell, by the
// configuration, or by a terminal.
var oddNames = []string{
	"x\u202ey", "\u2066x\u2069", "x\u200by", "\ufeffx", "x\u2028y", "\xff\xfe", "x\xc0\xafy", "%r", "%n%h%%", "%", "*", "?", "[x]", "~",
	"!x", "#x", "x=y", "..", "/etc/passwd", "x/../y", "none", "NONE", "::1", "fe80::1%lo", "0", "-0", " x", "x y", "x -oy", "",
}

// hostileConfig is one whose tokens would reach a shell, in dir.
func hostileConfig(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(dir, "config")
	text := "IgnoreUnknown Stay*\nMatch exec \"true %r %n %h %u %p\"\n\tServerAliveInterval 1\n" +
		"Host h\n\tHostName 127.0.0.1\n\tPort 1\n" +
		"Match !originalhost h exec \"true %n\"\n\tProxyCommand true %r %n %h\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// shells are those that are installed.
func shells() (found []string) {
	for _, name := range []string{"sh", "bash", "dash", "zsh", "fish", "csh", "ksh"} {
		if path, err := exec.LookPath(name); err == nil {
			found = append(found, path)
		}
	}
	return found
}

// TestR3R4R5HostileNames: the configuration takes no hostile name of a host, a
// user or a jump, and no shell sees one, whichever the user's is.
func TestR3R4R5HostileNames(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	file := hostileConfig(t, dir)
	names := hostileNames()
	if len(names) < 200 {
		t.Errorf("got %d names, want 200", len(names))
	}
	entries := func(name string) map[string]config.Query {
		escaped := url.PathEscape(name)
		return map[string]config.Query{
			"host":        {Host: name},
			"user":        {Host: "h", User: name},
			"jump":        {Host: "h", Options: []string{"ProxyJump=" + name}},
			"second jump": {Host: "h", Options: []string{"ProxyJump=j," + name}},
			"jump's user": {Host: "h", Options: []string{"ProxyJump=" + name + "@j"}},
			"URI's user":  {Host: "h", Options: []string{"ProxyJump=ssh://" + escaped + "@j"}},
			"URI's host":  {Host: "h", Options: []string{"ProxyJump=ssh://u@" + escaped}},
			"NUL":         {Host: "h", Options: []string{"ProxyJump=ssh://u%00" + escaped + "@j"}},
			"option User": {Host: "h", Options: []string{"User=" + name}},
		}
	}
	for i, name := range names {
		t.Setenv("SHELL", shells()[i%len(shells())])
		for entry, q := range entries(name) {
			q.File = file
			q.Engine = config.EngineBuiltin
			s, err := config.Resolve(t.Context(), q)
			if err == nil && (s.User == name || len(q.Options) == 0 || strings.HasPrefix(q.Options[0], "ProxyJump")) {
				t.Errorf("%s %q: taken", entry, name) // else what stands behind # is a comment, as in a file
			}
			noCanary(t, entry, name)
		}
	}
}

// noCanary fails the test if a name was run.
func noCanary(t *testing.T, entry, name string) {
	t.Helper()
	if _, err := os.Lstat(canary); err == nil {
		t.Errorf("%s %q: was run by a shell", entry, name)
		os.Remove(canary)
	}
}

// entryPoint is a way into the program for a name.
type entryPoint struct {
	name string
	args []string
}

// entryPoints are those by which others can have the user name something. What
// -o HostName= says is taken as what the user's own file says, as by ssh.
func entryPoints(name string) []entryPoint {
	escaped := url.PathEscape(name)
	return []entryPoint{
		{"--alias", []string{"proxy", "--alias=" + name, "h", "22"}},
		{"--user", []string{"proxy", "--user=" + name, "h", "22"}},
		{"-J", []string{"proxy", "--jump=" + name, "h", "22"}},
		{"config DEST", []string{"config", "--", name}},
		{"HOST", []string{"proxy", "--", name, "22"}},
		{"-J user", []string{"proxy", "--jump=" + name + "@h", "h", "22"}},
		{"-J URI", []string{"proxy", "--jump=ssh://" + escaped + "@h", "h", "22"}},
		{"-o ProxyJump", []string{"proxy", "-o", "ProxyJump=" + name, "h", "22"}},
		{"-o User", []string{"proxy", "-o", "User=" + name, "h", "22"}},
		{"config user@DEST", []string{"config", "--", name + "@h"}},
		{"config URI", []string{"config", "ssh://" + escaped + "@h"}},
		{"config --user", []string{"config", "--user=" + name, "h"}},
		{"config -J", []string{"config", "--jump=" + name, "h"}},
	}
}

// TestR3R4R5EntryPoints: the same for the program, by every way in: 255 and one
// line, on which no terminal acts.
func TestR3R4R5EntryPoints(t *testing.T) {
	rig := sshtest.For(t)
	client, bin, dir := rig.Client(), rig.Build(), t.TempDir()
	t.Chdir(dir)
	file := hostileConfig(t, dir)
	var hostile []string
	for i, name := range hostileNames() {
		if i%5 == 0 {
			hostile = append(hostile, name)
		}
	}
	var running sync.WaitGroup
	limit := make(chan bool, 8)
	try := func(i int, entry entryPoint, name string, refuse bool) {
		limit <- true
		running.Go(func() { // ends with its process
			defer func() { <-limit }()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			args := append([]string{entry.args[0], "-F", file}, entry.args[1:]...)
			cmd := client.Run(ctx, bin, args...)
			cmd.Dir = dir
			cmd.Env = append(cmd.Env, "SHELL="+shells()[i%len(shells())], "XDG_STATE_HOME="+client.Dir)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			cmd.Run()
			status := cmd.ProcessState.ExitCode()
			if refuse && (status != exitNoReach || stdout.Len() > 0 || !oneRefusal(stderr.String())) || !printable(stderr.String()) {
				t.Errorf("%s %q: exit %d, stdout %.80q, stderr %q", entry.name, name, status, stdout.String(), stderr.String())
			}
		})
	}
	for i, name := range hostile {
		for j, entry := range entryPoints(name) {
			if (i+j)%2 == 0 { // half of the runs: each takes its time
				try(i, entry, name, true)
			}
		}
	}
	for i, name := range oddNames {
		for _, entry := range entryPoints(name)[:4] {
			try(i, entry, name, false)
		}
	}
	running.Wait()
	noCanary(t, "any", "any")
}

// oneRefusal says whether text is one error with hints.
func oneRefusal(text string) bool {
	first, hints, _ := strings.Cut(strings.TrimSuffix(text, "\n"), "\n")
	ok := strings.HasPrefix(first, "ssh-stay: ")
	for line := range strings.Lines(hints) {
		ok = ok && strings.HasPrefix(line, "hint: ")
	}
	return ok
}

// printable says whether no terminal acts on text, but for the ends of lines.
func printable(text string) bool {
	return !strings.ContainsFunc(strings.ReplaceAll(text, "\r\n", "\n"), func(r rune) bool {
		return r != '\n' && r != '\t' && !unicode.IsPrint(r) || r == unicode.ReplacementChar
	})
}

// evil is text that acts on a terminal: it sets the clipboard, clears the screen,
// overwrites the line and turns the direction of writing.
const evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\r\u202eEVIL\u009b31m\x00\xff"

// evilHop is a jump host all of whose words act on terminals. It asks once.
func evilHop(t *testing.T, key ssh.Signer, answer string) (port int) {
	t.Helper()
	cfg := &ssh.ServerConfig{
		BannerCallback: func(ssh.ConnMetadata) string { return "banner " + evil + "\n" },
		KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("name "+evil, "instruction "+evil, []string{"question " + evil}, []bool{true})
			if err != nil || len(answers) != 1 || answers[0] != answer {
				return nil, fmt.Errorf("denied %s", evil)
			}
			return nil, nil
		},
	}
	cfg.AddHostKey(key)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go refuseEvilly(c, cfg) // ends with its client
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func refuseEvilly(c net.Conn, cfg *ssh.ServerConfig) {
	defer c.Close()
	_, chans, reqs, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs) // ends with the connection
	for channel := range chans {
		channel.Reject(ssh.ConnectionFailed, "refused "+evil)
	}
}

// TestR14WordsOfAHop: what a hop says in any way reaches the user, and nothing in
// it reaches the terminal or the question as it came.
func TestR14WordsOfAHop(t *testing.T) {
	rig := sshtest.For(t)
	client, host := rig.Client(), rig.Key("")
	port := evilHop(t, host.Signer, "yes")
	client.Append("IgnoreUnknown Stay*", "Host evil", "\tHostName 127.0.0.1", fmt.Sprintf("\tPort %d", port), "\tUser u", "\tBatchMode no",
		"\tNumberOfPasswordPrompts 1", "\tIdentityFile none")
	known := sshtest.KnownHost(fmt.Sprintf("127.0.0.1:%d", port), host.Public())
	if err := os.WriteFile(client.KnownHosts, []byte(known), 0o600); err != nil {
		t.Fatal(err)
	}
	for answer, want := range map[string][]string{
		"yes": {"banner ", "name ", "instruction ", "refused ", "could not connect"},
		"no":  {"banner ", "name ", "instruction ", "Permission denied"},
	} {
		askpass := rig.Askpass(nil)
		script := "#!/bin/sh\nprintf '%s\\n' \"$1\" >>" + filepath.Join(askpass.Dir, "asked") + "\necho " + answer + "\n"
		if err := os.WriteFile(filepath.Join(askpass.Dir, "askpass"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, verbose := range []string{"--verbose=0", "-v"} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := client.Run(ctx, rig.Build(), "proxy", "-F", client.Config, verbose, "-J", "evil", "target.example", "22")
			cmd.Env = append(cmd.Env, askpass.Env()...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			cmd.Run()
			asked, err := askpass.Asked()
			if err != nil || len(asked) != 1 || !strings.HasPrefix(asked[0], "(u@127.0.0.1) question ") || !printable(asked[0]) {
				t.Errorf("asked %q, %v", asked, err)
			}
			if !printable(stderr.String()) {
				t.Errorf("%s, %s: got %q, which a terminal would act on", answer, verbose, stderr.String())
			}
			for _, w := range want {
				if !strings.Contains(stderr.String(), w) {
					t.Errorf("%s: got %q, want %q in it", answer, stderr.String(), w)
				}
			}
		}
	}
}

// TestBannerAsSSH: a hop's banner is shown once, and to those alone to whom stock
// ssh shows it.
func TestBannerAsSSH(t *testing.T) {
	rig := sshtest.For(t)
	client, bin := rig.Client(), rig.Build()
	banner := filepath.Join(t.TempDir(), "banner")
	const words = "*** Authorized use only.\n\tEvery step \x1b[1mis\x1b[0m watched. ***\n\nBye.\n"
	if err := os.WriteFile(banner, []byte(words), 0o644); err != nil {
		t.Fatal(err)
	}
	s, target := rig.Sshd(sshtest.SshdConfig{Lines: []string{"Banner " + banner}}), rig.Host(client, "target")
	client.Append("IgnoreUnknown Stay*")
	for _, level := range []string{"INFO", "ERROR", "QUIET"} {
		alias := "hop-" + level
		if err := client.AddHost(alias, s, "LogLevel "+level); err != nil {
			t.Fatal(err)
		}
		if err := client.AddHost("by-"+level, target, client.ProxyLine(bin), "ProxyJump "+alias); err != nil {
			t.Fatal(err)
		}
		stderr := func(args ...string) string {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := client.Command(ctx, append(args, "true")...)
			var out bytes.Buffer
			cmd.Stderr = &out
			if err := cmd.Run(); err != nil {
				t.Fatalf("ssh %v: %v, %q", args, err, out.String())
			}
			return out.String()
		}
		stock, ours := stderr("-J", alias, "target"), stderr("by-"+level)
		if stock = strings.ReplaceAll(stock, "\r\n", "\n"); ours != stock {
			t.Errorf("LogLevel %s: got %q, want %q", level, ours, stock)
		}
		shown := 0
		if level == "INFO" {
			shown = 1
		}
		if got := strings.Count(ours, "Authorized use only."); got != shown {
			t.Errorf("LogLevel %s: the banner is shown %d times, want %d", level, got, shown)
		}
	}
}

// TestBannerFirst: the banner is shown before a byte of the target comes.
func TestBannerFirst(t *testing.T) {
	rig := sshtest.For(t)
	client := rig.Client()
	banner := filepath.Join(t.TempDir(), "banner")
	if err := os.WriteFile(banner, []byte("words of the hop\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := rig.Sshd(sshtest.SshdConfig{Lines: []string{"Banner " + banner}})
	if err := client.AddHost("hop", s); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	cmd := client.Run(t.Context(), rig.Build(), "proxy", "-F", client.Config, "-J", "hop", host, port)
	stdin, _ := cmd.StdinPipe()
	stderr, _ := cmd.StderrPipe()
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	timeout := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer timeout.Stop()
	got := make([]byte, len("words of the hop\n"))
	if _, err := io.ReadFull(stderr, got); err != nil || string(got) != "words of the hop\n" {
		t.Fatalf("got %q, %v, while the target is silent", got, err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "hello")
	c.Close()
	if got, err := io.ReadAll(stdout); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

// stranger makes a home, and runs the program as a user who is in no database.
func stranger(t *testing.T) (home string, run func(env []string, args ...string) (stdout, stderr string, status int)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("to be another user takes root")
	}
	rig := sshtest.For(t)
	setpriv := rig.Peer("setpriv")
	dir, err := os.MkdirTemp("", "sst") // t.TempDir's parent is ours alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(rig.Build())
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "ssh-stay") // where that user can get at it
	if err := os.WriteFile(bin, text, 0o755); err != nil {
		t.Fatal(err)
	}
	home = filepath.Join(dir, "home")
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".ssh", "config"), []byte("Host h\n\tHostName h.example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return home, func(env []string, args ...string) (stdout, stderr string, status int) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, setpriv, append([]string{"--reuid", "54321", "--regid", "54321", "--clear-groups", bin}, args...)...)
		cmd.Dir, cmd.Env = dir, append(env, "PATH="+os.Getenv("PATH"))
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.Run()
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}
}

// TestR17NoSuchUser: a user that is in no database is one by $HOME and $USER.
func TestR17NoSuchUser(t *testing.T) {
	home, run := stranger(t)
	// The configuration of the user's home, whom it takes for $USER.
	named := []string{"HOME=" + home, "USER=nobodys"}
	stdout, stderr, status := run(named, "config", "-F", filepath.Join(home, ".ssh", "config"), "h")
	for _, want := range []string{"\nhostname h.example\n", "\nuser nobodys\n", "\nidentityfile ~/.ssh/id_ed25519\n"} {
		if !strings.Contains("\n"+stdout, want) {
			t.Errorf("got %.200q, %q, exit %d; want %q", stdout, stderr, status, want)
		}
	}
	if stdout, stderr, status = run(named, "config", "h"); !strings.Contains(stdout, "hostname h.example\n") || status != 0 {
		t.Errorf("without -F: got %.200q, %q, exit %d", stdout, stderr, status)
	}
	host, port, _ := net.SplitHostPort(lateServer(t))
	if stdout, stderr, status = run(named, "proxy", host, port); stdout != "" || stderr != "" || status != 0 {
		t.Errorf("proxy: got %q, %q, exit %d; want silence", stdout, stderr, status)
	}
	for _, args := range [][]string{{"config", "h"}, {"proxy", host, port}} {
		stdout, stderr, status = run(nil, args...)
		if stdout != "" || status != exitNoReach || !strings.HasPrefix(stderr, "ssh-stay: find name and home of user 54321") {
			t.Errorf("%v with neither HOME nor USER: got %q, %q, exit %d", args, stdout, stderr, status)
		}
	}
}
