package faults

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var verdicts = []Verdict{Intact, Clean, Fail}

// report tells the verdicts, and writes the table if one is wanted.
func (m *matrix) report(t *testing.T, all []row, seed int) {
	t.Log(m.sum())
	if file := os.Getenv("FAULTS_TABLE"); file != "" {
		if err := os.WriteFile(file, []byte(m.table(all, seed)), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// sum counts the sessions of all plays.
func (m *matrix) sum() string {
	total, counts := 0, make(map[Verdict]int)
	for _, p := range m.plays {
		for verdict, n := range p.verdicts {
			counts[verdict] += n
			total += n
		}
	}
	sum := fmt.Sprintf("%d sessions", total)
	for i, verdict := range verdicts {
		sum += fmt.Sprintf("%c %d %s", ":,,"[i], counts[verdict], verdict)
	}
	return sum
}

// legend is for who has not read the tests.
const legend = `# Faults

What ` + "`make soak`" + ` writes. Each fault is played against sessions of the real ssh and sshd over ssh-stay, which carry random bytes both ways that each end checks.

- **INTACT**: the session went on, and every byte arrived, once and in order. The time is from the end of the fault until bytes moved both ways again.
- **CLEAN**: the session ended, all that had arrived was right, and the user was told in one line which host and why (exit status 255). Where the host closes a direct connection, or the channel, it is ssh that tells; rows 36 and 37 take away ssh itself, so nobody is told, and all has to go. The time is from the fault until then.
- **FAIL** is everything else: a wrong byte, a gap, a hang, silence or chatter, a process or socket left behind.

"(31 of 50)" is how many of all runs came to that. Times are the longest of them; what follows after a comma is of the last one.

The host is reached *direct*, by a *jump* host, or by a *chain* of three. Under resume the relay is on the *target*, on the *jump* host, or on a target *behind* one. What follows is the variant of the fault.

`

// table has a line for every row, and in it what became of each play.
func (m *matrix) table(all []row, seed int) string {
	slices.SortStableFunc(all, func(a, b row) int { return a.f - b.f })
	var b strings.Builder
	b.WriteString(legend)
	runs := envInt("FAULTS_RUNS", 1)
	fmt.Fprintf(&b, "- %s, `make soak RUNS=%d SEED=%d`\n- %s\n- %s\n\n", time.Now().Format(time.DateOnly), runs, seed, m.machine, m.sum())
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
		cell := strings.ReplaceAll(rest, "/", " ") + ": " + p.ends()
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

// ends tells each verdict that there was, its time, and how often.
func (p *played) ends() string {
	all := 0
	for _, n := range p.verdicts {
		all += n
	}
	var ends []string
	for _, verdict := range verdicts {
		n := p.verdicts[verdict]
		if n == 0 {
			continue
		}
		end := string(verdict)
		switch {
		case verdict == Clean:
			end += " " + short(p.took)
		case verdict == Intact && p.back > 0:
			end += " " + short(p.back)
		}
		if all > 1 {
			end += fmt.Sprintf(" (%d of %d)", n, all)
		}
		ends = append(ends, end)
	}
	return strings.Join(ends, ", ")
}
