package auth

import (
	"context"
	"slices"
)

// Order puts the algorithms whose keys are known for the host first, so that a
// host with several keys does not offer one we never saw and look changed
// (order_hostkeyalgs, sshconnect2.c): those of all certificates where a CA is
// known for the host, and those of known keys, certified or not. The order is
// otherwise kept; all of it if the first algorithm is for a known key. Unlike
// ssh, keys known for the name without the port count where there are no
// others.
func (h *HostKeys) Order(ctx context.Context, list []string) ([]string, error) {
	entries := h.Known.lookup(h.hostName(false))
	if h.Command != nil {
		more, err := h.runCommand(ctx, "ORDER", h.host(), h.host(), nil)
		if err != nil {
			return nil, err
		}
		entries = append(entries, more...)
	}
	return h.order(entries, list), nil
}

func (h *HostKeys) order(entries []entry, list []string) []string {
	if len(entries) == 0 {
		entries = h.Known.lookup(h.hostName(true))
	}
	known := map[string]bool{}
	certs := false
	for _, e := range entries {
		certs = certs || e.marker == markCA
		if e.marker == "" {
			known[e.key.Type()] = true
		}
	}
	if len(list) == 0 || known[plainTypeOf(list[0])] {
		return list
	}
	var first, rest []string
	for _, alg := range list {
		isCert := plainTypeOf(alg) != keyTypeOf(alg)
		if isCert && certs || known[plainTypeOf(alg)] {
			first = append(first, alg)
		} else {
			rest = append(rest, alg)
		}
	}
	return slices.Concat(first, rest)
}
