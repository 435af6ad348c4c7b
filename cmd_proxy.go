package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ssh-stay/config"
	"ssh-stay/keepalive"
	"ssh-stay/proxy"
	"ssh-stay/state"
	"ssh-stay/stream"
	"ssh-stay/wrapper"
)

const (
	// waitNotice is the silence after which a user is told what is waited for.
	waitNotice = 5 * time.Second
	// hangupGrace is how long SIGHUP waits for the EOF that comes with it
	// when it is ssh that ended: it may be a closed terminal alone.
	hangupGrace = 2 * time.Second
	// exitGrace bounds the clean-up after SIGTERM and SIGINT.
	exitGrace = 2 * time.Second
	// partingGrace is more where the relay is being told: the 2 MiB that ssh may have on
	// their way take that long at 300 kbit/s.
	partingGrace = time.Minute
	// farewellTime is how long the relay may take to hear that its session is
	// over. One that does not hear it keeps the session for StayKeep.
	farewellTime = time.Second
	// budgetGrace lets ssh's own ConnectTimeout, counted from our start, run
	// out first: clients know that end and try again.
	budgetGrace = 200 * time.Millisecond
)

// proxyOptions are the flags and arguments of `ssh-stay proxy`.
type proxyOptions struct {
	alias, user, file, jump string
	options                 []string
	engine                  config.Engine
	v4, v6                  bool
	verbose                 int
	log                     string
	host                    string
	port                    int

	person    person
	delegated map[string]bool // hops that turned out to be ssh's to log in to
	events    *keepalive.Events
	plain     bool // resume turned out to be impossible
	record    record
	quiet     atomic.Bool // ssh is told to log nothing, LogLevel QUIET or FATAL, and so are we
}

// say prints an error unless the user wants none.
func (o *proxyOptions) say(format string, args ...any) {
	if !o.quiet.Load() {
		printError(format, args...)
	}
}

func (o *proxyOptions) flags(fs *pflag.FlagSet) {
	fs.SortFlags = false
	fs.StringVar(&o.alias, "alias", "", "the name as typed (%n), which selects the config blocks; default HOST")
	o.configFlags(fs)
	fs.BoolVarP(&o.v4, "ipv4", "4", false, "connect over IPv4 alone")
	fs.BoolVarP(&o.v6, "ipv6", "6", false, "connect over IPv6 alone")
	fs.CountVarP(&o.verbose, "verbose", "v", "tell what happens, on stderr")
	fs.StringVar(&o.log, "log", "", "tell what happens in this file, which is appended to")
}

// configFlags say what to ask of the configuration.
func (o *proxyOptions) configFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.user, "user", "", "the user at the target (%r)")
	fs.StringVarP(&o.file, "config", "F", "", "read this file instead of ~/.ssh/config and /etc/ssh/ssh_config; none for no file")
	fs.StringVarP(&o.jump, "jump", "J", "", "jump hosts, [user@]host[:port], separated by commas")
	fs.StringArrayVarP(&o.options, "option", "o", nil, "KEY=VALUE as in ssh_config; wins over files")
	fs.Var(&o.engine, "config-engine", "who evaluates the files: builtin, ssh (-G), or auto: the first, and the second for what it cannot")
}

func newProxyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "proxy [flags] HOST PORT",
		Short:                 "Connect stdin and stdout with a host: for ProxyCommand",
		Example:               "  ProxyCommand " + wrapper.ProxyCommand("ssh-stay", true),
		DisableFlagsInUseLine: true,
		Args:                  cobra.ExactArgs(2),
		// run sees the command before cobra does; this is for help alone.
		Run: func(*cobra.Command, []string) {},
	}
	new(proxyOptions).flags(cmd.Flags())
	return cmd
}

