package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ssh-stay/internal/sshtest"
)

// trial is two real servers, and what is needed to have ssh and us decide on
// their keys.
type trial struct {
	t       *testing.T
	r       sshtest.Rig
	plain   *sshtest.Sshd // ed25519, ecdsa and rsa keys
	certs   *sshtest.Sshd // the same, each with a certificate of ca; see newTrial
	ca      ssh.Signer
	hostKey map[string]ssh.PublicKey // of certs, by kind
	words   *strings.Replacer        // what stands for keys in a table
	version int                      // of ssh, as 902
	algs    []string                 // its default HostKeyAlgorithms, as far as ours
}

// newTrial starts the servers. The certificate of certs' ed25519 key is good,
// that of the ecdsa key has expired, and that of the rsa key is for another host.
func newTrial(t *testing.T) *trial {
	r := sshtest.For(t)
	tr := &trial{t: t, r: r, ca: newSigner(t, "ed25519"), hostKey: map[string]ssh.PublicKey{}}
	tr.version = sshVersion(t)
	var lines []string
	if tr.version >= 908 {
		lines = append(lines, "PerSourcePenalties no") // a refused key counts as an attack
	}
	tr.plain = r.Sshd(sshtest.SshdConfig{HostKeys: []string{"ed25519", "ecdsa", "rsa"}, Lines: lines})
	now := uint64(time.Now().Unix())
	for kind, edit := range map[string]func(*ssh.Certificate){
		"ed25519": func(*ssh.Certificate) {},
		"ecdsa":   func(c *ssh.Certificate) { c.ValidBefore = now - 60 },
		"rsa":     func(c *ssh.Certificate) { c.ValidPrincipals = []string{"elsewhere"} },
	} {
		lines = append(lines, tr.certify(kind, edit)...)
	}
	tr.certs = r.Sshd(sshtest.SshdConfig{Lines: lines})
	ca := authorized(tr.ca.PublicKey())
	tr.words = strings.NewReplacer(
		"{ed}", authorized(tr.plain.HostKeys[0]), "{ecdsa}", authorized(tr.plain.HostKeys[1]),
		"{rsa}", authorized(tr.plain.HostKeys[2]), "{other}", authorized(newSigner(t, "ed25519").PublicKey()),
		"{otherrsa}", authorized(tr.hostKey["rsa"]), "{ca}", ca, "{ced}", authorized(tr.hostKey["ed25519"]),
		"{cecdsa}", authorized(tr.hostKey["ecdsa"]), "{crsa}", authorized(tr.hostKey["rsa"]),
		"{ed64}", strings.Fields(authorized(tr.plain.HostKeys[0]))[1],
		"{rsa64}", strings.Fields(authorized(tr.plain.HostKeys[2]))[1],
		"{ed tabbed}", strings.Replace(authorized(tr.plain.HostKeys[0]), " ", "\t", 1),
		"{hashed}", hashed("jump"), "{hashed port}", hashed("[jump]:2222"), "{long}", strings.Repeat("x", 70<<10),
		"{cutkey}", authorized(tr.plain.HostKeys[0])[:60], "{ecdsa bits}", hiddenBits(authorized(tr.plain.HostKeys[1])), "{short}", authorized(rsaOfBits(t, 512)),
	)
	tr.algs = tr.defaultAlgorithms()
	return tr
}

// hiddenBits sets a bit that the padding of base64 text ending in one = hides.
func hiddenBits(text string) string {
	last := len(text) - 2
	return text[:last] + string(text[last]+1) + text[last+1:]
}

// certify makes a host key with a certificate and returns sshd's lines for it.
func (tr *trial) certify(kind string, edit func(*ssh.Certificate)) []string {
	key := tr.r.Key(kind)
	tr.hostKey[kind] = key.Public()
	now := uint64(time.Now().Unix())
	cert := &ssh.Certificate{Key: key.Public(), CertType: ssh.HostCert, Serial: 7, KeyId: "host " + kind,
		ValidPrincipals: []string{"jump"}, ValidAfter: now - 3600, ValidBefore: now + 3600}
	edit(cert)
	if err := cert.SignCert(rand.Reader, tr.ca); err != nil {
		tr.t.Fatal(err)
	}
	file := key.Path + "-cert.pub"
	if err := os.WriteFile(file, ssh.MarshalAuthorizedKey(cert), 0o600); err != nil {
		tr.t.Fatal(err)
	}
	return []string{"HostKey " + key.Path, "HostCertificate " + file}
}

