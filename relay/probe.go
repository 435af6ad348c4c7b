package relay

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Report is what a far end has for a relay. Its texts are the far end's own,
// bounded, and not yet fit for a terminal.
type Report struct {
	Platform string // as `uname -sm` names it
	Served   bool   // there is a binary for it
	Missing  []string
	Places   []Place // that a binary could be stored in, in the order that they are tried

	Kills  bool   // logind ends the processes of those who log out
	Spares string // whom it spares, as logind lists them
	Loses  bool   // the user does not linger: what leaves the login's session ends too

	// ClientAlive is what sshd_config says there for all users, keywords in lower
	// case: clientaliveinterval and clientalivecountmax. The values are as they
	// were written, 300 or 5m. Empty where it cannot be read.
	ClientAlive map[string]string
}

// Place is a folder for the binary, or where it would be made.
type Place struct {
	Path string
	OK   bool
	Why  string // it is no place
	Free int64  // bytes; 0 where it is not known
}

// maxReport is how many lines a report may have.
const maxReport = 64

// Probe looks whether a relay is possible at the far end, without bringing one:
// an empty file is made in each place, run and removed. Errors are as those of
// Open.
func (c *Client) Probe(ctx context.Context, exec ExecFunc) (*Report, error) {
	s := &starter{c, exec, "open"}
	conn, a, err := s.run(ctx, probeScript(rand.Text()))
	if err != nil {
		return nil, err
	}
	patience := s.patience(ctx)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, noAnswer(patience))
	defer cancel()
	r := &Report{ClientAlive: map[string]string{}}
	for range maxReport {
		if a.word == "done" {
			conn.Close()
			return r, nil
		}
		c.take(r, a)
		if a, err = await(ctx, conn); err != nil {
			return nil, err
		}
	}
	conn.Close()
	return nil, &UnavailableError{Why: "it does not stop talking"}
}

// take notes one line. Words that it does not know are passed over.
func (c *Client) take(r *Report, a answer) {
	switch a.word {
	case "platform":
		r.Platform = a.text
		r.Served = slices.ContainsFunc(c.Binaries, func(b Binary) bool {
			return slices.Contains(unames[b.OS+"/"+b.Arch], a.text)
		})
	case "missing":
		r.Missing = append(r.Missing, a.text)
	case "place":
		verdict, rest, _ := strings.Cut(a.text, " ")
		kib, path, _ := strings.Cut(rest, " ")
		free, _ := strconv.ParseInt(kib, 10, 64)
		why := map[string]string{"others": "is not ours alone", "unwritable": "cannot be written", "noexec": "cannot be executed from"}[verdict]
		r.Places = append(r.Places, Place{Path: path, OK: verdict == "ok", Why: why, Free: free << 10})
	case "kill":
		var list string
		r.Kills = strings.HasPrefix(a.text, "b true")
		_, list, _ = strings.Cut(a.text, " as ")
		r.Spares = list
	case "linger":
		r.Loses = a.text == "b false"
	case "sshd":
		// A comment or a CR may follow the value, = and blanks go before it.
		words := strings.FieldsFunc(a.text, func(c rune) bool { return strings.ContainsRune(" \t\r\"=", c) })
		if len(words) < 2 {
			return
		}
		if name := strings.ToLower(words[0]); r.ClientAlive[name] == "" {
			r.ClientAlive[name] = words[1]
		}
	}
}

// Free is the place that a binary would be stored in; ok is false for none.
func (r *Report) Free() (p Place, ok bool) {
	i := slices.IndexFunc(r.Places, func(p Place) bool { return p.OK })
	if i < 0 {
		return Place{}, false
	}
	return r.Places[i], true
}

// busWait bounds a question to logind, which may hang.
const busWait = 2 * time.Second

// probeScript finds out what a relay would meet, by the same tests as startScript
// and uploadScript.
func probeScript(nonce string) string {
	return shell(`umask 077; t=;
leave() { [ -z "$t" ] || rm -f "$t"; };
trap leave 0; trap "exit 1" 1 2 13 15;
say() { echo; echo "` + Mark + `$*"; };
has() { command -v "$1" >/dev/null 2>&1; };
say platform $(uname -sm);
has sha256sum || has shasum || has openssl || say missing sha256sum, shasum or openssl;
has gzip || say missing gzip;
for c in rm chmod ls id; do has $c || { say missing $c; say done; exit 0; }; done;` + places + `
free() { set -- $(df -Pk "$1" 2>/dev/null | tail -n 1); echo "${4:-0}"; };
run() { ("$1" </dev/null >/dev/null 2>&1) 2>/dev/null; };
look() {
	named "$1" || return 0;
	d=$1;
	if [ -e "$1" ] || [ -h "$1" ]; then
		ours "$1" || { say place others 0 "$1"; return 0; };
	else
		d=${1%/*}; [ -d "$d" ] || d=${d%/*};
	fi;
	t=$d/.ssh-stay-` + nonce + `; v=unwritable;
	(set -C; : >"$t") 2>/dev/null && v=noexec && chmod 700 "$t" && run "$t" && v=ok;
	[ $v = unwritable ] || rm -f "$t"; t=;
	say place $v $(free "$d") "$1";
};
for d; do look "$d"; done;
bus() {
	has busctl || return 1;
	if has timeout; then timeout ` + fmt.Sprint(int(busWait/time.Second)) + ` busctl get-property "$@"; else busctl get-property "$@"; fi </dev/null 2>/dev/null;
};
l=org.freedesktop.login1;
k=$(bus $l /org/freedesktop/login1 $l.Manager KillUserProcesses KillExcludeUsers) && say kill $k;
k=$(bus $l /org/freedesktop/login1/user/self $l.User Linger) && say linger $k;
alive() {
	grep -iE "^[[:blank:]]*(clientalive|match)" | while read -r k v; do
		case $k in [Mm]*) break;; esac;
		say sshd "$k" "$v";
	done;
};
c=$(PATH=$PATH:/usr/sbin:/sbin sshd -T 2>/dev/null </dev/null);
if [ -n "$c" ]; then echo "$c" | alive;
else for c in /etc/ssh/sshd_config.d/*.conf /etc/ssh/sshd_config; do [ -r "$c" ] && alive <"$c"; done; fi;
say done;`)
}
