package pattern

import (
	"strings"
	"testing"
	"time"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		name, pattern string
		want          bool
	}{
		{"", "", true},
		{"", "*", true},
		{"", "?", false},
		{"a", "", false},
		{"a", "a", true},
		{"a", "A", false},
		{"a", "?", true},
		{"ab", "?", false},
		{"ab", "a*", true},
		{"ab", "*b", true},
		{"ab", "*a", false},
		{"a", "a**", true},
		{"web1.example.org", "web?.*.org", true},
		{"web10.example.org", "web?.*.org", false},
		{"aXbXc", "a*X*c", true},
		{"abcabd", "*abd", true},
		{"abcabc", "*abd", false},
		{"a*b", "a*b", true},
		{"a[1]", "a[1]", true},
		{"a1", "a[1]", false},
		{`a\b`, `a\b`, true},
		{"192.0.2.7", "192.0.2.*", true},
		{"\xff", "?", true},
	} {
		if got := Match(tt.name, tt.pattern); got != tt.want {
			t.Errorf("Match(%q, %q): got %v, want %v", tt.name, tt.pattern, got, tt.want)
		}
	}
}

func TestMatchLists(t *testing.T) {
	for _, tt := range []struct {
		name, patterns string
		list, any      bool
	}{
		{"host", "host", true, true},
		{"Host", "host", false, true},
		{"host", "HOST", false, true},
		{"host", "other,h*", true, true},
		{"host", "*,!host", false, false},
		{"host", "!host,*", false, false},
		{"host", "*,!HOST", true, false},
		{"host", "!other", false, false},
		{"host", "!other,*", true, true},
		{"host", "!!host", false, false},
		{"", "", true, true},
		{"host", "", false, false},
	} {
		patterns := strings.Split(tt.patterns, ",")
		if got := MatchList(tt.name, patterns); got != tt.list {
			t.Errorf("MatchList(%q, %q): got %v, want %v", tt.name, patterns, got, tt.list)
		}
		if got := MatchAny(tt.name, patterns); got != tt.any {
			t.Errorf("MatchAny(%q, %q): got %v, want %v", tt.name, patterns, got, tt.any)
		}
	}
}

// Many stars take no more than quadratic time.
func TestMatchIsNotExponential(t *testing.T) {
	done := make(chan bool, 1)
	go func() { // ends with the match
		done <- Match(strings.Repeat("a", 2000), strings.Repeat("a*", 500)+"b")
	}()
	select {
	case got := <-done:
		if got {
			t.Error("got a match, want none")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no answer within 10 s")
	}
}