func parseProxy(args []string) (*proxyOptions, error) {
	o := &proxyOptions{}
	fs := pflag.NewFlagSet("proxy", pflag.ContinueOnError)
	fs.Usage = func() {}
	fs.SetOutput(io.Discard)
	o.flags(fs)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() != 2 {
		return nil, fmt.Errorf("want HOST and PORT, got %d arguments", fs.NArg())
	}
	var err error
	if o.port, err = config.ParsePort(fs.Arg(1)); err != nil {
		return nil, err
	}
	o.host = fs.Arg(0)
	if o.v4 && o.v6 {
		return nil, errors.New("-4 and -6 exclude each other")
	}
	// Clients that do not know a token pass it on as it stands.
	if o.alias == "" || o.alias == "%n" {
		o.alias = o.host
	}
	if o.user == "%r" {
		o.user = ""
	}
	return o, nil
}

// runProxy is the whole life of a ProxyCommand.
func runProxy(args []string) int {
	deferCollection()
	stdin, stdout := os.Stdin, os.Stdout
	os.Stdout = os.Stderr // nothing of ours can reach the stream
	o, err := parseProxy(args)
	if errors.Is(err, pflag.ErrHelp) {
		return run([]string{"help", "proxy"})
	}
	if err != nil {
		printError("proxy: %v", err)
		printHint("ssh-stay proxy --help")
		return exitUsage
	}
	log, closeLog, err := o.logger()
	if err != nil {
		return report(err, o.alias)
	}
	defer closeLog()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	watchSignals(cancel)
	err = o.proxy(ctx, cancel, stdin, stdout, log)
	log.Debug("ended", "error", err)
	return reportProxy(err, o.alias, o.quiet.Load())
}

// proxy dials and then splices, or passes the socket on.
func (o *proxyOptions) proxy(ctx context.Context, cancel context.CancelCauseFunc, stdin, stdout *os.File, log *slog.Logger) error {
	client := proxy.NewClient(stdin, stdout)
	dialed := make(chan struct{})
	go func() { // ends with the client or the first connection
		select {
		case <-client.Gone():
			end(cancel, proxy.ErrClientGone)
		case <-dialed:
		}
	}()
	connected := sync.OnceFunc(func() { close(dialed) })
	conn, pass, err := o.dial(ctx, client, stdout, connected, log)
	if err != nil {
		return &noConnection{err}
	}
	connected()
	defer conn.Close()
	if _, resumed := conn.Conn.(*stream.Stream); !resumed {
		o.person.forget()
	}
	if pass {
		return proxy.Pass(stdout, conn)
	}
	dropText()
	o.record.begin(conn)
	defer o.record.end()
	err = proxy.Splice(ctx, client, conn)
	if failed := (*proxy.CommandError)(nil); errors.As(err, &failed) {
		return &noConnection{failed}
	}
	return o.part(conn, err)
}

