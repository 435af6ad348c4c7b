//go:build linux || darwin || freebsd

package relay

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

const (
	// busPatience bounds each question to logind and systemd.
	busPatience = time.Second

	login1  = "org.freedesktop.login1"
	system1 = "org.freedesktop.systemd1"
)

// leaveSession keeps logind from ending the daemon at logout where it does that
// (KillUserProcesses, off by default): it moves the daemon into a scope of the
// user's manager, as systemd-run --user --scope would. That ends with the user's
// last session, 10 s later, unless the user lingers. What remains to fear is
// returned in words.
func leaveSession(pid int) string {
	return session{fmt.Sprintf("/proc/%d/cgroup", pid), pid}.leave()
}

type session struct {
	cgroup string // the file that tells where pid is
	pid    int
}

func (s session) leave() string {
	if !s.inside() || !killsProcesses() {
		return ""
	}
	const hint = "this host ends your processes at logout (KillUserProcesses=yes), the relay with them"
	if !s.move() {
		return hint
	}
	if ask("get-property", login1, "/org/freedesktop/login1/user/self", login1+".User", "Linger") != "b true" {
		return hint + "; to keep it, run there: loginctl enable-linger"
	}
	return ""
}

// inside says whether logind counts the process to a login.
func (s session) inside() bool {
	data, _ := os.ReadFile(s.cgroup)
	_, unit, ok := strings.Cut(string(data), "/session-")
	unit, _, _ = strings.Cut(unit, "\n")
	return ok && strings.Contains(unit, ".scope")
}

// killsProcesses asks logind. It spares root by default, and answers in two
// lines, `b true` and `as 1 "root"`.
func killsProcesses() bool {
	answer := ask("get-property", login1, "/org/freedesktop/login1", login1+".Manager", "KillUserProcesses", "KillExcludeUsers")
	kill, exclude, _ := strings.Cut(answer, "\n")
	user := os.Getenv("USER")
	return kill == "b true" && (user == "" || !strings.Contains(exclude, strconv.Quote(user)))
}

// move returns once the daemon has left the session, which systemd does after
// it has answered.
func (s session) move() bool {
	pid := strconv.Itoa(s.pid)
	if ask("--user", "call", system1, "/org/freedesktop/systemd1", system1+".Manager",
		"StartTransientUnit", "ssa(sv)a(sa(sv))", "ssh-stay-relay-"+pid+".scope", "fail",
		"2", "PIDs", "au", "1", pid, "CollectMode", "s", "inactive-or-failed", "0") == "" {
		return false
	}
	for end := time.Now().Add(busPatience); s.inside(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// ask runs busctl. No answer is empty, as where there is no systemd.
func ask(args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), busPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "busctl", args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.WaitDelay = busPatience / 10
	if cmd.Run() != nil {
		return ""
	}
	return strings.TrimSpace(out.String())
}
