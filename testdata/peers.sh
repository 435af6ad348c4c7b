#!/bin/sh
# Installs the programs that the tests and benches run against, as root on
# Debian; elsewhere it names what is missing and fails. `peers.sh bench` adds
# the ones that a bench alone is beside, and that it can do without.
set -eu
missing=
need() { # PROGRAM PACKAGE
	for dir in $(echo "$PATH:/usr/sbin:/sbin" | tr : ' '); do
		[ -x "$dir/$1" ] && return
	done
	missing="$missing $2"
}
need ssh openssh-client
need sshd openssh-server
need ssh-agent openssh-client
need dropbear dropbear-bin
need dropbearconvert dropbear-bin
need useradd passwd
need chpasswd passwd
need nc netcat-openbsd
need rsync rsync
need git git
need setpriv util-linux
need zsh zsh
need fish fish
need tcsh tcsh
need busybox busybox
need openssl openssl
need shasum perl
need mount mount
need ip iproute2
need ss iproute2
need nsenter util-linux
need nft nftables
need conntrack conntrack
if [ "${1:-}" = bench ]; then
	need socat socat
	need autossh autossh
	need mosh mosh
fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing packages:$missing" >&2
	exit 1
fi
# A policy that forbids starting services: the tests start their own sshd.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
	trap 'rm -f $policy' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing
