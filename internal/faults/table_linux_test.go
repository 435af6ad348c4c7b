package faults

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// report counts the verdicts, and writes the table if one is wanted.
func (m *matrix) report(t *testing.T, all []row) {
	counts := make(map[string]int)
	for _, p := range m.plays {
		counts[p.word()]++
	}
	var sum []string
	for _, word := range []string{"INTACT", "CLEAN", "FAIL", "not here"} {
		sum = append(sum, fmt.Sprintf("%d %s", counts[word], word))
	}
	t.Log(strings.Join(sum, ", "))
	if file := os.Getenv("FAULTS_TABLE"); file != "" {
		if err := os.WriteFile(file, []byte(m.table(all)), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// word is the verdict in one word; a play that never came to one failed.
func (p *played) word() string {
	switch {
	case p.not != "":
		return "not here"
	case p.failed > 0 || p.verdict == "":
		return string(Fail)
	}
	return string(p.verdict)
}

// legend is for who has not read the tests.
const legend = `# Faults

What ` + "`make soak`" + ` writes. Each fault is played against sessions of the real ssh and sshd over ssh-stay, which carry random bytes both ways that each end checks.

- **INTACT**: the session went on, and every byte arrived, once and in order. The time is from the end of the fault until bytes moved both ways again.
- **CLEAN**: the session ended, all that had arrived was right, and the user was told in one line which host and why (exit status 255). Where a direct connection is closed by the host, it is ssh that tells. The time is from the fault until then.
- **FAIL** is everything else: a wrong byte, a gap, a hang, silence or chatter, a process or socket left behind.

The host is reached *direct*, by a *jump* host, or by a *chain* of three. Under resume the relay is on the *target*, on the *jump* host, or on a target *behind* one. What follows is the variant of the fault.

`

// table has a line for every row, and in it what became of each play.
func (m *matrix) table(all []row) string {
	slices.SortFunc(all, func(a, b row) int { return a.f - b.f })
	var b strings.Builder
	b.WriteString(legend)
	fmt.Fprintf(&b, "%s, %s %s/%s, %d CPUs, runs of each: %d. Times are the longest of all runs.\n\n",
		time.Now().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), envInt("FAULTS_RUNS", 1))
	b.WriteString("| | fault | without StayResume | with StayResume |\n| --- | --- | --- | --- |\n")
	var notes notes
	for i := range all {
		r := &all[i]
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", r.f, r.fault, m.cells(r, "plain", &notes), m.cells(r, "resume", &notes))
	}
	for i, note := range notes {
		fmt.Fprintf(&b, "\n%d. %s.", i+1, note)
	}
	return b.String() + "\n"
}

// notes are what stands below the table.
type notes []string

// see is how a cell names a note.
func (n *notes) see(note string) string {
	at := slices.Index(*n, note)
	if at < 0 {
		at = len(*n)
		*n = append(*n, note)
	}
	return fmt.Sprintf("not played, see %d", at+1)
}

// inWords is a time that a row takes.
func inWords(d time.Duration) string {
	if d > time.Minute {
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d s", int(d.Seconds()))
}

// short is a time as people say it.
func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func (m *matrix) cells(r *row, mode string, notes *notes) string {
	if r.notHere != "" {
		return notes.see(r.notHere)
	}
	var cells []string
	for _, play := range r.plays {
		rest, ours := strings.CutPrefix(play, mode+"/")
		p := m.plays[name(r, play)]
		if !ours || p == nil {
			continue
		}
		cell := strings.ReplaceAll(rest, "/", " ") + ": " + p.word()
		switch {
		case p.verdict == Clean:
			cell += " " + short(p.took)
		case p.back > 0:
			cell += " " + short(p.back)
		}
		if p.runs > 1 {
			cell += fmt.Sprintf(" (%d of %d)", p.runs-p.failed, p.runs)
		}
		if p.note != "" {
			cell += ", " + p.note
		}
		cells = append(cells, cell)
	}
	if len(cells) == 0 {
		return "–"
	}
	return strings.Join(cells, "<br>")
}
