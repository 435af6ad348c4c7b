package config

import (
	"cmp"
	"context"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// version is one of OpenSSH, 902 for 9.2.
type version int

// Versions at which something changed for us.
const (
	v9_2   version = 902
	v9_4   version = 904
	v9_5   version = 905
	v9_9   version = 909
	v10_0  version = 1000
	v10_1  version = 1001
	v10_3  version = 1003
	newest version = 1006
)

// dialect is what the installed ssh understands.
type dialect struct {
	version
	release string // "OpenSSH_9.2p1 Debian-2+deb12u10", for Match version
	debian  bool   // built with Debian's patches
}

// askVersion asks ssh -V, which takes 2 ms. Without an ssh, the newest that we
// know stands for it.
func askVersion(ctx context.Context, ssh string) dialect {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, cmp.Or(ssh, "ssh"), "-V").CombinedOutput()
	release, _, _ := strings.Cut(string(out), ",")
	m := regexp.MustCompile(`OpenSSH\D*(\d+)\.(\d+)`).FindStringSubmatch(release)
	if err != nil || m == nil {
		return dialect{version: newest, release: "OpenSSH_10.6"}
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return dialect{
		version: version(major*100 + minor),
		release: strings.TrimSpace(release),
		debian:  strings.Contains(release, "Debian") || strings.Contains(release, "Ubuntu"),
	}
}

// defaultOf is what `ssh -G` prints for kw where it is unset; printed is false
// for a keyword that this ssh does not know.
func (d dialect) defaultOf(kw keyword) (def string, printed bool) {
	if d.version < kw.since || strings.HasPrefix(kw.name, "gssapi") && !d.debian {
		return "", false
	}
	def = kw.def
	switch kw.name {
	case "forwardx11trusted":
		if d.debian {
			def = "yes"
		}
	case "ipqos":
		switch {
		case d.debian && d.version < v10_1:
			def = "lowdelay throughput"
		case d.version >= v10_1:
			def = "ef cs0"
		}
	case "securitykeyprovider":
		def = "$SSH_SK_PROVIDER"
		if d.debian {
			def = "internal"
		}
	case "revokedhostkeys":
		if d.version >= v10_3 {
			def = "none"
		}
	}
	return def, true
}

// identities are the default key files.
func (d dialect) identities() []string {
	files := []string{"~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ecdsa_sk", "~/.ssh/id_ed25519", "~/.ssh/id_ed25519_sk"}
	if d.version < v10_1 {
		files = append(files, "~/.ssh/id_xmss")
	}
	if d.version < v10_0 {
		files = append(files, "~/.ssh/id_dsa")
	}
	return files
}
