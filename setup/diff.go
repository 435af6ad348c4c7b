package setup

import (
	"fmt"
	"strings"
	"unicode"
)

// Diff is what the plan changes, as a unified diff that a terminal may show.
func (p *Plan) Diff() string {
	var b strings.Builder
	for _, e := range p.edits {
		from, to := e.file.path, e.file.path
		if !e.file.exists {
			from = "/dev/null"
		}
		if e.remove {
			to = "/dev/null"
		}
		fmt.Fprintf(&b, "--- %s\n+++ %s\n", visible(from), visible(to))
		b.WriteString(diff(split(e.file.text), split(e.text)))
	}
	return b.String()
}

// split cuts a text into lines. The one without a line end is told from one with.
func split(text []byte) []string {
	var lines []string
	for l := range strings.Lines(string(text)) {
		lines = append(lines, l)
	}
	return lines
}

// around is how many lines beside a change are shown.
const around = 3

// maxMiddle bounds the lines that are compared one by one.
const maxMiddle = 2000

// hunkLine is a line of a hunk and its sign.
type hunkLine struct {
	sign byte
	text string
}

// diff shows one hunk, from the first line that differs to the last: the edits of
// setup are at one place each.
func diff(old, new []string) string {
	head := 0
	for head < len(old) && head < len(new) && old[head] == new[head] {
		head++
	}
	tail := 0
	for tail < len(old)-head && tail < len(new)-head && old[len(old)-1-tail] == new[len(new)-1-tail] {
		tail++
	}
	first, after := max(0, head-around), min(tail, around)
	if head+tail == len(old) && len(old) == len(new) {
		return ""
	}
	var lines []hunkLine
	for _, l := range old[first:head] {
		lines = append(lines, hunkLine{' ', l})
	}
	lines = append(lines, middle(old[head:len(old)-tail], new[head:len(new)-tail])...)
	for _, l := range old[len(old)-tail : len(old)-tail+after] {
		lines = append(lines, hunkLine{' ', l})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "@@ -%s +%s @@\n", span(first, len(old)-tail+after), span(first, len(new)-tail+after))
	for _, l := range lines {
		b.WriteByte(l.sign)
		b.WriteString(visible(strings.TrimRight(l.text, "\r\n")) + "\n")
		if !strings.HasSuffix(l.text, "\n") {
			b.WriteString("\\ No newline at end of file\n")
		}
	}
	return b.String()
}

func span(first, end int) string {
	if end == first {
		return fmt.Sprintf("%d,0", first)
	}
	return fmt.Sprintf("%d,%d", first+1, end-first)
}

// middle is the longest common subsequence, in the plain quadratic way.
func middle(old, new []string) []hunkLine {
	var lines []hunkLine
	if len(old) > maxMiddle || len(new) > maxMiddle {
		old, new, lines = nil, nil, append(signed('-', old), signed('+', new)...)
	}
	common := make([][]int, len(old)+1)
	for i := range common {
		common[i] = make([]int, len(new)+1)
	}
	for i := len(old) - 1; i >= 0; i-- {
		for j := len(new) - 1; j >= 0; j-- {
			if old[i] == new[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(old) && j < len(new) {
		switch {
		case old[i] == new[j]:
			lines = append(lines, hunkLine{' ', old[i]})
			i, j = i+1, j+1
		case common[i+1][j] >= common[i][j+1]:
			lines = append(lines, hunkLine{'-', old[i]})
			i++
		default:
			lines = append(lines, hunkLine{'+', new[j]})
			j++
		}
	}
	return append(append(lines, signed('-', old[i:])...), signed('+', new[j:])...)
}

func signed(sign byte, texts []string) []hunkLine {
	var lines []hunkLine
	for _, t := range texts {
		lines = append(lines, hunkLine{sign, t})
	}
	return lines
}

// visible is a line that no terminal acts on.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\t' || unicode.IsGraphic(r) && r != unicode.ReplacementChar {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}
