package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func finds(f ...Finding) func(context.Context) []Finding {
	return func(context.Context) []Finding { return f }
}

func TestRunSkipsWhatNeedsAFailure(t *testing.T) {
	never := func(context.Context) []Finding {
		t.Error("a check was made that needs one that failed")
		return nil
	}
	checks := []Check{
		{Name: "a", Run: finds(Finding{Level: Fail, What: "broken", Fix: "mend"})},
		{Name: "b", Needs: []string{"a"}, Run: never},
		{Name: "c", Needs: []string{"b"}, Run: never},
		{Name: "d", Run: finds(Finding{Level: Warn, What: "closed", Fix: "open", Blocks: true})},
		{Name: "e", Needs: []string{"d"}, Run: never},
		{Name: "f", Run: finds(Finding{Level: Warn, What: "weak", Fix: "mend"})},
		{Name: "g", Needs: []string{"f"}, Run: finds(Finding{What: "fine"})},
	}
	var told []Finding
	r := Runner{Found: func(f Finding) { told = append(told, f) }}
	got := r.Run(t.Context(), checks)
	var lines []string
	for _, f := range got {
		lines = append(lines, f.Check+" "+f.Level.String()+" "+f.What)
	}
	want := []string{"a fail broken", "b note not looked at: it needs a", "c note not looked at: it needs b",
		"d warn closed", "e note not looked at: it needs d", "f warn weak", "g ok fine"}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
	if !reflect.DeepEqual(told, got) {
		t.Errorf("told %v, returned %v", told, got)
	}
	if n := Failed(got); n != 1 {
		t.Errorf("got %d failures, want 1", n)
	}
}

// TestRunHasDeadlines: of a check that minds its context, and one that does not.
func TestRunHasDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan bool)
		defer close(free)
		var slow []string
		r := Runner{Slow: func(name string) { slow = append(slow, name) }}
		start := time.Now()
		got := r.Run(t.Context(), []Check{
			{Name: "minds", Limit: 3 * time.Second, Run: func(ctx context.Context) []Finding {
				<-ctx.Done()
				return []Finding{{Level: Fail, What: "late"}}
			}},
			{Name: "hangs", Run: func(context.Context) []Finding { <-free; return nil }},
		})
		if took := time.Since(start); took != 3*time.Second+DefaultLimit+grace {
			t.Errorf("took %v", took)
		}
		if len(got) != 2 || got[0].What != "late" || got[1].Level != Fail || got[1].What != "no answer within 20s" || got[1].Fix == "" {
			t.Errorf("got %+v", got)
		}
		if !reflect.DeepEqual(slow, []string{"hangs"}) {
			t.Errorf("told that %q are slow, want that after 5 s", slow)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	got := new(Runner).Run(ctx, []Check{
		{Name: "a", Run: func(context.Context) []Finding { cancel(); return []Finding{{What: "first"}} }},
		{Name: "b", Run: func(context.Context) []Finding { t.Error("went on"); return nil }},
	})
	if len(got) > 1 {
		t.Errorf("got %v", got)
	}
}

func TestPrint(t *testing.T) {
	var b bytes.Buffer
	p := Printer{W: &b, Width: 5}
	p.Print(Finding{Check: "names", What: "fine"})
	p.Print(Finding{Check: "hop", Level: Fail, What: "broken", Fix: "Host h\n    Port 22"})
	want := "ok    names  fine\nfail  hop    broken\n               Host h\n                   Port 22\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
	b.Reset()
	p.Color = true
	p.Print(Finding{Check: "hop", Level: Warn, What: "weak"})
	p.Print(Finding{Check: "hop", Level: Note, What: "so"})
	if want := "\x1b[33mwarn\x1b[0m  hop    weak\nnote  hop    so\n"; b.String() != want {
		t.Errorf("got %q, want %q", &b, want)
	}
}

func TestJSON(t *testing.T) {
	want := []Finding{{Check: "a", Level: Warn, What: "<b>", Fix: "c\nd"}, {Check: "e"}}
	var b bytes.Buffer
	if err := WriteJSON(&b, want); err != nil {
		t.Fatal(err)
	}
	var got []Finding
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v from %s, want %v", got, err, &b, want)
	}
	if !strings.Contains(b.String(), `"level": "warn"`) || strings.Contains(b.String(), `"fix": ""`) {
		t.Errorf("got %s", &b)
	}
	b.Reset()
	if err := WriteJSON(&b, nil); err != nil || b.String() != "[]\n" {
		t.Errorf("nothing found: got %q, %v", &b, err)
	}
	if err := json.Unmarshal([]byte(`[{"level":"bad"}]`), &got); err == nil {
		t.Error("an unknown level was read")
	}
}

// TestRunInterrupted: what a check says that was interrupted is no finding.
func TestRunInterrupted(t *testing.T) {
	for name, stubborn := range map[string]bool{"minds its context": false, "does not": true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			release := make(chan struct{})
			defer close(release)
			checks := []Check{
				{Name: "a", Run: finds(Finding{What: "good"})},
				{Name: "b", Run: func(ctx context.Context) []Finding {
					time.AfterFunc(time.Second, cancel)
					if stubborn {
						<-release
					}
					<-ctx.Done()
					return []Finding{{Level: Fail, What: ctx.Err().Error()}}
				}},
				{Name: "c", Run: finds(Finding{Level: Fail, What: "late"})},
			}
			var told []Finding
			r := Runner{Found: func(f Finding) { told = append(told, f) }}
			all := r.Run(ctx, checks)
			if want := []Finding{{Check: "a", What: "good"}}; !reflect.DeepEqual(all, want) || !reflect.DeepEqual(told, want) {
				t.Errorf("%s: got %+v, told %+v, want %+v", name, all, told, want)
			}
		})
	}
}