func sshVersion(t *testing.T) int {
	out, err := exec.Command(sshtest.For(t).Peer("ssh"), "-V").CombinedOutput()
	m := regexp.MustCompile(`OpenSSH_(\d+)\.(\d+)`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("ssh -V: %q, %v", out, err)
	}
	major, _ := strconv.Atoi(string(m[1]))
	minor, _ := strconv.Atoi(string(m[2]))
	return 100*major + minor
}

func (tr *trial) defaultAlgorithms() []string {
	out, err := exec.Command(tr.r.Peer("ssh"), "-F", "none", "-G", "x").Output()
	m := regexp.MustCompile(`(?m)^hostkeyalgorithms (.*)$`).FindSubmatch(out)
	if err != nil || m == nil {
		tr.t.Fatalf("ssh -G: %q, %v", out, err)
	}
	ours := ssh.SupportedAlgorithms().HostKeys
	return slices.DeleteFunc(strings.Split(string(m[1]), ","), func(a string) bool { return !slices.Contains(ours, a) })
}

// attempt is one connection: known_hosts files, the name by which the user
// reaches the server, and what the two shall make of it.
type attempt struct {
	name    string
	user    string // text of UserKnownHostsFile; a file that is missing for "-"
	global  string
	host    string // "" is jump
	port    int    // that ssh believes in; 0 is 22
	alias   string
	revoked string // text of RevokedHostKeys
	algs    string // HostKeyAlgorithms; "" is ssh's own
	certs   bool   // connects to the server with certificates
	want    string // see verdict
}

func (a *attempt) server(tr *trial) *sshtest.Sshd {
	if a.certs {
		return tr.certs
	}
	return tr.plain
}

