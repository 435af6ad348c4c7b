package auth

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"ssh-stay/pattern"
)

// The same file and name are put to ssh-keygen -F. Unlike ssh itself, that
// neither lowers names before it hashes them nor parses the key of a line that
// matches: such rows stand in TestHostKeyDecision.
func TestLookupAsSSHKeygen(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Fatalf("ssh-keygen is not installed (Debian package openssh-client): %v", err)
	}
	key := authorized(newSigner(t, "ed25519").PublicKey())
	rsaKey := authorized(newSigner(t, "rsa").PublicKey())
	text := strings.Join([]string{
		"# comment",
		"plain " + key,
		"UPPER " + key,
		"one,two,three " + key,
		"*.wild.org,!not.wild.org " + key,
		"web? " + rsaKey,
		"[ported]:2222 " + key,
		"192.0.2.* " + key,
		"2001:db8::1 " + key,
		"[2001:db8::2]:2222 " + key,
		hashed("secret") + " " + key,
		hashed("[secret]:2222") + " " + rsaKey,
		"@cert-authority ca.org " + key,
		"@revoked revoked.org " + key,
		"notype " + strings.Fields(key)[1],
		"@strange odd.org " + key,
		" \tindented " + key,
		"tabbed\t" + strings.Replace(key, " ", "\t", 1),
		"crlf " + key + "\r",
		"last " + key,
	}, "\n")
	file := writeFile(t, "known_hosts", text)
	k, err := ReadKnownHosts([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range []string{
		"plain", "PLAIN", "plai", "plainx", "upper", "one", "two", "three", "four", "a.wild.org", "not.wild.org",
		"wild.org", "web1", "web", "web12", "[ported]:2222", "ported", "[ported]:22", "192.0.2.7", "192.0.3.7",
		"2001:db8::1", "[2001:db8::2]:2222", "2001:db8::2", "secret", "[secret]:2222", "[secret]:2223",
		"ca.org", "revoked.org", "notype", "odd.org", "indented", "tabbed", "crlf", "last", "comment", "nowhere",
	} {
		out, err := exec.Command(keygen, "-F", name, "-f", file).Output()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		want := bytes.Count(out, []byte("# Host "))
		got := len(k.lookup(strings.ToLower(name)))
		if got != want {
			t.Errorf("%s: got %d entries, want %d as ssh-keygen", name, got, want)
		}
		found += got
	}
	if found < 15 {
		t.Errorf("got %d entries in all, want at least 15: the table tests nothing", found)
	}
}

// refLine is a line of known_hosts as sshd(8) and check_markers describe it.
var (
	refLine   = regexp.MustCompile(`^[ \t]*([^ \t#@][^ \t]*)[ \t]+([^ \t#][^ \t]*)[ \t]+([^ \t]+)`)
	refMarked = regexp.MustCompile(`^[ \t]*(@cert-authority|@revoked)( [^@]*?| [ \t]*[^@ \t].*|\t[^ @]*?|\t\t*[^@\t ][^ ]*)$`)
)

// refParse is a slow parseEntry without the key.
func refParse(text string) (marker, hosts, kind, blob string) {
	text, _, _ = strings.Cut(text, "\x00")
	if m := refMarked.FindStringSubmatch(text); m != nil {
		marker, text = m[1], m[2]
	}
	m := refLine.FindStringSubmatch(text)
	if m == nil {
		return "", "", "", ""
	}
	return marker, m[1], m[2], m[3]
}

// refHosts is a slow namesHost of a field that is not hashed.
func refHosts(field, name string) bool {
	found := false
	for _, p := range strings.Split(strings.ToLower(field), ",") {
		negated := strings.HasPrefix(p, "!")
		p = strings.TrimPrefix(p, "!")
		expr := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(p))
		if !regexp.MustCompile(`(?s)^` + expr + `$`).MatchString(name) {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

func FuzzParseEntry(f *testing.F) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"
	tabbed := strings.Replace(key, " ", "\t", 1)
	seeds := []string{
		"jump " + key, "jump " + key + " comment", "@revoked jump " + key, "@cert-authority *,!x " + key,
		"|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|AAAAAAAAAAAAAAAAAAAAAAAAAAA= " + key, "[jump]:22 " + key,
		"", " ", "\u00a0", "#", "@", "@revoked", "|1|", "|1||", "jump ssh-rsa", "jump ssh-rsa AAAA",
		"@revoked\tjump\t" + tabbed, "@revoked\tjump " + key, "@revoked @revoked jump " + key, " \t@revoked  jump " + key,
		"jump " + key + "\x00", "jump\f" + key, "jump " + key + "\r", "j?m*,!jumper " + tabbed, "@cert-authority " + key,
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add(s, "jump")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		if strings.Contains(text, "\n") || !utf8.ValidString(text+name) || strings.ToLower(text+name) != pattern.Lower(text+name) {
			return // of which the reference knows nothing
		}
		name = pattern.Lower(name)
		marker, hosts, kind, blob := refParse(text)
		l, ok := splitLine(text)
		if want := hosts != ""; want && (!ok || l.marker != marker || l.hosts != hosts) {
			t.Fatalf("%q: got %q, %v, want %q for %q", text, l, ok, marker, hosts)
		}
		if hosts != "" && !strings.HasPrefix(hosts, "|") && len(hosts) < 1000 && isASCII(hosts+name) && namesHost(hosts, name) != refHosts(hosts, name) {
			t.Fatalf("%q: got %v for %q", hosts, namesHost(hosts, name), name)
		}
		e, ok := parseEntry(text, name)
		if !ok {
			return
		}
		if got := e.key.Type(); hosts == "" || got != keyTypeOf(kind) || e.marker != marker || len(blob) < 4*len(e.key.Marshal())/3 {
			t.Fatalf("%q: got %q and a key of type %s, want %q, %s", text, e.marker, got, marker, kind)
		}
		// What it means is kept when it is written anew.
		again := strings.TrimSpace(fmt.Sprintf("%s %s %s", e.marker, hashed(name), authorized(e.key)))
		if e2, ok := parseEntry(again, name); !ok || e2.marker != e.marker || !sameKey(e2.key, e.key) {
			t.Errorf("%q: got %v, %v back from %q, want the same entry", text, e2, ok, again)
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}
