//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// table is what one load has shown.
type table struct {
	title   string
	figures []*figure
	took    time.Duration
	failed  error // what was lost, with the last words of the session
}

func (t *table) verdict() string {
	took := t.took.Round(time.Second / 10)
	if t.failed == nil {
		return fmt.Sprintf("nothing lost, in %v", took)
	}
	return fmt.Sprintf("FAIL, after %v:\n%v", took, t.failed)
}

// figure is one quantity, by way. What is missing was not taken.
type figure struct {
	name string // with its unit
	of   map[string]float64
	want want
}

// want is a target of ssh-stay's ways; without a text there is none.
type want struct {
	text   string
	holds  func(ours, stock float64) bool
	must   bool // a miss is a loss, and no matter of speed or size
	plain  bool // of the plain way alone
	beside bool // of stock ssh; without it nothing is judged
}

func exactly(n int) want {
	return surely(want{text: fmt.Sprint(n), holds: func(ours, _ float64) bool { return ours == float64(n) }})
}

func atLeast(n float64) want {
	return want{text: ">= " + number(n), holds: func(ours, _ float64) bool { return ours >= n }}
}

func atMost(n float64) want {
	return want{text: "<= " + number(n), holds: func(ours, _ float64) bool { return ours <= n }}
}

// timesStock is at least that many times what `ssh -J` has; lessThanStock no more
// than it has.
func timesStock(n float64) want {
	return want{text: ">= " + number(n) + " x " + stock, beside: true, holds: func(ours, s float64) bool { return ours >= n*s }}
}

func lessThanStock() want {
	return want{text: "<= " + stock, beside: true, holds: func(ours, s float64) bool { return ours <= s }}
}

// plainly is w for the plain way alone.
func plainly(w want) want {
	w.plain = true
	w.text += ", jump alone"
	return w
}

// surely is w where a miss is a loss, or shows that the load was none.
func surely(w want) want {
	w.must = true
	return w
}

// or holds where one of both does.
func or(a, b want) want {
	return want{text: a.text + ", or " + b.text, must: a.must && b.must, beside: a.beside || b.beside,
		holds: func(ours, s float64) bool { return a.holds(ours, s) || b.holds(ours, s) }}
}

// add notes a value of a way.
func (t *table) add(way, name string, v float64, w want) {
	i := slices.IndexFunc(t.figures, func(f *figure) bool { return f.name == name })
	if i < 0 {
		i = len(t.figures)
		t.figures = append(t.figures, &figure{name: name, of: map[string]float64{}, want: w})
	}
	t.figures[i].of[way] = v
}

// addTimes notes the median and the 99th percentile of sorted times, in ms.
func (t *table) addTimes(way, name string, times []time.Duration, p99 want) {
	t.add(way, name+", p50, ms", ms(quantile(times, 50)), want{})
	t.add(way, name+", p99, ms", ms(quantile(times, 99)), p99)
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// quantile is of sorted times.
func quantile(times []time.Duration, percent int) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return times[min(len(times)*percent/100, len(times)-1)]
}

// isJudged says whether there is a target and what it takes to judge.
func (f *figure) isJudged() bool {
	_, taken := f.of[stock]
	return f.want.text != "" && (taken || !f.want.beside)
}

// missed are the ways that do not keep the target.
func (f *figure) missed() (ways []string) {
	for _, way := range []string{plain, resumed} {
		v, taken := f.of[way]
		if f.isJudged() && taken && !(f.want.plain && way != plain) && !f.want.holds(v, f.of[stock]) {
			ways = append(ways, way)
		}
	}
	return ways
}

// lost is an error where a session, a byte or a start was lost.
func (t *table) lost() (err error) {
	for _, f := range t.figures {
		if missed := f.missed(); f.want.must && len(missed) > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %v, want %s", f.name, f.of, f.want.text))
		}
	}
	return err
}

func (f *figure) cells() []string {
	cells := []string{f.name}
	for _, way := range []string{plain, resumed, stock} {
		cell := ""
		if v, taken := f.of[way]; taken {
			cell = number(v)
		}
		cells = append(cells, cell)
	}
	met := ""
	if f.isJudged() {
		met = "met"
		if missed := f.missed(); len(missed) > 0 {
			met = "NOT met: " + strings.Join(missed, ", ")
		}
	}
	return append(cells, f.want.text, met)
}

// number has three digits that count, and those before the point.
func number(v float64) string {
	if v >= 999.5 || v == float64(int64(v)) { // from there on %.3g writes 1e+03
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// section is the part of the document that tells of one load.
func (t *table) section(name, about string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n%s\n\n%s\n", name, t.title, about)
	row := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	row([]string{"figure", plain, resumed, stock, "target", ""})
	row(slices.Repeat([]string{"---"}, 6))
	for _, f := range t.figures {
		row(f.cells())
	}
	fmt.Fprintf(&b, "\n%s\n", t.verdict())
	return b.String()
}

// document is an old one with a new section in the place of a load's own.
func document(old, name, section string) string {
	sections := map[string]string{name: section}
	for _, part := range strings.Split(old, "\n## ")[1:] {
		of, _, _ := strings.Cut(part, "\n")
		if of != name {
			sections[of] = "## " + strings.TrimRight(part, "\n") + "\n"
		}
	}
	text := "# Load\n"
	for _, name := range loadNames() {
		if section, ok := sections[name]; ok {
			text += "\n" + section
		}
	}
	return text
}
