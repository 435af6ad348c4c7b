package setup

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestEditSettings(t *testing.T) {
	two := []Setting{{"a.b", "60", "", true}, {"c", "null", "", false}}
	for name, tc := range map[string]struct{ from, want string }{
		"nothing":         {"", "{\n    \"a.b\": 60,\n    \"c\": null\n}\n"},
		"comment alone":   {"// mine", "// mine\n{\n    \"a.b\": 60,\n    \"c\": null\n}\n"},
		"empty":           {"{}", "{\n    \"a.b\": 60,\n    \"c\": null\n}"},
		"empty, comment":  {"{ // x\n}\n", "{ // x\n    \"a.b\": 60,\n    \"c\": null\n}\n"},
		"one line":        {`{"x": 1}`, `{"x": 1, "a.b": 60, "c": null}`},
		"one line, comma": {`{"x": 1,}`, `{"x": 1, "a.b": 60, "c": null,}`},
		"usual":           {"{\n\t\"x\": 1\n}\n", "{\n\t\"x\": 1,\n\t\"a.b\": 60,\n\t\"c\": null\n}\n"},
		"comment behind":  {"{\n  \"x\": 1 // why\n}\n", "{\n  \"x\": 1, // why\n  \"a.b\": 60,\n  \"c\": null\n}\n"},
		"comments":        {"{\n  \"x\": 1, /* a */ // b\n  // end\n}\n", "{\n  \"x\": 1, /* a */ // b\n  \"a.b\": 60,\n  \"c\": null,\n  // end\n}\n"},
		"crlf":            {"{\r\n  \"x\": [1, {\"c\": 2}]\r\n}", "{\r\n  \"x\": [1, {\"c\": 2}],\r\n  \"a.b\": 60,\r\n  \"c\": null\r\n}"},
		"replaced":        {"{ \"c\" : 7 /* n */, \"a.b\":/**/15 }", "{ \"c\" : null /* n */, \"a.b\":/**/60 }"},
		"enough":          {"{\"a.b\": 1800, \"c\": null}", "{\"a.b\": 1800, \"c\": null}"},
		"the last counts": {"{\"c\": null, \"a.b\": 99, \"c\": [\"]\"]}", "{\"c\": null, \"a.b\": 99, \"c\": null}"},
		"escaped key":     {`{"\u0063": 1, "a.b": 60}`, `{"\u0063": null, "a.b": 60}`},
		"nested only":     {"{\"x\": {\"c\": 1, \"a.b\": 60}}", "{\"x\": {\"c\": 1, \"a.b\": 60}, \"a.b\": 60, \"c\": null}"},
		"mark":            {byteOrderMark + "{}", byteOrderMark + "{\n    \"a.b\": 60,\n    \"c\": null\n}"},
		"no number":       {"{\"a.b\": \"soon\", \"c\": null}", "{\"a.b\": 60, \"c\": null}"},
	} {
		got, err := editSettings(tc.from, two)
		if err != nil || got != tc.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, tc.want)
		}
		if again, err := editSettings(got, two); err != nil || again != got {
			t.Errorf("%s: second time: got %q, %v, want no change", name, again, err)
		}
	}
}

func TestSettingsThatDoNotParse(t *testing.T) {
	for _, text := range []string{"[", "[]", "{", "{\"a\"}", "{\"a\": }", "{\"a\": 1 \"b\": 2}", "{a: 1}", "{'a': 1}", "{\"a\": 1}}", "{\"a\": 01}", "{,}",
		"{\"a\": [1 2]}", "{\"a\": [1", "{\"a", "{\"\xff\": 1}", "{/*", "{/}", "{\"a\": tru}", "{\"a\": " + strings.Repeat("[", 300) + strings.Repeat("]", 300) + "}"} {
		_, err := editSettings(text, RemoteSettings(""))
		if _, ok := errors.AsType[*SyntaxError](err); !ok {
			t.Errorf("%.40q: got %v, want a SyntaxError", text, err)
		}
	}
}

// strip is the plain JSON of a text that parses.
func strip(text string) string {
	text = strings.TrimPrefix(text, byteOrderMark)
	var b strings.Builder
	p := &jsonc{text: text}
	for p.at < len(text) {
		at := p.at
		switch c := text[at]; {
		case c == '"':
			p.string()
			b.WriteString(text[at:p.at])
		case c == '/':
			p.comment()
		case c == ',':
			p.at++
			rest := &jsonc{text: text, at: p.at}
			rest.blank()
			if rest.at < len(text) && text[rest.at] != '}' && text[rest.at] != ']' {
				b.WriteByte(c)
			}
		default:
			p.at++
			b.WriteByte(c)
		}
	}
	if strings.TrimSpace(b.String()) == "" {
		return "{}"
	}
	return b.String()
}

