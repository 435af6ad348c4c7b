package relay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	inLogin = "0::/user.slice/user-1000.slice/session-3.scope\n"
	inScope = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ssh-stay-relay-42.scope\n"
)

// TestLeaveSession has a busctl of its own, which answers as that of systemd
// 255 does and writes down what it was asked.
func TestLeaveSession(t *testing.T) {
	const hint = "KillUserProcesses"
	for _, test := range []struct {
		name, cgroup string
		answers      string // cases of a shell's case command
		asked        int
		want         []string // in the warning; none: no warning
	}{
		{"no session", "0::/system.slice/sshd.service\n", `*) echo b true`, 0, nil},
		{"no systemd", inLogin, `*) exit 1`, 1, nil},
		{"processes are spared", inLogin, `*KillUser*) echo "b false"; echo 'as 1 "root"'`, 1, nil},
		{"the user is spared", inLogin, `*KillUser*) echo "b true"; echo 'as 2 "root" "me"'`, 1, nil},
		{"moved, lingers", inLogin, `*KillUser*) echo "b true"; echo 'as 1 "root"';;
			*Transient*) echo 'o "/job/1"'; printf %s "$SCOPE" >"$CGROUP";; *Linger) echo "b true"`, 3, nil},
		{"moved, does not linger", inLogin, `*KillUser*) echo "b true"; echo 'as 1 "root"';;
			*Transient*) echo 'o "/job/1"'; printf %s "$SCOPE" >"$CGROUP";; *Linger) echo "b false"`, 3, []string{hint, "loginctl enable-linger"}},
		{"not moved", inLogin, `*KillUser*) echo "b true"; echo 'as 0';; *Transient*) echo 'o "/job/1"'`, 2, []string{hint}},
		{"no manager", inLogin, `*KillUser*) echo "b true"; echo 'as 0';; *) echo "Failed to connect to bus" >&2; exit 1`, 2, []string{hint}},
		{"hangs", inLogin, `*) exec sleep 60`, 1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			cgroup, log := filepath.Join(dir, "cgroup"), filepath.Join(dir, "log")
			script := "#!/bin/sh\necho \"$*\" >>'" + log + "'\ncase $* in " + test.answers + ";; esac\n"
			for path, text := range map[string]string{cgroup: test.cgroup, log: "", filepath.Join(dir, "busctl"): script} {
				if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			t.Setenv("CGROUP", cgroup)
			t.Setenv("SCOPE", inScope)
			t.Setenv("USER", "me")
			got := session{cgroup, 42}.leave()
			if (got == "") != (test.want == nil) {
				t.Errorf("got warning %q, want %q", got, test.want)
			}
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("got %q, want %q in it", got, want)
				}
			}
			asked, _ := os.ReadFile(log)
			if n := strings.Count(string(asked), "\n"); n != test.asked {
				t.Errorf("busctl was asked %d times, want %d:\n%s", n, test.asked, asked)
			}
		})
	}
}
