//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ssh-stay/setup"
)

// TestSetupHints: what an error of setup's makes one do, and that it does no harm.
func TestSetupHints(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	yours := "sudo -u '#4242' ssh-stay setup"
	if os.Geteuid() != 0 {
		yours = fmt.Sprintf("if it should be yours: sudo chown %d \"/c\"", os.Geteuid())
	}
	for _, tc := range []struct {
		err  error
		want []string
	}{
		{&setup.OwnerError{Path: "/c", UID: 4242}, []string{yours}},
		{&setup.GroupError{Path: "/c"}, []string{fmt.Sprintf("chgrp %d \"/c\"", os.Getegid())}},
		{&setup.SystemConfigError{Path: "/c"}, []string{"ssh-stay setup, without -F, is for a user's own"}},
		{&setup.ForeignFileError{Path: "/own"}, []string{`mv "/own" "/own.mine"`}},
		{&setup.ForeignFileError{Path: "/own", Other: config}, []string{fmt.Sprintf("ssh-stay setup -F %q --undo", config)}},
		{&setup.ForeignFileError{Path: "/own", Other: config + ".gone"}, []string{`that config is gone, so: rm "/own"`}},
		{&setup.ProgramError{Path: "/p", Missing: true}, []string{"name the ssh-stay that ssh shall run: --program PATH"}},
		{&setup.SharedSocketError{Host: "b", Other: "a", Path: "/s"}, []string{`above, under "Host b": ControlPath ~/.ssh/cm-%n-%C`, "or leave the host out: '!b'"}},
		{&setup.PassingError{Host: "*.corp"}, []string{"leave it out: ssh-stay setup '*' '!*.corp'"}},
		{&setup.PassingError{Host: "*"}, []string{"name the hosts that it is for: ssh-stay setup HOST..."}},
		{&setup.ChangedHostError{Host: "*.corp", Err: setup.ErrIndirect}, []string{`above, under "Host *.corp": ProxyUseFdpass no`}},
		{&setup.AddressError{Host: "b", Keyword: "CheckHostIP"}, []string{"leave the host out: '!b'", `or under "Host b": CheckHostIP no`}},
		{&setup.AddressError{Host: "*", Keyword: "CheckHostIP"}, []string{"at the top of the config: CheckHostIP no"}},
	} {
		if got := hints(fmt.Errorf("x: %w", tc.err), ""); !slices.Equal(got, tc.want) {
			t.Errorf("%T: got %q, want %q", tc.err, got, tc.want)
		}
	}
	if got := userName(0); got != "root" {
		t.Errorf("got %q, want root", got)
	}
}
