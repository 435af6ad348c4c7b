package relay

import (
	"fmt"
	"strings"
)

// What runs at the far end. Each script is one argument of /bin/sh -c within
// single quotes, which the login shell must take apart first, and that may be
// any: so a script is one line, without single quotes, backslashes (fish reads
// them within quotes) and exclamation marks (csh does).

// shell makes the command that runs a script, given as lines.
func shell(script string) string {
	return "exec /bin/sh -c '" + strings.Join(strings.Fields(script), " ") + "'"
}

// places are the folders that may hold our binary, and the test of one: ours
// alone, and no link, as ls tells.
const places = `
set --
"${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}/ssh-stay"
"${XDG_RUNTIME_DIR:-}/ssh-stay"
"/tmp/ssh-stay-$(id -u)";
named() {
	case $1 in /?*/*) return 0;; esac;
	return 1;
};
ours() {
	[ -d "$1" ] && [ -O "$1" ] || return 1;
	case $(ls -ld "$1") in drwx------*) return 0;; esac;
	return 1;
};`

// startScript runs the binary where it is already.
func startScript(binaries []Binary, verb string) string {
	var hashes strings.Builder
	for _, b := range binaries {
		for _, name := range unames[b.OS+"/"+b.Arch] {
			fmt.Fprintf(&hashes, `"%s") h=%s;; `, name, b.SHA256)
		}
	}
	return shell(`p=$(uname -sm); h=; case $p in ` + hashes.String() + `esac;` + places + `
[ -n "$h" ] && for d; do
	f=$d/relay-$h;
	named "$d" && ours "$d" && [ -s "$f" ] && [ -x "$f" ] && [ -O "$f" ] && exec "$f" relay ` + verb + `;
done;
echo; echo "` + Mark + `need $p";`)
}

// unames are what `uname -sm` says on the platforms that Go names so.
var unames = map[string][]string{
	"linux/amd64":  {"Linux x86_64", "Linux amd64"},
	"linux/arm64":  {"Linux aarch64", "Linux arm64"},
	"darwin/amd64": {"Darwin x86_64", "Darwin amd64"},
	"darwin/arm64": {"Darwin arm64", "Darwin aarch64"},
}

// uploadScript stores the binary of that hash, which comes compressed on
// standard input once the script has said "go N", in the first place behind
// the first skip ones that takes it. When it then says "again", the caller may
// try with skip N. Where no place takes it, the first one's reason is told: it is
// the one to put right. How many bytes it has unpacked it tells each second, "at N":
// what the near side has written may be far from here.
//
// An empty file that is executable is a script to every sh, and does not
// run on a file system that is mounted noexec.
func uploadScript(hash, nonce string, skip int) string {
	return shell(fmt.Sprintf(`umask 077; h=%s; n=%d; i=0; t=; why=;`, hash, skip) + `
leave() { [ -z "$t" ] || rm -f "$t"; };
trap leave 0; trap "exit 1" 1 2 13 15;
say() { echo; echo "` + Mark + `$*"; };
fail() { say "$@"; exit 1; };
if command -v sha256sum >/dev/null; then sum() { sha256sum; };
elif command -v shasum >/dev/null; then sum() { shasum -a 256; };
elif command -v openssl >/dev/null; then sum() { openssl dgst -sha256 -r; };
else fail error no sha256sum, shasum or openssl; fi;
command -v gzip >/dev/null || fail error no gzip;` + places + `
not() { why=${why:-$*}; return 1; };
try() {
	named "$1" || return 1;
	[ -d "$1" ] || mkdir "${1%/*}" 2>/dev/null;
	mkdir "$1" 2>/dev/null;
	[ -d "$1" ] || { not "$1 cannot be made"; return; };
	ours "$1" || { not "$1 is not ours alone"; return; };
	t=$1/.new-` + nonce + `;
	(set -C; : >"$t") 2>/dev/null || { t=; not "$1 cannot be written"; return; };
	chmod 700 "$t" && "$t" </dev/null >/dev/null 2>&1 && return 0;
	leave; t=; not "$1 cannot be executed from";
};
for d; do
	i=$((i+1));
	[ $i -gt $n ] && try "$d" && break;
done;
[ -n "$t" ] || fail error "${why:-no folder for it}";
find "$d" -type f -name ".new-*" -mtime +0 -exec rm -f {} + 2>/dev/null;
say go $i;
{ trap - 0 1 2 13 15; while sleep 1 >/dev/null && [ -f "$t" ] && say at $(wc -c <"$t"); do :; done; } </dev/null 2>/dev/null &
gzip -dc >"$t" || fail again "cannot unpack to $d";
case $(sum <"$t") in "$h "*) ;; *) fail error "what arrived in $d is not what was sent";; esac;
"$t" relay version </dev/null >/dev/null || fail again "does not run in $d";
mv -f "$t" "$d/relay-$h" || fail again "cannot rename in $d"; t=;
say stored;`)
}
