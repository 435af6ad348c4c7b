package setup

import (
	"errors"
	"testing"

	"ssh-stay/config"
)

// TestProofOfDirect: no host may come to ask for a descriptor over a jump, by
// whatever lines; where ssh jumps by itself it does not ask us.
func TestProofOfDirect(t *testing.T) {
	both := &config.Settings{ProxyUseFdpass: true, Jumps: make([]config.Jump, 1)}
	old := answer{settings: both, lines: map[string]string{"proxyjump": "gate"}}
	p := &proof{names: []string{"stay"}, invented: map[string]string{"x.corp": "*.corp"}}
	for name, want := range map[string]string{"db.corp": "db.corp", "x.corp": "*.corp"} {
		err := p.compareRoute(name, old, answer{settings: both, lines: map[string]string{"proxycommand": "ssh-stay"}})
		if changed, ok := errors.AsType[*ChangedHostError](err); !ok || changed.Host != want || !errors.Is(err, ErrIndirect) {
			t.Errorf("%s: got %v, want ErrIndirect of %s", name, err, want)
		}
		if err := p.compareRoute(name, old, old); err != nil {
			t.Errorf("%s: got %v, want nothing against ssh's own way", name, err)
		}
	}
}