// files writes the known_hosts files.
func (a *attempt) files(t *testing.T, tr *trial) (user, global string) {
	dir := t.TempDir()
	user, global = filepath.Join(dir, "user"), filepath.Join(dir, "global")
	for file, text := range map[string]string{user: a.user, global: a.global} {
		if text == "-" {
			continue
		}
		if err := os.WriteFile(file, []byte(tr.words.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return user, global
}

// hostKeys is what main would make of the same settings.
func (a *attempt) hostKeys(t *testing.T, tr *trial, user, global string) *HostKeys {
	k, err := ReadKnownHosts([]string{user, global})
	if err != nil {
		t.Fatal(err)
	}
	host := a.host
	if host == "" {
		host = "jump"
	}
	h := &HostKeys{Host: host, Port: a.port, Alias: a.alias, Known: k, UserFile: user}
	if a.revoked != "" {
		if h.Revoked, err = ReadRevoked([]string{writeFile(t, "revoked", tr.words.Replace(a.revoked))}); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// ours shakes hands with the server and returns what Check said of its key.
func (tr *trial) ours(t *testing.T, h *HostKeys, s *sshtest.Sshd, algs string) error {
	list := ordered(t, h, tr.algs)
	if algs != "" {
		list = strings.Split(algs, ",")
	}
	conn, err := net.Dial("tcp", s.HostPort())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	asked := false
	var said error
	ssh.NewClientConn(conn, "x", &ssh.ClientConfig{User: "nobody", HostKeyAlgorithms: list,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			asked, said = true, h.Check(t.Context(), key)
			return said
		}})
	if !asked {
		t.Fatalf("no key was offered for %v", list)
	}
	return said
}

// sshOptions are those that keep out of ssh what the table does not say. A
// user without a method is refused once the key is accepted.
func sshOptions(user, global string) []string {
	return []string{"-F", "none", "-o", "UserKnownHostsFile=" + user, "-o", "GlobalKnownHostsFile=" + global,
		"-o", "PreferredAuthentications=none", "-o", "IdentityFile=none", "-o", "IdentityAgent=none",
		"-o", "UpdateHostKeys=no", "-l", "nobody"}
}

// theirs is whether ssh accepts the key, and what it prints.
func theirs(t *testing.T, in *sshtest.Netns, env []string, args ...string) (accepted bool, stderr string) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stderr = &out
	err := in.Enter(cmd).Run()
	text := strings.ReplaceAll(out.String(), "\r", "")
	accepted = strings.Contains(text, "Permission denied (")
	if refused := strings.Contains(text, "Host key verification failed."); err == nil || accepted == refused {
		t.Fatalf("ssh %q: got %v, %q, want a clear verdict", args, err, text)
	}
	return accepted, text
}

func (a *attempt) sshArgs(t *testing.T, tr *trial, user, global string) []string {
	s := a.server(tr)
	args := append(sshOptions(user, global), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", fmt.Sprintf("ProxyCommand=%s %s %d", tr.r.Peer("nc"), s.Addr, s.Port))
	add := func(key, value string) {
		if value != "" {
			args = append(args, "-o", key+"="+value)
		}
	}
	add("HostKeyAlias", a.alias)
	add("HostKeyAlgorithms", a.algs)
	if a.port != 0 {
		add("Port", strconv.Itoa(a.port))
	}
	if a.revoked != "" {
		add("RevokedHostKeys", writeFile(t, "revoked", tr.words.Replace(a.revoked)))
	}
	if a.host == "" {
		return append(args, "jump", "true")
	}
	return append(args, a.host, "true")
}

const (
	certED    = "ssh-ed25519-cert-v01@openssh.com"
	certECDSA = "ecdsa-sha2-nistp256-cert-v01@openssh.com"
	certRSA   = "rsa-sha2-512-cert-v01@openssh.com"
)

// attempts are every form of facts on known_hosts that we know of.
var attempts = []attempt{
	{name: "known", user: "jump {ed}\n", want: "ok"},
	{name: "empty file", want: "unknown"},
	{name: "missing files", user: "-", global: "-", want: "unknown"},
	{name: "missing user file", user: "-", global: "jump {ed}\n", want: "ok"},
	{name: "another host", user: "other {ed}\n", want: "unknown"},
	{name: "changed", user: "jump {other}\n", want: "changed"},
	{name: "changed for the user, right for all", user: "jump {other}\n", global: "jump {ed}\n", want: "ok"},
	{name: "right for the user, other for all", user: "jump {ed}\n", global: "jump {other}\n", want: "ok"},
	{name: "several keys", user: "jump {other}\njump {otherrsa}\njump {ed}\n", want: "ok"},
	{name: "only the rsa key, offered last", user: "jump {rsa}\n", want: "ok"},
	{name: "only the ecdsa key", user: "jump {ecdsa}\n", want: "ok"},
	{name: "another kind than the offered", user: "jump {rsa}\n", algs: "ssh-ed25519", want: "changed"},

	{name: "upper case in the file", user: "JUMP {ed}\n", want: "ok"},
	{name: "upper case on the command line", user: "jump {ed}\n", host: "JuMp", want: "ok"},
	{name: "star", user: "j*p {ed}\n", want: "ok"},
	{name: "star for nothing", user: "jump* {ed}\n", want: "ok"},
	{name: "question mark", user: "j?mp {ed}\n", want: "ok"},
	{name: "question mark for nothing", user: "jump? {ed}\n", want: "unknown"},
	{name: "list", user: "a,jump,b {ed}\n", want: "ok"},
	{name: "list with empty names", user: ",,jump {ed}\n", want: "ok"},
	{name: "negation before", user: "!jump,* {ed}\n", want: "unknown"},
	{name: "negation behind", user: "*,!jump {ed}\n", want: "unknown"},
	{name: "negation of another", user: "*,!other {ed}\n", want: "ok"},
	{name: "negation alone", user: "!other {ed}\n", want: "unknown"},
	{name: "negated in one line only", user: "*,!jump {ed}\njump {ed}\n", want: "ok"},
	{name: "brackets are no class", user: "[j]ump {ed}\n", want: "unknown"},
	{name: "overlong pattern before", user: strings.Repeat("x", 1023) + ",jump {ed}\n", want: "unknown"},
	{name: "overlong pattern behind", user: "jump," + strings.Repeat("x", 1023) + " {ed}\n", want: "unknown"},
	{name: "long pattern before", user: strings.Repeat("x", 1022) + ",jump {ed}\n", want: "ok"},

	{name: "hashed", user: "{hashed} {ed}\n", want: "ok"},
	{name: "hashed, upper case", user: "{hashed} {ed}\n", host: "JUMP", want: "ok"},
	{name: "hashed, changed", user: "{hashed} {other}\n", want: "changed"},
	{name: "hashed port", user: "{hashed port} {ed}\n", port: 2222, want: "ok"},
	{name: "hash and a name", user: "{hashed},jump {ed}\n", want: "unknown"},
	{name: "bad hash above", user: "|1|x|y {ed}\njump {ed}\n", want: "ok"},
	{name: "other magic", user: "|2|x|y {ed}\njump {ed}\n", want: "ok"},

	{name: "port", user: "[jump]:2222 {ed}\n", port: 2222, want: "ok"},
	{name: "another port", user: "[jump]:2223 {ed}\n", port: 2222, want: "unknown"},
	{name: "port 22 written out", user: "[jump]:22 {ed}\n", want: "unknown"},
	{name: "port falls back to the bare name", user: "jump {ed}\n", port: 2222, want: "ok"},
	{name: "port falls back to a pattern", user: "*mp {ed}\n", port: 2222, want: "ok"},
	{name: "port falls back to a hash", user: "{hashed} {ed}\n", port: 2222, want: "ok"},
	{name: "bare name has another key", user: "jump {other}\n", port: 2222, want: "unknown"},
	{name: "changed for the port, right for the bare name", user: "[jump]:2222 {other}\njump {ed}\n", port: 2222, want: "changed"},
	{name: "right for the port, revoked for the bare name", user: "[jump]:2222 {ed}\n@revoked jump {ed}\n", port: 2222, want: "ok"},
	{name: "revoked for the bare name", user: "@revoked jump {ed}\n", port: 2222, algs: "ssh-ed25519", want: "revoked"},
	{name: "pattern for ports", user: "[jump]:* {ed}\n", port: 2222, want: "ok"},
	{name: "IPv6", user: "2001:db8::1 {ed}\n", host: "2001:db8::1", want: "ok"},
	{name: "IPv6 and a port", user: "[2001:db8::1]:2222 {ed}\n", host: "2001:db8::1", port: 2222, want: "ok"},
	{name: "IPv6 in upper case", user: "2001:DB8::1 {ed}\n", host: "2001:db8::1", want: "ok"},

	{name: "alias", user: "name {ed}\n", alias: "NaMe", want: "ok"},
	{name: "alias hides the host", user: "jump {ed}\n", alias: "name", want: "unknown"},
	{name: "alias has no port", user: "name {ed}\n", alias: "name", port: 2222, want: "ok"},
	{name: "alias with the port in the file", user: "[name]:2222 {ed}\n", alias: "name", port: 2222, want: "unknown"},

	{name: "no final newline", user: "jump {ed}", want: "ok"},
	{name: "CRLF", user: "jump {ed}\r\n", want: "ok"},
	{name: "CRLF and a comment", user: "# x\r\n\r\njump {ed} me@here\r\n", want: "ok"},
	{name: "tabs", user: "\tjump\t{ed tabbed}\tme\n", want: "ok"},
	{name: "blanks", user: "  jump   {ed}   me  \n", want: "ok"},
	{name: "form feed is no blank", user: "jump\f{ed}\n", want: "unknown"},
	{name: "no-break space is no blank", user: "jump\u00a0{ed}\n", want: "unknown"},
	{name: "form feed in the key", user: "jump ssh-ed25519 \f{ed64}\v\n", want: "ok"},
	{name: "NUL ends the line", user: "jump {ed}\x00 rubbish\n", want: "ok"},
	{name: "NUL in the name", user: "ju\x00mp {ed}\njump {ed}\n", want: "ok"},
	{name: "long comment line", user: "#{long}\njump {ed}\n", want: "ok"},
	{name: "long comment behind the key", user: "jump {ed} {long}\n", want: "ok"},
	{name: "comment for a key", user: "jump # {ed}\n", want: "unknown"},
	{name: "bad base64", user: "jump ssh-ed25519 !!!!\njump {ed}\n", want: "ok"},
	{name: "cut key", user: "jump {cutkey}\njump {ed}\n", want: "ok"},
	{name: "cut key alone", user: "jump {cutkey}\n", want: "unknown"},
	{name: "padding for nothing", user: "jump ssh-ed25519 {ed64}====\n", want: "unknown"},
	{name: "bits behind the key", user: "jump ssh-ed25519 AAAB\n", want: "unknown"},
	{name: "bits behind the end of base64", user: "jump {ecdsa bits}\n", algs: "ecdsa-sha2-nistp256", want: "unknown"},
	{name: "unknown kind of key", user: "jump ssh-mldsa99-ed25519@openssh.com AAAA\njump {ed}\n", want: "ok"},
	{name: "kind that is not the key's", user: "jump ssh-rsa {ed64}\n", want: "unknown"},
	{name: "kind by signature algorithm", user: "jump rsa-sha2-512 {rsa64}\n", algs: "rsa-sha2-512", want: "ok"},
	{name: "kind in upper case", user: "jump SSH-ED25519 {ed64}\n", want: "unknown"},
	{name: "key of protocol 1", user: "jump 1024 35 1234567890\njump {ed}\n", want: "ok"},
	{name: "short RSA key", user: "jump {short}\n", want: "unknown"},

	{name: "revoked", user: "jump {ed}\n@revoked jump {ed}\n", algs: "ssh-ed25519", want: "revoked"},
	{name: "revoked for all", user: "jump {ed}\n", global: "@revoked * {ed}\n", algs: "ssh-ed25519", want: "revoked"},
	{name: "revoked for another host", user: "jump {ed}\n@revoked other {ed}\n", want: "ok"},
	{name: "another key revoked", user: "jump {ed}\n@revoked jump {other}\n", want: "ok"},
	{name: "nothing but another key revoked", user: "@revoked jump {other}\n", want: "unknown"},
	{name: "revoked, tabs alone", user: "jump {ed}\n@revoked\tjump\t{ed tabbed}\n", algs: "ssh-ed25519", want: "revoked"},
	{name: "revoked, a tab and blanks", user: "jump {ed}\n@revoked\tjump {ed}\n", algs: "ssh-ed25519", want: "ok"},
	{name: "revoked, blanks and tabs", user: "jump {ed}\n@revoked \tjump {ed}\n", algs: "ssh-ed25519", want: "revoked"},
	{name: "unknown marker", user: "@strange jump {ed}\n", want: "unknown"},
	{name: "two markers", user: "jump {ed}\n@revoked @revoked jump {ed}\n", want: "ok"},
	{name: "marker and a name like one", user: "jump {ed}\n@revoked @x,jump {ed}\n", algs: "ssh-ed25519", want: "ok"},
	{name: "marker in upper case", user: "jump {ed}\n@REVOKED jump {ed}\n", want: "ok"},
	{name: "blank marker", user: "@ jump {ed}\n", want: "unknown"},
	{name: "indented marker", user: "jump {ed}\n  @revoked jump {ed}\n", algs: "ssh-ed25519", want: "revoked"},
	{name: "RevokedHostKeys", user: "jump {ed}\n", revoked: "# x\n{ed} me\n", algs: "ssh-ed25519", want: "revoked"},
	{name: "RevokedHostKeys, another", user: "jump {ed}\n", revoked: "{other}\n", want: "ok"},

	{name: "CA key as host key", user: "@cert-authority jump {ed}\n", want: "unknown"},
	{name: "CA known, plain key offered", user: "@cert-authority jump {other}\n", want: "unknown"},
	{name: "CA", user: "@cert-authority jump {ca}\n", certs: true, want: "ok"},
	{name: "CA for all", user: "@cert-authority *,!other {ca}\n", certs: true, want: "ok"},
	{name: "CA, tabs alone", user: "@cert-authority\tjump\tssh-ed25519\t{ca64}\n", certs: true, want: "ok"},
	{name: "CA for another host", user: "@cert-authority other {ca}\n", certs: true, want: "unknown"},
	{name: "another CA", user: "@cert-authority jump {other}\n", certs: true, want: "unknown"},
	{name: "no CA, but the key", user: "jump {ced}\n", certs: true, want: "ok"},
	{name: "no CA, another key", user: "jump {other}\n", certs: true, want: "changed"},
	{name: "CA key as plain key", user: "jump {ca}\n", certs: true, want: "changed"},
	{name: "CA, and another plain key", user: "@cert-authority jump {ca}\njump {other}\n", certs: true, want: "ok"},
	{name: "CA and a port", user: "@cert-authority [jump]:2222 {ca}\n", certs: true, port: 2222, want: "ok"},
	{name: "CA for the bare name", user: "@cert-authority jump {ca}\n", certs: true, port: 2222, want: "ok"},
	{name: "CA for the bare name, another key for the port", user: "@cert-authority jump {ca}\n[jump]:2222 {other}\n",
		certs: true, port: 2222, want: "ok"},
	{name: "key for the bare name, another for the port", user: "jump {ced}\n[jump]:2222 {other}\n",
		certs: true, algs: certED, port: 2222, want: "ok"},
	{name: "CA and an alias", user: "@cert-authority jump {ca}\n", certs: true, host: "192.0.2.1", alias: "JUMP", want: "ok"},
	{name: "name that the certificate has not", user: "@cert-authority * {ca}\n", certs: true, host: "jumper", want: "unknown"},
	{name: "CA revoked", user: "@cert-authority jump {ca}\n@revoked jump {ca}\n", certs: true, want: "revoked"},
	{name: "CA revoked elsewhere", user: "@cert-authority jump {ca}\n@revoked other {ca}\n", certs: true, want: "ok"},
	{name: "certified key revoked", user: "@cert-authority jump {ca}\n@revoked jump {ced}\n", certs: true, algs: certED, want: "revoked"},
	{name: "CA in RevokedHostKeys", user: "@cert-authority jump {ca}\njump {ced}\n", revoked: "{ca}\n", certs: true, algs: certED, want: "revoked"},
	{name: "certified key in RevokedHostKeys", user: "@cert-authority jump {ca}\n", revoked: "{ced}\n", certs: true, algs: certED, want: "revoked"},
	{name: "expired", user: "@cert-authority jump {ca}\n", certs: true, algs: certECDSA, want: "unknown"},
	{name: "expired, key known", user: "@cert-authority jump {ca}\njump {cecdsa}\n", certs: true, algs: certECDSA + ",ecdsa-sha2-nistp256", want: "ok"},
	{name: "expired, another key known", user: "@cert-authority jump {ca}\njump {other}\n", certs: true, algs: certECDSA, want: "changed"},
	{name: "for elsewhere", user: "@cert-authority jump {ca}\n", certs: true, algs: certRSA, want: "unknown"},
	{name: "for elsewhere, by that name", user: "@cert-authority * {ca}\n", certs: true, host: "elsewhere", algs: certRSA, want: "ok"},
	{name: "plain key asked for, CA known", user: "@cert-authority jump {ca}\n", certs: true, algs: "ssh-ed25519", want: "unknown"},
}

// Real ssh and we put the same question to the same server.
func TestHostKeysAsSSH(t *testing.T) {
	tr := newTrial(t)
	accepted := 0
	for _, a := range attempts {
		a.user = strings.ReplaceAll(a.user, "{ca64}", strings.Fields(authorized(tr.ca.PublicKey()))[1])
		if a.want == "ok" {
			accepted++
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			user, global := a.files(t, tr)
			err := tr.ours(t, a.hostKeys(t, tr, user, global), a.server(tr), a.algs)
			if got := verdict(err); got != a.want {
				t.Errorf("got %s (%v), want %s", got, err, a.want)
			}
			ok, text := theirs(t, nil, nil, a.sshArgs(t, tr, user, global)...)
			if ok != (err == nil) {
				t.Errorf("we say %v, ssh says %v: %s", err, ok, text)
			}
		})
	}
	if accepted < 40 || len(attempts)-accepted < 40 {
		t.Errorf("%d of %d are to be accepted: want 40 of each at least", accepted, len(attempts))
	}
}
