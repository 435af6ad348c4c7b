package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"ssh-stay/auth"
	"ssh-stay/config"
	"ssh-stay/hop"
	"ssh-stay/proxy"
	"ssh-stay/state"
	"ssh-stay/stream"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitNoReach = 255 // no connection, as for ssh
)

// noConnection marks an error before the first byte could flow.
type noConnection struct{ err error }

func (e *noConnection) Error() string { return e.err.Error() }
func (e *noConnection) Unwrap() error { return e.err }

// stderrWriter writes what stderr takes at once and drops the rest: some
// clients never read a ProxyCommand's stderr.
type stderrWriter struct{}

func (stderrWriter) Write(p []byte) (int, error) {
	writeStderr(p)
	return len(p), nil
}

func printError(format string, args ...any) {
	writeStderr([]byte("ssh-stay: " + escape(fmt.Sprintf(format, args...)) + "\n"))
}

func printHint(format string, args ...any) {
	writeStderr([]byte("hint: " + escape(fmt.Sprintf(format, args...)) + "\n"))
}

// escape makes one line of foreign text that no terminal acts on.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteByte(' ')
		case r == unicode.ReplacementChar || !unicode.IsGraphic(r):
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}

// maxHints is how many hints an error may have.
const maxHints = 2

// report prints an error with its hints, then more ones as far as there is
// room, and returns the exit status.
func report(err error, host string, more ...string) int {
	printError("%s", message(err, host))
	all := append(hints(err, host), more...)
	for _, h := range all[:min(len(all), maxHints)] {
		printHint("%s", h)
	}
	return exitStatus(err)
}

func exitStatus(err error) int {
	if none := (*noConnection)(nil); errors.As(err, &none) {
		return exitNoReach
	}
	return exitFailed
}

// reportProxy ends a proxy: ssh's going away is nothing to speak of. quiet: ssh
// is not to speak of anything, and nor are we.
func reportProxy(err error, host string, quiet bool) int {
	switch {
	case err == nil:
		return exitOK
	case isUntold(err):
		return exitFailed
	}
	if !quiet {
		report(err, host)
	}
	// ControlPersist discards stderr, so `ssh-stay status` tells it too.
	f := state.Failure{Host: host, Time: time.Now().Truncate(time.Second), Error: escape(message(err, host))}
	lost := keepFailure(f, state.Default().WriteFailure)
	if lost != nil && !quiet && len(hints(err, host)) < maxHints {
		printHint("ssh-stay status will not tell of this: %v", lost)
	}
	return exitStatus(err)
}

// isUntold says whether an end is one that nobody need hear of: ssh has gone, or
// somebody ended us.
func isUntold(err error) bool {
	return errors.Is(err, proxy.ErrClientGone) || errors.As(err, new(signalError))
}

// keepFailure waits for write no longer than recordGrace: its directory may be on
// a server that hangs.
func keepFailure(f state.Failure, write func(state.Failure) error) error {
	written := make(chan error, 1)
	go func() { written <- write(f) }() // ends with the process, at the latest
	select {
	case err := <-written:
		return err
	case <-time.After(recordGrace):
		return fmt.Errorf("not written within %v", recordGrace)
	}
}

// message words an error so that clients which look for ssh's words find them.
func message(err error, host string) string {
	var unknown *auth.UnknownHostError
	var changed *auth.ChangedHostKeyError
	var revoked *auth.RevokedHostKeyError
	if pinned := (*hop.PinnedKeyError)(nil); errors.As(err, &pinned) {
		return "Host key verification failed. " + pinned.Error()
	}
	if errors.As(err, &unknown) || errors.As(err, &changed) || errors.As(err, &revoked) {
		return "Host key verification failed. " + err.Error()
	}
	if peer := (*proxy.PeerError)(nil); errors.As(err, &peer) && host != "" {
		return host + ": " + err.Error()
	}
	return err.Error()
}

