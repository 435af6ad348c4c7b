#!/bin/sh
# Installs the real VS Code server 1.100.3 into DIR, for the tests that want it as
# their far end: npm's code-server 4.100.3, whose lib/vscode it is, at a pinned
# hash; its modules are pinned by the lock file inside. Nothing is compiled and no
# install script runs. Without their native halves the server has no terminals, no
# file watcher and no log files; it says so on stderr, and its connections are whole.
set -eu
version=4.100.3
sha256=a85138ac3a382a9ba1df652a751901ec598fed24f673b8a8653de7be8335bfaa

fail() {
	echo "vscode-server.sh: $*" >&2
	exit 1
}
[ $# = 1 ] || { echo "usage: vscode-server.sh DIR" >&2; exit 2; }
dir=$1
[ "$(cat "$dir/installed" 2>/dev/null)" != "$sha256" ] || exit 0
for tool in node npm tar; do
	command -v $tool >/dev/null || fail "needs $tool (node 20, with npm)"
done
case $(node --version) in
v20.*) ;;
*) fail "node is $(node --version), and code-server $version wants v20" ;;
esac

mkdir -p "$(dirname "$dir")"
new=$(mktemp -d "$dir.XXXXXX") # beside DIR: renamed when whole
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
npm pack --silent --pack-destination "$new" "code-server@$version" >/dev/null || fail "npm cannot fetch code-server@$version"
tgz=$new/code-server-$version.tgz
got=$({ sha256sum "$tgz" 2>/dev/null || shasum -a 256 "$tgz"; } | cut -d ' ' -f 1)
[ "$got" = "$sha256" ] || fail "code-server-$version.tgz has SHA-256 $got, not $sha256"
in=package/lib/vscode
tar -xzf "$tgz" -C "$new" --strip-components=3 --exclude='*.map' \
	$in/out $in/package.json $in/product.json $in/npm-shrinkwrap.json
rm "$tgz"
mkdir "$new/extensions" # it lists this folder; none is needed
(cd "$new" && npm install --ignore-scripts --omit=dev --omit=optional --no-audit --no-fund --loglevel=error >/dev/null) ||
	fail "npm cannot install the modules of code-server@$version"
echo $sha256 >"$new/installed"
rm -rf "$dir"
chmod 755 "$new"
mv "$new" "$dir"
