package setup

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const twoRoutes = "Host a\n  HostName 192.0.2.5\n  ProxyJump gate1\nHost b\n  HostName 192.0.2.5\n  ProxyJump gate2\nHost c\n  HostName 192.0.2.5\n" +
	"Host *\n  ControlPath ~/.ssh/cm-%C\n"

// TestSharedSocket: hosts that an ssh from 9.6 on tells apart by their jump hosts
// would share a ControlPath behind ours. With an older one they do already.
func TestSharedSocket(t *testing.T) {
	b := newBench(t, sample{config: twoRoutes})
	apart := b.ask("a")["controlpath"] != b.ask("b")["controlpath"]
	for _, patterns := range [][]string{nil, {"a", "b"}, {"a"}} { // of a alone, c has what a would get
		_, err := b.Plan(t.Context(), Change{Patterns: patterns})
		shared, ok := errors.AsType[*SharedSocketError](err)
		if apart && (!ok || shared.Path == "" || !strings.Contains("ab", shared.Host)) || !apart && err != nil {
			t.Errorf("%q: got %v, want a SharedSocketError: %v", patterns, err, apart)
		}
	}
	write(".ssh/config", strings.ReplaceAll(twoRoutes, "%C", "%n-%C"), 0o600)(t, b.home)
	b.do(Change{})
}

