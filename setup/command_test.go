package setup

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestWord(t *testing.T) {
	for _, tc := range []struct{ goos, path, want string }{
		{"linux", "/usr/local/bin/ssh-stay", "/usr/local/bin/ssh-stay"},
		{"linux", "/opt/my tools/ssh-stay", `"/opt/my tools/ssh-stay"`},
		{"linux", "/opt/50%/it's", `"/opt/50%%/it's"`},
		{"linux", "/opt/a;b&c*", `"/opt/a;b&c*"`},
		{"windows", `C:\Users\A B\ssh-stay.exe`, `"C:/Users/A B/ssh-stay.exe"`},
		{"windows", `C:\bin\ssh-stay.exe`, `"C:/bin/ssh-stay.exe"`},
		{"linux", "/a$b", ""}, {"linux", "/a`b", ""}, {"linux", `/a"b`, ""}, {"linux", `/a\b`, ""}, {"linux", "/a!b", ""}, {"linux", "/a\nb", ""},
	} {
		got, err := word(tc.path, tc.goos)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: %q: got %q, %v, want %q", tc.goos, tc.path, got, err, tc.want)
		}
		// The shell that ssh hands it to makes the path of it again.
		if out, err := exec.Command("/bin/sh", "-c", "exec printf %s "+strings.ReplaceAll(got, "%%", "%")).Output(); tc.want != "" {
			if want := strings.ReplaceAll(tc.path, `\`, "/"); err != nil || string(out) != want {
				t.Errorf("%q through sh: got %q, %v, want %q", tc.path, out, err, want)
			}
		}
	}
}

func TestCheckLasting(t *testing.T) {
	for path, lasts := range map[string]bool{
		"/usr/local/bin/ssh-stay": true, "/home/me/go/bin/ssh-stay": true, "/tmpfiles/ssh-stay": true,
		"/tmp/ssh-stay": false, "/var/tmp/x/ssh-stay": false, "/root/.cache/go-build12/b001/exe/ssh-stay": false,
		filepath.Join(t.TempDir(), "ssh-stay"): false, "/opt/ssh-stay (deleted)": false,
	} {
		if err := CheckLasting(path); (err == nil) != lasts {
			t.Errorf("%s: got %v, want it to last: %v", path, err, lasts)
		}
	}
}

func TestDiff(t *testing.T) {
	for _, tc := range []struct{ old, new, want string }{
		{"a\n", "a\n", ""},
		{"a\nb\n", "I\na\nb\n", "@@ -1,2 +1,3 @@\n+I\n a\n b\n"},
		{"", "a", "@@ -0,0 +1,1 @@\n+a\n\\ No newline at end of file\n"},
		{"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nx\n6\ny\n7\n8\n9\n", "@@ -2,8 +2,9 @@\n 2\n 3\n 4\n-5\n+x\n 6\n+y\n 7\n 8\n 9\n"},
		{"\x1b[31m\ta\r\n", "", "@@ -1,1 +0,0 @@\n-\\u001b[31m\ta\n"},
	} {
		if got := diff(split([]byte(tc.old)), split([]byte(tc.new))); got != tc.want {
			t.Errorf("%q to %q: got %q, want %q", tc.old, tc.new, got, tc.want)
		}
	}
}
