package setup

import (
	"os"
	"path/filepath"
)

// usualName is our file beside ~/.ssh/config.
const usualName = "ssh-stay.conf"

// ownName is the name of our file. Several configs may lie in one folder.
func (s *Setup) ownName() string {
	if s.isDefault() {
		return usualName
	}
	return filepath.Base(s.Config) + "." + usualName
}

func (s *Setup) configPath() string {
	if s.isDefault() {
		return s.usual()
	}
	return filepath.Clean(s.Config)
}

func (s *Setup) usual() string { return filepath.Join(s.Home, ".ssh", "config") }

// isDefault says that ssh reads the config without being told to, by whatever
// name it was given to us.
func (s *Setup) isDefault() bool { return s.Config == "" || same(s.Config, s.usual()) }

// same says whether two paths lead to one file, which need not exist.
func same(a, b string) bool {
	x, err := os.Stat(a)
	y, other := os.Stat(b)
	if err == nil && other == nil {
		return os.SameFile(x, y)
	}
	return resolved(a) == resolved(b)
}

// resolved follows the links of a path, or of the folder that it is in.
func resolved(path string) string {
	if at, err := filepath.EvalSymlinks(path); err == nil {
		return at
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return filepath.Clean(path)
}

// SystemConfigError is the system's own config, which is for all its users.
type SystemConfigError struct{ Path string }

func (e *SystemConfigError) Error() string { return e.Path + ": is the system's config" }