// TestSharedSocketAnswers has what `ssh -G` of 10.3 says of such hosts.
func TestSharedSocketAnswers(t *testing.T) {
	at := func(path string) answer { return answer{lines: map[string]string{"controlpath": path}} }
	none := answer{lines: map[string]string{}}
	names := []string{"any", "a", "b"}
	for _, tc := range []struct {
		name     string
		old, now []answer
		want     string // the host and the other
	}{
		{"both change", []answer{none, at("/af75"), at("/39ae")}, []answer{none, at("/33cb"), at("/33cb")}, "b a"},
		{"the first becomes the second", []answer{none, at("/af75"), at("/33cb")}, []answer{none, at("/33cb"), at("/33cb")}, "a b"},
		{"the second becomes the first", []answer{none, at("/33cb"), at("/39ae")}, []answer{none, at("/33cb"), at("/33cb")}, "b a"},
		{"one before", []answer{none, at("/cm"), at("/cm")}, []answer{none, at("/cm"), at("/cm")}, ""},
		{"one before, another now", []answer{none, at("/af75"), at("/af75")}, []answer{none, at("/33cb"), at("/33cb")}, ""},
		{"two now", []answer{none, at("/af75"), at("/39ae")}, []answer{none, at("/1"), at("/2")}, ""},
		{"none", []answer{none, at("none"), at("none")}, []answer{none, at("none"), at("none")}, ""},
		{"failed before", []answer{none, {}, at("/39ae")}, []answer{none, at("/1"), at("/1")}, ""},
	} {
		got := ""
		if shared, ok := errors.AsType[*SharedSocketError](sharedSocket(names, tc.old, tc.now)); ok {
			got = shared.Host + " " + shared.Other
		}
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestTokens has ssh run the line: the shell makes nothing of names and users.
func TestTokens(t *testing.T) {
	b := newBench(t, sample{})
	write("here/hast", "", 0o600)(t, b.home) // what h*st could become
	write("a folder/ssh-stay", "#!/bin/sh\nfor a; do echo \"$a\"; done >args\n", 0o700)(t, b.home)
	b.Program = filepath.Join(b.home, "a folder/ssh-stay")
	b.do(Change{})
	cmd := exec.CommandContext(t.Context(), "ssh", "-F", b.file, "-o", "BatchMode=yes", "-l", "me  $HOME", "h*st")
	cmd.Dir = filepath.Join(b.home, "here")
	cmd.Run() // ends when the program does
	got, err := os.ReadFile(filepath.Join(cmd.Dir, "args"))
	if want := "proxy\n--alias\nh*st\n--user\nme  $HOME\nh*st\n22\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got, want := tokens("windows"), ` --alias "%n" --user "%r" "%h" %p`; got != want {
		t.Errorf("windows: got %s, want %s", got, want)
	}
}

// TestTwoConfigs of one folder have a file each.
func TestTwoConfigs(t *testing.T) {
	b := newBench(t, sample{config: usual, prepare: both(write(".ssh/one", usual, 0o600), write(".ssh/two", usual, 0o600))})
	plain := b.tree(false)
	files := []string{"", filepath.Join(b.home, ".ssh/one"), filepath.Join(b.home, ".ssh/two")}
	for _, b.Config = range files {
		b.do(Change{})
	}
	for _, name := range []string{"ssh-stay.conf", "one.ssh-stay.conf", "two.ssh-stay.conf"} {
		if _, err := os.Stat(filepath.Join(b.home, ".ssh", name)); err != nil {
			t.Error(err)
		}
	}
	for i, file := range files {
		b.Config = file
		b.file = b.configPath()
		if command, err := b.command(); err != nil || strings.TrimSpace(b.ask("work")["proxycommand"]) != command {
			t.Errorf("%s: got %q, %v, want %q", file, b.ask("work")["proxycommand"], err, command)
		}
		b.do(Change{Undo: true})
		if i+1 < len(files) && !b.do(Change{Undo: true}).Empty() {
			t.Errorf("%s: got something to undo still", file)
		}
	}
	b.sameTree("undone", plain, b.tree(false))
}

// TestDefaultByAnotherName: ~/.ssh/config is that, however -F names it.
func TestDefaultByAnotherName(t *testing.T) {
	for name, s := range map[string]sample{
		"dotfiles/c":            {config: usual, prepare: moved("dotfiles/c")},
		"also":                  {config: usual, prepare: func(t *testing.T, home string) { must(t, os.Symlink(".ssh/config", filepath.Join(home, "also"))) }},
		".ssh/../.ssh/./config": {config: usual},
		"linked/config":         {none: true, prepare: func(t *testing.T, home string) { must(t, os.Symlink(".ssh", filepath.Join(home, "linked"))) }},
	} {
		b := newBench(t, s)
		b.Config = b.home + "/" + name
		b.do(Change{})
		command, _ := b.command()
		if got := strings.TrimSpace(b.ask("work")["proxycommand"]); got != command || strings.Contains(got, "-F") {
			t.Errorf("%s: got %q, want %q, without -F", name, got, command)
		}
		if text, _ := os.ReadFile(b.file); !strings.HasPrefix(string(text), "Include ssh-stay.conf\n") {
			t.Errorf("%s: got %q, want the line of the default config", name, text)
		}
	}
}

// TestOtherConfig: a file of ours for another config says for which.
func TestOtherConfig(t *testing.T) {
	b := newBench(t, sample{config: usual, prepare: write(".ssh/ssh-stay.conf", header+"\n"+forPrefix+"/else/config\n", 0o600)})
	_, err := b.Plan(t.Context(), Change{})
	if foreign, ok := errors.AsType[*ForeignFileError](err); !ok || foreign.Other != "/else/config" {
		t.Errorf("got %v, want a ForeignFileError that names the other config", err)
	}
}

// TestSystemConfig is nobody's own, by whatever name.
func TestSystemConfig(t *testing.T) {
	b := newBench(t, sample{config: usual, system: usual})
	must(t, os.Symlink("system", filepath.Join(b.home, "link")))
	must(t, os.Link(b.System, filepath.Join(b.home, "hard")))
	before := b.tree(true)
	for _, name := range []string{"system", "link", "hard"} {
		b.Config = filepath.Join(b.home, name)
		if _, err := b.Plan(t.Context(), Change{}); !as[*SystemConfigError](err) {
			t.Errorf("%s: got %v, want a SystemConfigError", name, err)
		}
	}
	b.sameTree("refused", before, b.tree(true))
}

// TestOwnerError tells whose a file is.
func TestOwnerError(t *testing.T) {
	b := newBench(t, sample{config: usual})
	must(t, os.Chown(b.file, 4242, 4343))
	_, err := b.Plan(t.Context(), Change{})
	if owner, ok := errors.AsType[*OwnerError](err); !ok || owner.UID != 4242 || owner.Path != b.file {
		t.Errorf("got %v, want an OwnerError of 4242", err)
	}
	b = newBench(t, sample{config: usual, prepare: moved("mine/c")})
	must(t, os.Chown(filepath.Join(b.home, ".ssh"), 4242, 4343))
	if _, err := openFile(b.file); !as[*OwnerError](err) {
		t.Errorf("a link in another's folder: got %v, want an OwnerError", err)
	}
}

func TestCheckProgram(t *testing.T) {
	home := t.TempDir()
	write("fine", "#!/bin/sh\n", 0o700)(t, home)
	write("text", "#!/bin/sh\n", 0o600)(t, home)
	write("folder/x", "", 0o700)(t, home)
	for name, fine := range map[string]bool{"fine": true, "text": false, "folder": false, "none": false} {
		err := CheckProgram(filepath.Join(home, name))
		program, refused := errors.AsType[*ProgramError](err)
		if refused == fine || refused && !program.Missing || !refused && err != nil {
			t.Errorf("%s: got %v, want it to be a program: %v", name, err, fine)
		}
	}
}

// TestHosts leaves out what no Host line is for, and waits for no pipe.
func TestHosts(t *testing.T) {
	b := newBench(t, sample{config: "Host work me@there ssh://x y:22 ::1 *.z\nInclude pipe\nHost late\n"})
	pipe := filepath.Join(b.home, ".ssh", "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	for file, want := range map[string]string{b.file: "[work ::1 late]", pipe: "[]"} {
		hosts := make(chan []string, 1)
		go func() { hosts <- Hosts(b.home, file) }() // ends with its read, or with us
		select {
		case got := <-hosts:
			if fmt.Sprint(got) != want {
				t.Errorf("%s: got %q, want %s", file, got, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: hangs", file)
		}
	}
}

// TestSweepsProofs: folders of killed runs go after a day, if they are ours.
func TestSweepsProofs(t *testing.T) {
	b := newBench(t, sample{config: usual})
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	goes := map[string]bool{"ssh-stay-setup-1": true, "ssh-stay-setup-2": false, "ssh-stay-setup-3": false, "ssh-stay-setup-4": false, "ssh-stay-setup-mine": false}
	day := time.Now().Add(-25 * time.Hour)
	for name := range goes {
		write(name+"/old.user", usual, 0o600)(t, tmp)
		must(t, os.Chtimes(filepath.Join(tmp, name), day, day))
	}
	must(t, os.Chtimes(filepath.Join(tmp, "ssh-stay-setup-2"), time.Now(), time.Now()))
	must(t, os.Chown(filepath.Join(tmp, "ssh-stay-setup-3"), 4242, 4343))
	must(t, os.Rename(filepath.Join(tmp, "ssh-stay-setup-4"), filepath.Join(tmp, "elsewhere")))
	must(t, os.Symlink("elsewhere", filepath.Join(tmp, "ssh-stay-setup-4")))
	_, err := b.Plan(t.Context(), Change{})
	must(t, err)
	got := map[string]bool{}
	for name := range goes {
		_, err := os.Stat(filepath.Join(tmp, name, "old.user"))
		got[name] = err != nil
	}
	if !maps.Equal(got, goes) {
		t.Errorf("gone: got %v, want %v", got, goes)
	}
}
