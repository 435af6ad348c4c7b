//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ssh-stay/internal/sshtest"
)

// The ways to the target, as the tables name them.
const (
	plain   = "ssh-stay, jump"
	resumed = "ssh-stay, resume"
	stock   = "ssh -J"
)

// quickKex is the key exchange that ssh-stay has with this sshd anyway. OpenSSH's
// own default costs several times as much: by that two cores would be busy with
// five starts a second, and what is to be seen here is not arithmetic.
const quickKex = "KexAlgorithms curve25519-sha256"

// roomy lets everybody in at once.
func roomy() []string { return []string{"MaxStartups 2000", quickKex} }

// telling tells of probes and new keys too. It is for the jump host alone: what a
// session of it says, the session's stderr says too.
func telling() []string { return append(roomy(), "LogLevel DEBUG1") }

// hosts is what the two servers and the configuration of a load are like.
type hosts struct {
	jump, target []string // lines of sshd_config
	hop          []string // of ssh_config, for the hops of every way
	ours, theirs []string // for those of ssh-stay, and of ssh
}

// scene is a user, a jump host, a target, and three ways between them.
type scene struct {
	tell         func(format string, args ...any)
	bin, self    string // ssh-stay, and this program
	client       *sshtest.Client
	jump, target *sshtest.Sshd
	closers      []func() error // in order of opening
}

// way is an alias of the target.
type way struct {
	name, alias string
	relays      func() []int // what runs of us at the far end; nil: nothing does
}

func newScene(size sizes, h hosts) (s *scene, err error) {
	s = &scene{tell: size.tell}
	if err := s.open(h); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *scene) open(h hosts) (err error) {
	if s.bin, err = sshtest.Build(); err != nil {
		return err
	}
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	if s.client, err = sshtest.NewClient(); err != nil {
		return err
	}
	s.closers = append(s.closers, s.client.Close)
	if s.jump, err = s.sshd(h.jump); err != nil {
		return err
	}
	if s.target, err = s.sshd(h.target); err != nil {
		return err
	}
	s.closers = append(s.closers, s.noneLeft)
	line := s.client.ProxyLine(s.bin)
	return errors.Join(
		s.client.Append("IgnoreUnknown Stay*"),
		s.client.AddHost("hop", s.jump, slices.Concat(h.hop, h.ours)...),
		s.client.AddHost("stockhop", s.jump, slices.Concat(h.hop, h.theirs)...),
		s.client.AddHost("plain", s.target, line, "ProxyJump hop"),
		// Under StayResume target the target is a hop too.
		s.client.AddHost("resume", s.target, slices.Concat(h.hop, h.ours, []string{line, "ProxyJump hop", "StayResume target", "StayKeep 30m"})...),
		s.client.AddHost("stock", s.target, "ProxyJump stockhop"),
	)
}

func (s *scene) sshd(lines []string) (*sshtest.Sshd, error) {
	d, err := sshtest.StartSshd(sshtest.SshdConfig{Lines: lines})
	if err == nil {
		s.closers = append(s.closers, d.Close)
	}
	return d, err
}

func (s *scene) ways() []way {
	return []way{{plain, "plain", nil}, {resumed, "resume", s.target.Relays}, {stock, "stock", nil}}
}

// play is a load: f on each way of its own scene, one after the other, also when it
// fails on one. The first session of a way brings the relay, and is none of the load.
func play(ctx context.Context, size sizes, h hosts, f func(*scene, way) error) (err error) {
	s, err := newScene(size, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, w := range s.ways() {
		s.tell("%s", w.name)
		_, failed := s.alone(ctx, w, 1)
		if failed == nil {
			failed = f(s, w)
		}
		if ctx.Err() != nil { // which kills every ssh: what failed says no more than that
			return errors.Join(err, context.Cause(ctx))
		}
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", w.name, failed))
		}
	}
	return err
}

// noneLeft is an error if a proxy outlives its ssh, whose end all have seen by now.
func (s *scene) noneLeft() error {
	soon := time.Now().Add(10 * time.Second)
	var left []error
	for _, pid := range sshtest.ProcessesOf(s.bin) {
		left = append(left, sshtest.WaitGone(pid, time.Until(soon)))
	}
	if err := alike(left); err != nil {
		return fmt.Errorf("left behind: %w", err)
	}
	return nil
}

// close ends and removes everything, the last first.
func (s *scene) close() (err error) {
	for _, f := range slices.Backward(s.closers) {
		err = errors.Join(err, f())
	}
	return err
}

// file is the path of a new file.
func (s *scene) file(kind string) (string, error) {
	f, err := os.CreateTemp(s.client.Dir, kind)
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// wait lets the load go on.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// removeBuild removes what sshtest.Build has made.
func removeBuild() error {
	bin, err := sshtest.Build()
	if err != nil || os.Getenv("SSH_STAY_BIN") != "" {
		return err
	}
	return os.RemoveAll(filepath.Dir(bin))
}
