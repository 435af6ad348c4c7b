package vscode

import (
	"fmt"
	"regexp"
	"strings"
)

// serverDir is where the stand-in server is at the target, below HOME, as
// ~/.vscode-server is.
const serverDir = ".vscode-server"

// bootstrap is what is typed into a shell at the target. As VS Code's does, it
// finds or starts the server, which outlives this ssh, starts an exec server, the
// "CLI", which does not, tells their ports between two marks, and stays, with one
// byte in three minutes. The two are the same program: one is told its parent.
func bootstrap(id, serverArgs string) string {
	lines := []string{
		`id=` + id + ` dir="$HOME/` + serverDir + `"`,
		`port() { sed -n 's/^Listening on 127.0.0.1:\([0-9]*\).*/\1/p' "$1"; }`,
		`await() { n=0; while [ -z "$(port "$1")" ]; do n=$((n+1)); [ $n -gt 300 ] && break; sleep .03; done; }`,
		`echo "$id: running"`,
		`echo "Script executing under PID: $$"`,
		`echo "Found existing installation at $dir..."`,
		`if [ -f "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2>/dev/null; then`,
		`echo "Found running server (pid=$(cat "$dir/pid"))"`,
		`else`,
		// setsid: it is to survive the end of this session.
		`setsid "$dir/standin" ` + serverArgs + ` >"$dir/log" 2>&1 </dev/null &`,
		`echo $! >"$dir/pid"`,
		`fi`,
		`echo "Starting VS Code CLI..."`,
		// What asks it, an RPC, has no keepalives of its own.
		`"$dir/standin" --parent-pid $$ --keepalive 24h >"$dir/cli.$$" 2>&1 </dev/null &`,
		`echo "Spawned remote CLI: $!"`,
		`echo "Waiting for server log..."`,
		`await "$dir/log"; await "$dir/cli.$$"`,
		`echo "$id: start"`,
		`echo "listeningOn==127.0.0.1:$(port "$dir/log")=="`,
		`echo "osReleaseId==$(uname -r)=="`,
		`echo "arch==$(uname -m)=="`,
		`echo "platform==linux=="`,
		`echo "didLocalDownload==0=="`,
		`echo "execServer==127.0.0.1:$(port "$dir/cli.$$")=="`,
		`echo "SSH_AUTH_SOCK==$SSH_AUTH_SOCK=="`,
		`echo "DISPLAY==$DISPLAY=="`,
		`echo "$id: end"`,
		`while true; do sleep 180; printf ' '; done`,
	}
	return strings.Join(lines, "\n") + "\n"
}

// install is where the bootstrap says that things are.
type install struct {
	server string // HOST:PORT as seen from the target
	exec   string
}

var keyValue = regexp.MustCompile(`(?m)^(\w+)==(.*)==\r?$`)

// parseInstall reads the block of the bootstrap with that id, once it is complete.
// What stands before it, such as a message of the day, and what ssh says there is
// skipped, as VS Code does (#10696).
func parseInstall(output, id string) (in install, complete bool, err error) {
	_, block, started := strings.Cut(output, id+": start")
	block, _, ended := strings.Cut(block, id+": end")
	if !started || !ended {
		return in, false, nil
	}
	values := map[string]string{}
	for _, m := range keyValue.FindAllStringSubmatch(block, -1) {
		values[m[1]] = m[2]
	}
	in = install{server: values["listeningOn"], exec: values["execServer"]}
	for _, addr := range []string{in.server, in.exec} {
		if strings.HasSuffix(addr, ":") || addr == "" {
			return in, true, &ResolverError{Why: fmt.Sprintf("Failed to parse remote port from %q", block)}
		}
	}
	return in, true, nil
}
