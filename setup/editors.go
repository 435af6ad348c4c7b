package setup

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Setting is one of VS Code's, and why it matters to a connection that is kept.
type Setting struct {
	Key   string
	Value string // JSON
	Why   string

	atLeast bool // a larger number of the user's stays
}

// graceSeconds is the 24 hours of StayKeep.
const graceSeconds = "86400"

// RemoteSettings are those of Remote-SSH. path is that of a wrapper for ssh; ""
// leaves the setting alone: a ProxyCommand serves scp as well.
func RemoteSettings(path string) []Setting {
	settings := []Setting{
		{"remote.SSH.connectTimeout", "60", "15 s, the default, is short for a jump host, a prompt, or a network that has just come back", true},
		{"remote.SSH.reconnectionGraceTime", graceSeconds, "a window may come back for a day, as long as StayKeep, and not for 3 hours", true},
		{"remote.SSH.serverShutdownTimeout", graceSeconds, "its server waits for it as long", true},
		{"remote.SSH.maxReconnectionAttempts", "null", "it tries until then, and does not ask for a reload after some attempts", false},
	}
	if path != "" {
		name, _ := json.Marshal(strings.ReplaceAll(path, `\`, "/"))
		settings = append(settings, Setting{"remote.SSH.path", string(name), "VS Code runs ssh-stay as its ssh", false})
	}
	return settings
}

// Editor is one of the family, with a settings folder on this machine.
type Editor struct {
	Name string
	File string // settings.json, which need not exist
}

// Editors finds those whose settings folder exists, on the system goos.
func Editors(goos, home string, getenv func(string) string) []Editor {
	var base string
	switch goos {
	case "windows":
		if base = getenv("APPDATA"); base == "" {
			base = filepath.Join(home, "AppData", "Roaming")
		}
	case "darwin":
		base = filepath.Join(home, "Library", "Application Support")
	default:
		if base = getenv("XDG_CONFIG_HOME"); !filepath.IsAbs(base) {
			base = filepath.Join(home, ".config")
		}
	}
	var found []Editor
	for _, e := range []struct{ name, folder string }{
		{"VS Code", "Code"}, {"VS Code Insiders", "Code - Insiders"}, {"VSCodium", "VSCodium"}, {"Cursor", "Cursor"},
	} {
		dir := filepath.Join(base, e.folder, "User")
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			found = append(found, Editor{e.name, filepath.Join(dir, "settings.json")})
		}
	}
	return found
}

// SettingsError is a settings file that cannot be edited.
type SettingsError struct {
	Path string
	Err  error
}

func (e *SettingsError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *SettingsError) Unwrap() error { return e.Err }

// PlanEditors finds what to write so that each editor has the settings. A file
// that several share by a link is written once.
func PlanEditors(editors []Editor, settings []Setting) (*Plan, error) {
	plan := &Plan{}
	seen := map[string]bool{}
	for _, e := range editors {
		f, err := openFile(e.File)
		if err != nil {
			return nil, err
		}
		if seen[f.target] {
			continue
		}
		seen[f.target] = true
		text, err := editSettings(string(f.text), settings)
		if err != nil {
			return nil, &SettingsError{e.File, err}
		}
		if text != string(f.text) {
			plan.edits = append(plan.edits, &edit{file: f, text: []byte(text)})
		}
	}
	return plan, editorReadOnly(plan.check())
}

// editorReadOnly has no lines to paste: the diff shows them.
func editorReadOnly(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return &SettingsError{path.Path, path.Err}
	}
	return err
}

// editSettings sets what differs. All else stays, to the byte.
func editSettings(text string, settings []Setting) (string, error) {
	for _, s := range settings {
		o, err := parseObject(text)
		if err != nil {
			return "", err
		}
		if m, ok := o.find(s.Key); !ok || !s.satisfied(text[m.value:m.end]) {
			text = o.set(s.Key, s.Value)
		}
	}
	return text, nil
}

// satisfied says whether a value of the user's does.
func (s Setting) satisfied(have string) bool {
	if have == s.Value {
		return true
	}
	got, err := strconv.ParseFloat(have, 64)
	want, _ := strconv.ParseFloat(s.Value, 64)
	return s.atLeast && err == nil && (got >= want || s.Key == "remote.SSH.connectTimeout" && got == 0)
}
