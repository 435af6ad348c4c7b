package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Printer writes findings for people: a line each, in columns, and the fix
// indented below.
type Printer struct {
	W     io.Writer
	Color bool // W is a terminal that wants it
	Width int  // of the longest name of a check
}

// maxName keeps a long name from moving everything out of sight.
const maxName = 24

// colors by level: green, none, yellow, red. The word says it too.
var colors = [...]string{"\x1b[32m", "", "\x1b[33m", "\x1b[31m"}

// Print writes one finding.
func (p *Printer) Print(f Finding) error {
	level := fmt.Sprintf("%-4s", f.Level)
	if color := colors[f.Level]; p.Color && color != "" {
		level = color + level + "\x1b[0m"
	}
	width := min(p.Width, maxName)
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-*s  %s\n", level, width, f.Check, f.What)
	for line := range strings.Lines(f.Fix) {
		fmt.Fprintf(&b, "%*s%s\n", 4+2+width+2+2, "", strings.TrimRight(line, "\n"))
	}
	_, err := io.WriteString(p.W, b.String())
	return err
}

// WriteJSON writes findings as an array of objects.
func WriteJSON(w io.Writer, found []Finding) error {
	if found == nil {
		found = []Finding{}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(found)
}
