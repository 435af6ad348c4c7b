//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// legend says how the tables are read.
const legend = `
A ratio is taken within each round, between neighbours in time; the table shows
its median, least and greatest, and the median is what a target judges. MB and
GB are powers of ten, MiB of two. How each figure is taken stands in
internal/bench, beside the code that takes it.
`

// group is a set of figures taken under the same conditions.
type group struct {
	name, title string
	notes       []string // below the table
	figures     []*figure
	round       func(ctx context.Context, n int) error
	rounds      int // at most; 0: as many as there are

	longest time.Duration // of its rounds
	failed  bool          // and so given up
}

// figure is one quantity of several paths.
type figure struct {
	name, unit string
	wants      map[string]want // by path; what has none is shown for comparison

	paths   []string // in order of appearance
	samples map[string][]float64
}

// want is a limit for a path, of its value or of its ratio to another path.
type want struct {
	of      string // the other path, "" for the value itself
	atMost  bool   // else at least
	limit   float64
	noLimit bool // show the ratio alone
}

func atLeast(limit float64, of string) want { return want{of: of, limit: limit} }
func atMost(limit float64, of string) want  { return want{of: of, limit: limit, atMost: true} }
func beside(of string) want                 { return want{of: of, noLimit: true} }

// add takes a sample; the n-th of every path are neighbours in time.
func (f *figure) add(path string, v float64) {
	if f.samples == nil {
		f.samples = make(map[string][]float64)
	}
	f.samples[path] = append(f.samples[path], v)
}

// ratios of a path to another, round by round; none if the figure is not of both.
// A round that failed may have left one of them without a sample.
func (f *figure) ratios(path, of string) (r []float64) {
	if !slices.Contains(f.paths, of) {
		return nil
	}
	for i := range min(len(f.samples[path]), len(f.samples[of])) {
		r = append(r, f.samples[path][i]/f.samples[of][i])
	}
	return r
}

// row is a line of the table after its first cell.
func (f *figure) row(path string) []string {
	if len(f.samples[path]) == 0 {
		return []string{path, "none", "", "", "", "", ""}
	}
	mid, low, high := spread(f.samples[path])
	cells := []string{path, number(mid), number(low), number(high), "", "", ""}
	w, wanted := f.wants[path]
	ratios := f.ratios(path, w.of)
	if !wanted || w.of != "" && len(ratios) == 0 {
		return cells
	}
	judged, unit := mid, f.unit
	if w.of != "" {
		m, l, h := spread(ratios)
		cells[4] = fmt.Sprintf("%.3f (%.2f to %.2f) x %s", m, l, h, w.of)
		judged, unit = m, "x"
	}
	if !w.noLimit {
		cells[5], cells[6] = w.text(unit), "NOT met"
		if w.met(judged) {
			cells[6] = "met"
		}
	}
	return cells
}

func (w want) met(v float64) bool {
	if w.atMost {
		return v <= w.limit
	}
	return v >= w.limit
}

func (w want) text(unit string) string {
	sign := ">="
	if w.atMost {
		sign = "<="
	}
	return fmt.Sprintf("%s %g %s", sign, w.limit, unit)
}

// spread is the median, the least and the greatest.
func spread(v []float64) (mid, low, high float64) {
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2, s[0], s[n-1]
}

// number has three digits that count.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// tables is every group in Markdown, and what was missed.
func tables(groups []*group) string {
	var b strings.Builder
	var missed []string
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n%s\n%s\n\n", g.name, g.title, taken(g.figures))
		rows := [][]string{{"figure", "path", "median", "min", "max", "ratio", "target", ""}}
		for _, f := range g.figures {
			name := f.name + ", " + f.unit
			for _, path := range f.paths {
				cells := f.row(path)
				if cells[6] == "NOT met" {
					missed = append(missed, fmt.Sprintf("%s: %s, %s", g.name, f.name, path))
				}
				rows = append(rows, append([]string{name}, cells...))
				name = ""
			}
		}
		b.WriteString(grid(rows))
		if len(g.notes) > 0 {
			b.WriteString("\n- " + strings.Join(g.notes, "\n- ") + "\n")
		}
	}
	if len(missed) == 0 {
		return b.String() + "\nEvery target is met.\n"
	}
	return b.String() + "\nNot met:\n- " + strings.Join(missed, "\n- ") + "\n"
}

// taken says how often the figures were.
func taken(figures []*figure) string {
	least, most := math.MaxInt, 0
	for _, f := range figures {
		for _, path := range f.paths {
			n := len(f.samples[path])
			least, most = min(least, n), max(most, n)
		}
	}
	if least == most {
		return fmt.Sprintf("Samples of a figure: %d.", most)
	}
	return fmt.Sprintf("Samples of a figure: %d to %d.", least, most)
}

// grid is a Markdown table that can be read as it stands.
func grid(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(&b, "| %-*s ", width[i], cell)
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, w := range width {
				b.WriteString("|" + strings.Repeat("-", w+2))
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}
