//go:build linux

package main

import (
	"fmt"

	"ssh-stay/internal/sshtest"
)

// peersGroup has everything beside everything, in one run. What a target judges
// comes right after what it is compared with.
func (r *rig) peersGroup() (*group, error) {
	straight, through := []string{plain, fdpass, netcat, direct}, []string{sshJ, stayJ, stayR, stayT}
	var missing []string
	for _, program := range []string{socat, auto} {
		if note := lacks(program); note != "" {
			missing = append(missing, note)
			continue
		}
		straight = append(straight, program)
	}
	g, err := r.loopback("Every way to the same target, on loopback: straight there, and through one jump host.",
		append(straight, through...)...)
	if err != nil {
		return nil, err
	}
	g.notes = append(g.notes,
		"autossh runs ssh and starts it anew; its data passes through nothing of it, so the start of a session is all there is to take.",
		"mosh moves no files: see typing.",
		"EternalTerminal is not here: Debian 12 has no package of it.",
		"tssh is not here: Debian 12 has no package of it.",
	)
	g.notes = append(g.notes, missing...)
	return g, nil
}

// lacks is the note that a program is missing here, "" if it is not.
func lacks(program string) string {
	if _, err := sshtest.Peer(program); err != nil {
		return fmt.Sprintf("%s is not here, since it is not installed: `testdata/peers.sh bench`.", program)
	}
	return ""
}