// hints turns an error's type into something to paste, two at the most.
func hints(err error, host string) []string {
	var (
		unknown *auth.UnknownHostError
		changed *auth.ChangedHostKeyError
		denied  *auth.DeniedError
		open    *hop.OpenError
		at      *hop.HandshakeError
		algs    *hop.NoAlgorithmError
		gaveUp  *proxy.GaveUpError
		setting *settingError
		name    *config.NameError
		loop    *config.LoopError
		expired *stream.ExpiredError
		refused *stream.RefusedError
		ended   *stream.EndedError
		dropped *hop.DroppedError
	)
	if of := setupHints(err); of != nil {
		return of
	}
	hopName := host
	if errors.As(err, &at) {
		hopName = at.Hop
	}
	switch {
	case errors.As(err, &expired):
		return []string{fmt.Sprintf("to keep sessions for longer, under \"Host %s\": StayKeep", host)}
	case errors.As(err, &refused) && refused.Code == stream.CodeUnknown, errors.As(err, &ended) && ended.Code == stream.CodeShutdown:
		return []string{"its host was restarted, or ended it at logout (KillUserProcesses of logind.conf): loginctl enable-linger there"}
	case errors.As(err, &unknown):
		return []string{fmt.Sprintf("ssh%s %s    # shows the key, asks, and adds it to known_hosts", portFlag(unknown.Name), hopName)}
	case errors.As(err, &changed):
		return []string{
			"if you know that the key was changed:",
			fmt.Sprintf("ssh-keygen -f %q -R %q && ssh%s %s", changed.File, changed.Name, portFlag(changed.Name), hopName),
		}
	case errors.As(err, &denied):
		return []string{fmt.Sprintf("ssh-add KEYFILE, or IdentityFile under \"Host %s\"; ssh -v %s tells what the server takes", hopName, hopName)}
	case errors.As(err, &algs):
		return []string{fmt.Sprintf("add one of `ssh-stay config %s` %s to its stanza", hopName, algs.Keyword)}
	case errors.As(err, &open) && open.Forbidden:
		return []string{fmt.Sprintf("in sshd_config of %s: AllowTcpForwarding yes, and PermitOpen %s or any", open.Hop, open.Target)}
	case errors.As(err, &gaveUp) && at != nil:
		return []string{fmt.Sprintf("%s takes connections but does not finish the SSH handshake: ssh -v %s", hopName, hopName)}
	case errors.As(err, &gaveUp) && errors.As(err, &dropped):
		return []string{fmt.Sprintf("to try for longer, under \"Host %s\": ConnectTimeout or StayPatience", host)}
	case errors.As(err, &gaveUp):
		return []string{fmt.Sprintf("the network seems down; to wait longer, under \"Host %s\": ConnectTimeout or StayPatience", host)}
	case errors.As(err, &setting):
		return []string{setting.hint}
	case errors.As(err, &loop):
		return []string{fmt.Sprintf("under \"Host %s\": ProxyJump none", loop.Host)}
	case errors.As(err, &name):
		return []string{"names follow the rules of OpenSSH 10.6: no quotes, blanks, $, \\ or shell characters"}
	}
	return nil
}

// portFlag is ssh's -p for a name as it stands in known_hosts.
func portFlag(name string) string {
	if _, port, ok := strings.Cut(name, "]:"); ok {
		return " -p " + port
	}
	return ""
}

// waiting tells the user once, when dialing takes long.
type waiting struct {
	timer *time.Timer
	since time.Time

	mu     sync.Mutex // guards what follows
	why    error
	paused bool
	told   bool
}

func newWaiting(host string, o *proxyOptions) *waiting {
	w := &waiting{since: time.Now()}
	w.timer = time.AfterFunc(waitNotice, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.told || o.person.asked.Load() {
			return
		}
		w.told = true
		if w.why != nil {
			o.say("%s: still connecting: %v", host, w.why)
		} else {
			o.say("%s: still connecting", host)
		}
	})
	return w
}

// because says why there is a wait, which goes on after a pause.
func (w *waiting) because(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.why = err
	if w.paused && !w.told {
		w.timer.Reset(max(0, waitNotice-time.Since(w.since)))
	}
	w.paused = false
}

// pause says that it is not the dialing that is waited for.
func (w *waiting) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused = true
	w.timer.Stop()
}

func (w *waiting) stop() { w.timer.Stop() }