// part ends a resumed session: the relay is told, which closes the connection
// to the target. A session that could not be kept is no connection, as for ssh.
func (o *proxyOptions) part(conn *proxy.Conn, err error) error {
	s, ok := conn.Conn.(*stream.Stream)
	if !ok {
		return err
	}
	o.person.leave()
	tell, grace := s.Shutdown, farewellTime
	if err != nil { // nobody waits for what has not been sent
		if isUntold(err) && o.verbose == 0 {
			closeStderr() // clients wait for its end
		}
		parting.Store(true)
		tell, grace = s.Abandon, partingGrace
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	tell(ctx)
	o.person.forget()
	if lost := (*proxy.PeerError)(nil); errors.As(err, &lost) {
		return &noConnection{err}
	}
	return err
}

// dial makes the plan and dials its route, anew for each hop that turns out to be
// one for ssh. connected is called when there is a connection that client may yet
// have to give up for another. pass says that the socket goes to ssh.
func (o *proxyOptions) dial(ctx context.Context, client *proxy.Client, stdout *os.File, connected func(), log *slog.Logger) (conn *proxy.Conn, pass bool, err error) {
	waiting := newWaiting(o.alias, o)
	defer waiting.stop()
	o.delegated = map[string]bool{}
	for {
		plan, err := o.plan(ctx, log)
		if err != nil {
			return nil, false, err
		}
		if pass, err = plan.passes(stdout); err != nil {
			return nil, false, err
		}
		if plan.unresumed != "" {
			o.goOnWithout(errors.New(plan.unresumed))
		}
		plan.route.Retrying, plan.route.Asked = waiting.because, func() bool { return plan.left || o.person.asked.Load() }
		plan.route.Listening = func() { connected(); waiting.pause() }
		o.record.dir, o.record.host, o.record.route = state.Default(), escape(o.alias), plan.words()
		warning := o.warnOfTimeout(plan.settings.ConnectTimeout)
		switch {
		case plan.resume != nil:
			conn, err = o.dialResumed(ctx, plan, log)
		case pass:
			conn, err = plan.route.Dial(ctx)
		default:
			conn, err = plan.route.Meet(ctx, client)
		}
		warning.Stop()
		if why, ok := plan.notResumable(err); ok {
			o.goOnWithout(why)
			o.person.again(plan.route.Legs, err)
			continue
		}
		name, why, ok := leaveToSSH(err)
		if !ok || o.delegated[name] || !plan.mayDelegate[name] {
			return conn, pass, err
		}
		log.Info("cannot log in to hop, ssh may", "hop", name, "why", why)
		o.delegated[name] = true
	}
}

// goOnWithout gives up StayResume for this process.
func (o *proxyOptions) goOnWithout(why error) {
	o.say("%s: cannot be resumed, going on without: %v", o.alias, why)
	o.plain = true
}

// warnOfTimeout says, before ssh's ConnectTimeout ends us, that it is an answer
// which is waited for.
func (o *proxyOptions) warnOfTimeout(timeout time.Duration) *time.Timer {
	const ahead = 3 * time.Second
	warning := time.AfterFunc(timeout-ahead, func() {
		if timeout > ahead && o.person.asker.Asking() != "" {
			o.say("%s: ssh's ConnectTimeout of %v is nearly over, and an answer is still awaited", o.alias, timeout)
		}
	})
	return warning
}

// logger writes to the log file, to stderr under -v, or nowhere.
func (o *proxyOptions) logger() (*slog.Logger, func() error, error) {
	none := func() error { return nil }
	level := &slog.HandlerOptions{Level: slog.LevelDebug}
	switch {
	case o.log != "":
		f, err := os.OpenFile(o.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, none, &noConnection{fmt.Errorf("open log: %w", err)}
		}
		return slog.New(slog.NewTextHandler(f, level)), f.Close, nil
	case o.verbose > 0:
		return slog.New(slog.NewTextHandler(stderrWriter{}, level)), none, nil
	}
	return slog.New(slog.DiscardHandler), none, nil
}

// signalError is the cause of an end by signal.
type signalError struct{ os.Signal }

func (e signalError) Error() string { return "ended by signal: " + e.String() }

// watchSignals ends the context on SIGTERM and SIGINT at once, on SIGHUP after
// a grace. A broken pipe is an error for its writer alone. What nohup, or a shell
// without job control, has us ignore stays so, as in ssh.
func watchSignals(cancel context.CancelCauseFunc) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGPIPE)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	go func() { // ends with the process
		for sig := range signals {
			switch sig {
			case syscall.SIGHUP:
				time.AfterFunc(hangupGrace, func() { end(cancel, signalError{sig}) })
			case syscall.SIGINT, syscall.SIGTERM:
				end(cancel, signalError{sig})
			}
		}
	}()
}

// parting says that the relay is being told of the end, which has bounds of its own.
var parting atomic.Bool

// end ends the context, and soon after the process if something hangs that
// knows no context: a key on a dead file server, say.
func end(cancel context.CancelCauseFunc, why error) {
	cancel(why)
	exit := func() { os.Exit(exitFailed) }
	time.AfterFunc(exitGrace, func() {
		if parting.Load() {
			time.AfterFunc(partingGrace, exit)
		} else {
			exit()
		}
	})
}