// FuzzSettings: what can be read keeps all its other values, has ours, and is
// not changed a second time; the rest is a SyntaxError.
func FuzzSettings(f *testing.F) {
	seeds := []string{"", "{}", "{ // c\n \"a\": [1, {\"b\": null},], }", "// x\r\n{\"remote.SSH.connectTimeout\": 15}\n/* y */", "{\"a\":\"\\\"//\"}", "{\"a\":1/**/}", "{\"a\":1//\r}"}
	for _, s := range seeds {
		f.Add(s)
	}
	settings := RemoteSettings("/opt/ssh-stay")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := editSettings(text, settings)
		if err != nil {
			if _, ok := errors.AsType[*SyntaxError](err); !ok {
				t.Errorf("got %T %v, want a SyntaxError", err, err)
			}
			return
		}
		var before, after map[string]any
		if err := readJSON(strip(text), &before); err != nil {
			t.Fatalf("%q was read, and is none: %v", text, err)
		}
		if err := readJSON(strip(got), &after); err != nil {
			t.Fatalf("%q became %q: %v", text, got, err)
		}
		for _, s := range settings {
			if v, ok := after[s.Key]; !ok || s.Value == "null" && v != nil {
				t.Errorf("%q became %q without %s", text, got, s.Key)
			}
			delete(before, s.Key)
			delete(after, s.Key)
		}
		a, _ := json.Marshal(before)
		b, _ := json.Marshal(after)
		if before == nil {
			a = []byte("{}")
		}
		if string(a) != string(b) {
			t.Errorf("%q became %q: the rest is %s, want %s", text, got, b, a)
		}
		if again, err := editSettings(got, settings); err != nil || again != got {
			t.Errorf("%q: second time %q, %v", got, again, err)
		}
	})
}

// readJSON leaves numbers as they are written: not all fit into a float64.
func readJSON(text string, into *map[string]any) error {
	if !json.Valid([]byte(text)) {
		return errors.New("not JSON")
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

// TestEditors finds the folders of each system, and edits through links.
func TestEditors(t *testing.T) {
	none := func(string) string { return "" }
	for goos, base := range map[string]string{"linux": ".config", "darwin": "Library/Application Support", "windows": "AppData/Roaming"} {
		home := t.TempDir()
		if got := Editors(goos, home, none); len(got) > 0 {
			t.Errorf("%s: got %v, want none", goos, got)
		}
		for _, dir := range []string{"Code", "Code - Insiders", "VSCodium", "Cursor", "Other"} {
			if err := os.MkdirAll(filepath.Join(home, base, dir, "User"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		editors := Editors(goos, home, none)
		if len(editors) != 4 {
			t.Fatalf("%s: got %v, want four", goos, editors)
		}
		if err := os.WriteFile(editors[0].File, []byte("{\n  // mine\n  \"a\": 1,\n}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		plan, err := PlanEditors(editors, RemoteSettings(""))
		if err == nil {
			err = plan.Apply()
		}
		if err != nil {
			t.Fatalf("%s: %v", goos, err)
		}
		got, _ := os.ReadFile(editors[0].File)
		want := "{\n  // mine\n  \"a\": 1,\n  \"remote.SSH.connectTimeout\": 60,\n  \"remote.SSH.reconnectionGraceTime\": 86400,\n" +
			"  \"remote.SSH.serverShutdownTimeout\": 86400,\n  \"remote.SSH.maxReconnectionAttempts\": null,\n}\n"
		if string(got) != want {
			t.Errorf("%s: got %s, want %s", goos, got, want)
		}
		if plan, err := PlanEditors(editors, RemoteSettings("")); err != nil || !plan.Empty() {
			t.Errorf("%s: second time: got %v, want nothing to do", goos, err)
		}
		if err := os.WriteFile(editors[1].File, []byte("{oh"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := PlanEditors(editors, RemoteSettings("")); err == nil || !strings.Contains(err.Error(), editors[1].File+": line 1") {
			t.Errorf("%s: got %v, want the file and line", goos, err)
		}
	}
	folder := func(base string) func(string) string {
		return func(name string) string { return map[string]string{"XDG_CONFIG_HOME": base, "APPDATA": base}[name] }
	}
	for _, goos := range []string{"linux", "windows"} {
		base := t.TempDir()
		os.MkdirAll(filepath.Join(base, "Cursor", "User"), 0o700)
		if got := Editors(goos, t.TempDir(), folder(base)); len(got) != 1 || got[0].Name != "Cursor" {
			t.Errorf("%s: got %v, want Cursor's of the environment", goos, got)
		}
	}
}

// TestEditorsOfOneFile: editors that share their settings by a link get one edit.
func TestEditorsOfOneFile(t *testing.T) {
	for name, share := range map[string]func(code, cursor string) error{
		"file": func(code, cursor string) error {
			if err := errors.Join(os.Mkdir(cursor, 0o700), os.WriteFile(filepath.Join(code, "settings.json"), []byte("{}\n"), 0o600)); err != nil {
				return err
			}
			return os.Symlink(filepath.Join(code, "settings.json"), filepath.Join(cursor, "settings.json"))
		},
		"folder, no file yet": func(code, cursor string) error { return os.Symlink(code, cursor) },
	} {
		base := t.TempDir()
		code, cursor := filepath.Join(base, "Code", "User"), filepath.Join(base, "Cursor", "User")
		err := errors.Join(os.MkdirAll(code, 0o700), os.Mkdir(filepath.Dir(cursor), 0o700))
		if err == nil {
			err = share(code, cursor)
		}
		if err != nil && runtime.GOOS == "windows" {
			t.Skip(err) // which lets not everybody make links
		}
		editors := Editors("linux", "", func(string) string { return base })
		if err != nil || len(editors) != 2 {
			t.Fatalf("%s: got %v, %v, want two editors", name, editors, err)
		}
		plan, err := PlanEditors(editors, RemoteSettings(""))
		if err == nil {
			err = plan.Apply()
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, err := PlanEditors(editors, RemoteSettings("")); err != nil || !again.Empty() {
			t.Errorf("%s: second time: got %v, want nothing to do", name, err)
		}
		info, err := os.Lstat(filepath.Join(cursor, "settings.json"))
		if name == "file" && (err != nil || info.Mode()&os.ModeSymlink == 0) {
			t.Errorf("%s: got %v, %v, want the link still", name, info, err)
		}
	}
}
