//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// idle takes the memory of proxies that have nothing to do, the time to the
// dial, and the size of the binary.
type idle struct {
	bin    string
	paths  []path
	settle time.Duration
	dials  int
	dialer *dialer

	pss, dirty, private, dial, size figure
}

func (r *rig) idleGroup() (*group, error) {
	l, err := r.lab(0)
	if err != nil {
		return nil, err
	}
	d, err := newDialer(l, r.bin)
	if err != nil {
		return nil, err
	}
	r.onClose(d.close)
	paths := l.named(sshJ, stayJ, netcat, direct, stayR)
	paths[0].name = sshW
	names := []string{sshW, stayJ, netcat, direct, stayR}
	i := &idle{bin: r.bin, settle: r.sizes.settle, dials: r.sizes.dials, dialer: d,
		paths: paths,
		pss: figure{name: "PSS", unit: "MiB", paths: append(slices.Clone(names), relay),
			wants: map[string]want{stayJ: atMost(8, ""), direct: atMost(4.5, ""), stayR: atMost(12, ""), relay: atMost(8, "")}},
		dirty: figure{name: "Private_Dirty", unit: "MiB", paths: names, wants: map[string]want{stayJ: atMost(1.2, sshW), direct: atMost(1.2, sshW)}},
		// Shown, not judged: the clean part is the binary's text. An ssh shares its
		// own with the next ssh and a lone ssh-stay with nobody; PSS judges that.
		private: figure{name: "Private_Clean + Private_Dirty", unit: "MiB", paths: names,
			wants: map[string]want{stayJ: beside(sshW), direct: beside(sshW)}},
		dial: figure{name: "exec to the first connection", unit: "ms", paths: names[:4],
			wants: map[string]want{stayJ: atMost(5, ""), direct: atMost(5, "")}},
		size: figure{name: "binary, linux/" + goarch(), unit: "MB", paths: []string{direct}, wants: map[string]want{direct: atMost(9, "")}},
	}
	return &group{title: "A session that has moved nothing yet, one at a time; and what a start costs.",
		figures: []*figure{&i.pss, &i.dirty, &i.private, &i.dial, &i.size}, round: i.round}, nil
}

func (i *idle) round(ctx context.Context, n int) error {
	for _, p := range rotated(i.paths, n) {
		if err := i.memory(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	for range i.dials {
		for _, name := range rotated(i.dial.paths, n) {
			took, err := i.dialer.time(ctx, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			i.dial.add(name, took.Seconds()*1e3)
		}
	}
	info, err := os.Stat(i.bin)
	if err != nil {
		return err
	}
	i.size.add(direct, float64(info.Size())/1e6)
	return nil
}

// memory reads the kernel's account of a proxy some time after the login, while
// no other process runs the same binary but the ssh that an `ssh -W` serves.
func (i *idle) memory(ctx context.Context, p path) (err error) {
	s, err := p.open(ctx, "read x")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(i.settle):
	}
	pid, err := s.proxy()
	if err != nil {
		return err
	}
	m, err := smaps(pid)
	if err != nil {
		return err
	}
	i.pss.add(p.name, m["Pss"])
	i.dirty.add(p.name, m["Private_Dirty"])
	i.private.add(p.name, m["Private_Clean"]+m["Private_Dirty"])
	if p.relays == nil {
		return nil
	}
	far, err := pss(p.relays()) // the daemon; what waits for the end of its channel is a sh
	if err != nil {
		return err
	}
	i.pss.add(relay, far)
	return nil
}

// pss is that of several processes.
func pss(pids []int) (sum float64, err error) {
	for _, pid := range pids {
		m, err := smaps(pid)
		if err != nil {
			return 0, err
		}
		sum += m["Pss"]
	}
	return sum, nil
}

// smaps is /proc/PID/smaps_rollup in MiB. Private pages are mapped by this
// process alone; the clean ones among them are those of the binary, which the
// kernel can drop; PSS adds its share of the others.
func smaps(pid int) (map[string]float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return nil, err
	}
	m := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[2] == "kB" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return nil, err
			}
			m[strings.TrimSuffix(fields[0], ":")] = kib / 1024
		}
	}
	return m, nil
}
