//go:build linux

// Command bench measures ssh-stay beside stock OpenSSH and writes BENCH.md:
//
//	go run ./internal/bench
//
// One run is a number of rounds. Every round takes every figure of every path
// once, path after path, and begins with another path than the round before, so
// that whatever else the machine does hits all of them alike. Real sshd, real
// ssh, real sessions; loopback, and a line of 50 ms each way between two network
// namespaces. It needs root for the latter.
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
	out    string
	only   string
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
	fs.IntVar(&o.rounds, "rounds", 5, "how often every figure is taken")
	fs.BoolVar(&o.quick, "quick", false, "one round of small sizes, to see that it works; writes no file")
	fs.StringVar(&o.out, "out", "BENCH.md", "the `file` to write")
	fs.StringVar(&o.only, "only", "", "take the figures of one `group` alone ("+strings.Join(groupNames(), ", ")+"); writes no file")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if o.only != "" && !slices.Contains(groupNames(), o.only) {
		return nil, fmt.Errorf("-only %s: want one of %s", o.only, strings.Join(groupNames(), ", "))
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
	start := time.Now()
	if err := measure(ctx, groups, o.rounds); err != nil {
		return err
	}
	text := about + fmt.Sprintf("- rounds: %d, in %v\n", o.rounds, time.Since(start).Round(time.Second)) + legend + tables(groups)
	fmt.Println(text)
	if o.quick || o.only != "" {
		return nil
	}
	return replaceFile(o.out, text)
}

// measure takes the rounds; progress is stderr's.
func measure(ctx context.Context, groups []*group, rounds int) error {
	for n := range rounds {
		for _, g := range groups {
			start := time.Now()
			if err := g.round(ctx, n); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return fmt.Errorf("%s: %w", g.name, err)
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s, %v\n", n+1, rounds, g.name, time.Since(start).Round(time.Second/10))
		}
	}
	return nil
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
