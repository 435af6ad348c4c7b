//go:build linux

// Command bench measures ssh-stay beside stock OpenSSH and other peers and writes BENCH.md:
//
//	go run ./internal/bench
//
// One run is a number of rounds. Every round takes every figure of every path
// once, path after path, and begins with another path than the round before, so
// that whatever else the machine does hits all of them alike. The groups that
// take minutes have fewer rounds, and -within bounds them all. Real sshd, real ssh, real sessions; loopback,
// and lines of 10 and 50 ms each way between two network namespaces. It needs
// root for the latter.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	rounds int
	quick  bool
	within time.Duration
	out    string
	only   []string // groups; none: all
}

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.IntVar(&o.rounds, "rounds", 5, "how often every figure is taken, at most")
	fs.DurationVar(&o.within, "within", 28*time.Minute, "begin no round after the first that would end later than this")
	fs.BoolVar(&o.quick, "quick", false, "one round of small sizes, to see that it works; writes no file")
	fs.StringVar(&o.out, "out", "BENCH.md", "the `file` to write, after every round")
	names := strings.Join(groupNames(), ", ")
	fs.Func("only", "take the figures of these `groups` alone, separated by commas ("+names+"); writes no file", func(list string) error {
		for name := range strings.SplitSeq(list, ",") {
			if !slices.Contains(groupNames(), name) {
				return fmt.Errorf("no group %q: want some of %s", name, names)
			}
			o.only = append(o.only, name)
		}
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if o.rounds < 1 || fs.NArg() > 0 {
		return nil, errors.New("want at least one round, and no arguments")
	}
	if o.quick {
		o.rounds = 1
	}
	return o, nil
}

func run(args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	about := environment(args) // before the load is ours
	r := &rig{sizes: fullSizes(o.rounds)}
	if o.quick {
		r.sizes = quickSizes()
	}
	defer func() { err = errors.Join(err, r.close()) }()
	groups, err := r.groups(o.only)
	if err != nil {
		return err
	}
	start, rounds := time.Now(), 0
	report := func() string {
		return about + fmt.Sprintf("- rounds: %d, in %v\n", rounds, time.Since(start).Round(time.Second)) + legend + tables(groups)
	}
	for n := range o.rounds {
		taken, err := round(ctx, groups, n, start, o.within)
		if err != nil {
			return err
		}
		if !taken {
			break
		}
		rounds = n + 1
		if !o.quick && len(o.only) == 0 {
			if err := replaceFile(o.out, report()); err != nil {
				return err
			}
		}
	}
	fmt.Println(report())
	return failures(groups)
}

// round takes the n-th of every group that has one; taken says whether any did. A
// group that fails is given up, and the others go on: what half an hour has taken
// is not lost. Progress is stderr's.
func round(ctx context.Context, groups []*group, n int, began time.Time, within time.Duration) (taken bool, err error) {
	for _, g := range groups {
		if !g.due(n, within-time.Since(began)) {
			continue
		}
		taken = true
		start := time.Now()
		err := g.round(ctx, n)
		if ctx.Err() != nil {
			return taken, context.Cause(ctx)
		}
		took := time.Since(start)
		g.longest = max(g.longest, took)
		outcome := fmt.Sprintf("%.1f s", took.Seconds())
		if err != nil {
			g.failed = true
			g.notes = append(g.notes, fmt.Sprintf("Given up in round %d, which failed.", n+1))
			outcome = "failed: " + err.Error()
		}
		fmt.Fprintf(os.Stderr, "%5s round %d: %s, %s\n", time.Since(began).Round(time.Second), n+1, g.name, outcome)
	}
	return taken, nil
}

// due says whether the n-th round is to be taken with that much time left: the
// first in any case.
func (g *group) due(n int, left time.Duration) bool {
	return n == 0 || !g.failed && (g.rounds == 0 || n < g.rounds) && g.longest <= left
}

func failures(groups []*group) error {
	var names []string
	for _, g := range groups {
		if g.failed {
			names = append(names, g.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("failed: %s", strings.Join(names, ", "))
}

// replaceFile writes a file as a whole or not at all.
func replaceFile(name, text string) error {
	temp := fmt.Sprintf("%s.%d", name, os.Getpid())
	if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
		os.Remove(temp)
		return err
	}
	return os.Rename(temp, name)
}
