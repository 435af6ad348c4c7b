package prompt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// askpassGrace is what askpass has for ending itself, a terminal put in order,
// once ctx has ended. Then it is killed.
const askpassGrace = time.Second

// runAskpass asks by the askpass program: the question is its only argument, the
// answer what it prints before it exits with status 0.
func runAskpass(ctx context.Context, q Question) ([]byte, error) {
	program, err := askpassProgram()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd, err := startAskpass(ctx, w, program, q)
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("start askpass: %w", err)
	}
	// A child of a killed askpass may hold the pipe's other end for ever.
	stop := context.AfterFunc(ctx, func() { r.Close() })
	answer := make([]byte, maxAnswer)
	n, _ := io.ReadFull(r, answer)
	stop()
	// One that prints more than an answer gets a broken pipe, as from ssh.
	r.Close()
	if err := cmd.Wait(); err != nil {
		Wipe(answer)
		return nil, fmt.Errorf("askpass %s: %w", program, err)
	}
	return cut(answer[:n]), nil
}

// startAskpass starts the program. A script without a #! line is one for sh, as
// for execlp(3), which OpenSSH uses.
func startAskpass(ctx context.Context, stdout *os.File, program string, q Question) (*exec.Cmd, error) {
	cmd := askpassCommand(ctx, stdout, q, program)
	err := cmd.Start()
	if errors.Is(err, syscall.ENOEXEC) {
		cmd = askpassCommand(ctx, stdout, q, "/bin/sh", program)
		err = cmd.Start()
	}
	return cmd, err
}

// askpassCommand passes our environment on whole: VS Code's askpass finds its
// way back by variables of its own. Its stdin is empty, since ours is the
// peer's; its stderr is ours, as under ssh.
func askpassCommand(ctx context.Context, stdout *os.File, q Question, argv ...string) *exec.Cmd {
	argv = append(argv, q.Text)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = stdout, os.Stderr
	if q.Confirm {
		cmd.Env = append(os.Environ(), "SSH_ASKPASS_PROMPT=confirm")
	}
	cmd.WaitDelay = askpassGrace
	endWithContext(cmd)
	return cmd
}

// askpassProgram is SSH_ASKPASS if set, even to nothing, else the one that came
// with the system's OpenSSH.
func askpassProgram() (string, error) {
	if program, set := os.LookupEnv("SSH_ASKPASS"); set {
		if program == "" {
			return "", errors.New("SSH_ASKPASS is empty")
		}
		return program, nil
	}
	for _, program := range askpassDefaults {
		if _, err := exec.LookPath(program); err == nil {
			return program, nil
		}
	}
	return "", errors.New("SSH_ASKPASS is not set, and this system has no ssh-askpass")
}
