package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ssh-stay/doctor"
	"ssh-stay/prompt"
)

// doctorOptions are the flags of `ssh-stay doctor`.
type doctorOptions struct {
	proxyOptions
	ask, json, idle bool
	idleMax         time.Duration
}

func newDoctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor [flags] HOST",
		Short: "Look for what keeps connections to a host from coming up or staying up",
		Long: `Looks at the configuration of a host, at each hop on the way to it, and at the host
itself, and tells what it finds, with something to paste where there is something to
mend. It logs in where keys and agent will do, asks nothing, accepts and records no
host key, and leaves nothing at the far end. Where StayResume is set, it runs a command
on the host of the relay; and, as all connections through one do, "exit 0" on a jump
host with OpenSSH before 10.1. A forced command runs in their place.

Exit status: 0 nothing fails, 1 something does, 2 wrong usage.

--idle measures what time of silence connections to the first host of the way
survive: it keeps six of them silent, each for longer, up to --idle-max.`,
		Example:           "  ssh-stay doctor work\n  ssh-stay doctor --idle --idle-max 30m work\n  ssh-stay doctor --json work | jq '.[] | select(.level != \"ok\")'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeHost,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.idleMax < time.Second {
				return fmt.Errorf("--idle-max: want 1s or more, got %v", o.idleMax)
			}
			if err := o.setDestination(args[0]); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return fail(o.alias, o.run(ctx, cmd.OutOrStdout()))
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	o.configFlags(fs)
	fs.BoolVar(&o.ask, "ask", false, "ask for passwords and passphrases where a login needs them")
	fs.BoolVar(&o.json, "json", false, "print an array of objects")
	fs.BoolVar(&o.idle, "idle", false, "measure how long a silent connection lives; takes as long as --idle-max")
	fs.DurationVar(&o.idleMax, "idle-max", 10*time.Minute, "the longest silence to try")
	return cmd
}

// doctorError says that something fails. What does has been told.
type doctorError struct{ failed, of int }

func (e *doctorError) Error() string { return fmt.Sprintf("%d of %d findings fail", e.failed, e.of) }

// run makes the checks and prints what they find.
func (o *doctorOptions) run(ctx context.Context, stdout io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x := newExam(o)
	defer x.close()
	defer o.person.forget()
	x.noAskpass = whyNoAskpass()
	if !o.ask {
		muteAskpass()
	}
	checks := x.checks(ctx)
	printer := &doctor.Printer{W: stdout, Color: isColourful(stdout)}
	for _, c := range checks {
		printer.Width = max(printer.Width, len(c.Name))
	}
	r := doctor.Runner{Slow: func(name string) { printError("%s: still at %s", o.alias, name) }}
	x.said = func(line string) { fmt.Fprintln(os.Stderr, line) }
	if !o.json {
		r.Found = func(f doctor.Finding) {
			if err := printer.Print(f); err != nil {
				cancel(err) // nobody reads the rest
			}
		}
		x.said = func(line string) { fmt.Fprintln(stdout, line) }
	}
	found := r.Run(ctx, checks)
	if o.json {
		if err := doctor.WriteJSON(stdout, found); err != nil {
			return err
		}
	}
	switch err := context.Cause(ctx); {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case err != nil:
		return err
	}
	if n := doctor.Failed(found); n > 0 {
		return &doctorError{n, len(found)}
	}
	return nil
}

// whyNoAskpass is why ssh asks nothing by askpass, "" where it may: see
// prompt.CanAskInBackground.
func whyNoAskpass() string {
	switch {
	case prompt.CanAskInBackground():
		return ""
	case strings.EqualFold(os.Getenv("SSH_ASKPASS_REQUIRE"), "never"):
		return "SSH_ASKPASS_REQUIRE is never"
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return "neither DISPLAY nor WAYLAND_DISPLAY is set"
	}
	return "there is no askpass program"
}

// muteAskpass keeps all that we run from asking, a ProxyCommand as well as an ssh
// in it: without SSH_ASKPASS that takes the system's, and one before OpenSSH 8.4
// goes by DISPLAY alone.
func muteAskpass() {
	os.Setenv("SSH_ASKPASS_REQUIRE", "never")
	for _, name := range []string{"SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY"} {
		os.Unsetenv(name)
	}
}

// finding is a doctor.Finding whose texts may have words of hosts in them.
func finding(level doctor.Level, fix, format string, args ...any) doctor.Finding {
	var lines []string
	for line := range strings.Lines(fix) {
		text := strings.TrimLeft(line, " ") // escape trims it
		lines = append(lines, line[:len(line)-len(text)]+escape(text))
	}
	return doctor.Finding{Level: level, What: escape(fmt.Sprintf(format, args...)), Fix: strings.Join(lines, "\n")}
}

func fine(format string, args ...any) doctor.Finding {
	return finding(doctor.OK, "", format, args...)
}

// one is the findings of a check that has but one.
func one(f doctor.Finding) []doctor.Finding { return []doctor.Finding{f} }
