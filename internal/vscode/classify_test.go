package vscode

import "testing"

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		said    string
		offline bool
		why     string
	}{
		{"ssh: Could not resolve hostname work: Temporary failure in name resolution\n", true, "Could not resolve hostname"},
		{"debug1: x\r\nConnection timed out during banner exchange\r\nConnection to UNKNOWN port 65535 timed out\r\nlocal-server> ssh child died\n", true, "Connection to UNKNOWN port 65535 timed out"},
		{"ssh: connect to host 192.0.2.1 port 22: Connection timed out\r\n", true, "connect to host 192.0.2.1 port 22: Connection timed out"},
		{"ssh: connect to host 192.0.2.1 port 22: Operation timed out\r\n", true, "connect to host 192.0.2.1 port 22: Operation timed out"},
		// What only a debug line says is hidden from the panel.
		{"debug1: connect to host 192.0.2.1 port 22: Connection timed out\nPermission denied (publickey).\n", false, "Permission denied (publickey)."},
		{"ssh: connect to host 192.0.2.1 port 22: Network is unreachable\r\n", false, "ssh: connect to host 192.0.2.1 port 22: Network is unreachable"},
		{"ssh: connect to host 192.0.2.1 port 22: Undefined error: 0\r\n", false, "ssh: connect to host 192.0.2.1 port 22: Undefined error: 0"},
		{"kex_exchange_identification: Connection closed by remote host\r\nConnection closed by UNKNOWN port 65535\r\n", false, "Connection closed by UNKNOWN port 65535"},
		{"CreateProcessW failed error:2\r\nposix_spawnp: No such file or directory\r\n", false, "posix_spawnp: No such file or directory"},
		{"", false, "ssh ended without a word"},
	} {
		if got := Classify(tc.said); got.Offline != tc.offline || got.Why != tc.why {
			t.Errorf("%q: got %v, %q, want %v, %q", tc.said, got.Offline, got.Why, tc.offline, tc.why)
		}
	}
}

func TestParseInstall(t *testing.T) {
	const block = "id: start\r\nlisteningOn==127.0.0.1:41==\r\narch==x86_64==\r\nexecServer==127.0.0.1:42==\r\n"
	for _, tc := range []struct {
		name, output string
		want         install
		complete     bool
		bad          bool
	}{
		{"noise before", "Welcome to id\nwarning: x==y==\nid: running\n" + block + "id: end\n ", install{"127.0.0.1:41", "127.0.0.1:42"}, true, false},
		{"of another", "other: start\nlisteningOn==127.0.0.1:41==\nother: end\n", install{}, false, false},
		{"after another's", "other: start\nexecServer==127.0.0.1:9==\nother: end\nid: start\nlisteningOn==127.0.0.1:41==\nid: end\n", install{server: "127.0.0.1:41"}, true, true},
		{"begun", block, install{}, false, false},
		{"no port", "id: start\nlisteningOn==127.0.0.1:==\nexecServer==127.0.0.1:42==\nid: end\n", install{"127.0.0.1:", "127.0.0.1:42"}, true, true},
		{"line spliced in", "id: start\nlisteningOn==127.0.0.1:41ssh-stay: x\n==\nexecServer==127.0.0.1:42==\nid: end\n", install{"", "127.0.0.1:42"}, true, true},
	} {
		got, complete, err := parseInstall(tc.output, "id")
		if got != tc.want || complete != tc.complete || (err != nil) != tc.bad {
			t.Errorf("%s: got %v, %v, %v, want %v, %v, error %v", tc.name, got, complete, err, tc.want, tc.complete, tc.bad)
		}
	}
}

func TestWaits(t *testing.T) {
	c := RealClocks()
	for attempt, want := range map[int]string{0: "0s", 1: "5s", 3: "10s", 7: "10s", 8: "30s", 99: "30s"} {
		if got := c.wait(attempt).String(); got != want {
			t.Errorf("attempt %d waits %s, want %s", attempt, got, want)
		}
	}
}
