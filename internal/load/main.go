//go:build linux

// Command load puts ssh-stay under load, beside `ssh -J`, and proves that no byte
// is lost:
//
//	go run ./internal/load [-only NAME] [-quick] [-out FILE]
//
// Real sshd, real ssh, real sessions on loopback, through one jump host, each load
// three times: over a hop of ssh-stay, over a stream that can be resumed, and by
// stock ssh. The stream goes to a relay on the target, through the jump host: two
// logins of ssh-stay's own and three layers of encryption, the hardest that there
// is. Every session has an oracle: each byte is compared with what was sent, in
// both directions, and so are lengths and SHA-256 at the end.
//
// All of it takes some 40 minutes on two cores that have nothing else to do, and is
// cut after 45. What takes the longest, 500 idle sessions of each way for ten
// minutes, is played for all ways at once; where stock ssh is there for its speed
// alone, it has a fifth of the load. After each load its part of the file is written
// anew, so that a cut run keeps what it has. Progress is told on stderr.
//
// It exits with 1 if a byte, a session or a start was lost, or if something was left
// behind. What is missed of times and sizes is told in the table alone: it may be the
// machine's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ssh-stay/internal/faults"
	"ssh-stay/internal/sshtest"
)

type options struct {
	quick     bool
	part      int
	only, out string
}

func main() {
	if peer := peerMain(os.Args); peer >= 0 {
		os.Exit(peer)
	}
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// peerMain is the ends of a bulk session, which are processes of their own, so
// that their work does not stand in the way of who takes the time of an echo.
// It returns the exit status, or -1 where something else is asked for.
func peerMain(args []string) int {
	switch {
	case len(args) > 1 && args[1] == "far":
		return faults.FarMain(args[2:])
	case len(args) == 6 && args[1] == "near":
		return nearMain(args[2:])
	}
	return -1
}

// nearMain is the near end: SEED BOARD LIMIT RATE, as FarMain's.
func nearMain(args []string) int {
	seed, _ := strconv.ParseUint(args[0], 10, 64)
	limit, _ := strconv.ParseInt(args[2], 10, 64)
	rate, _ := strconv.Atoi(args[3])
	board, err := faults.OpenBoard(args[1])
	if err != nil {
		return 2
	}
	p := &faults.Peer{Board: board, Seed: seed, Sends: faults.Up, Limit: limit, Rate: rate}
	if err := p.Near(os.Stdin, os.Stdout); err != nil {
		return 1
	}
	return 0
}

func parse(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	fs.BoolVar(&o.quick, "quick", false, "small counts and seconds, to see that it works")
	fs.IntVar(&o.part, "part", 1, "an `nth` of the counts and times, to try a load")
	fs.StringVar(&o.only, "only", "", "one `load` alone, whose part of the table is replaced: "+strings.Join(loadNames(), ", "))
	fs.StringVar(&o.out, "out", "", "the `file` to write the table to, beside stdout")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if o.only != "" && !slices.Contains(loadNames(), o.only) {
		return nil, fmt.Errorf("-only %s: want one of %s", o.only, strings.Join(loadNames(), ", "))
	}
	if fs.NArg() > 0 || o.part < 1 {
		return nil, errors.New("want no arguments, and a part from 1 on")
	}
	return o, nil
}

// longest bounds a whole run.
const longest = 45 * time.Minute

func run(args []string) (failed error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // who asks twice does not wait for us to clear up
	ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("cut after %v", longest))
	defer cancel()
	about := fmt.Sprintf("- %s, `%s`\n- %s; %s\n", time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		strings.Join(append([]string{"go run ./internal/load"}, args...), " "), sshtest.Machine(), quickKex)
	if _, err := sshtest.Build(); err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, removeBuild()) }()
	return runLoads(ctx, o.sizes(time.Now()), o.only, func(name string, t *table) error {
		section := t.section(name, about)
		fmt.Print("\n" + section)
		if o.out == "" {
			return nil
		}
		old, err := os.ReadFile(o.out)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return replaceFile(o.out, document(string(old), name, section))
	})
}

// sizes are those that are asked for. What they tell has the time since began.
func (o *options) sizes(began time.Time) sizes {
	size := fullSizes().part(o.part)
	if o.quick {
		size = quickSizes()
	}
	size.tell = func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%6s  %s\n", time.Since(began).Round(time.Second), fmt.Sprintf(format, args...))
	}
	return size
}

// load is one load and how it is played.
type load struct {
	name string
	// play returns what the load has shown, also when it fails.
	play func(ctx context.Context, size sizes) (*table, error)
}

// loads are in the order in which a cut run misses them least.
func loads() []load {
	return []load{{"idle", playIdle}, {"starts", playStarts}, {"many", playMany}, {"busy", playBusy}, {"slow", playSlow}, {"rekey", playRekey}}
}

func loadNames() (names []string) {
	for _, l := range loads() {
		names = append(names, l.name)
	}
	return names
}

// runLoads plays one load after the other, only "" meaning all, and has each table
// kept unless ctx has cut it. One that fails does not keep the others from being played.
func runLoads(ctx context.Context, size sizes, only string, keep func(name string, t *table) error) (failed error) {
	for _, l := range loads() {
		if only != "" && l.name != only || ctx.Err() != nil {
			continue
		}
		size.tell("load %s", l.name)
		start := time.Now()
		t, err := l.play(ctx, size)
		t.took, t.failed = time.Since(start), errors.Join(err, t.lost())
		size.tell("load %s: %s", l.name, t.verdict())
		if ctx.Err() != nil { // what is cut has shown nothing: the part of an earlier run stays
			break
		}
		if t.failed != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: FAIL", l.name))
		}
		failed = errors.Join(failed, keep(l.name, t))
	}
	if ctx.Err() != nil {
		failed = errors.Join(failed, context.Cause(ctx))
	}
	return failed
}

// replaceFile writes a file as a whole or not at all.
func replaceFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".load-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
