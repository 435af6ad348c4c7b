package setup

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// SyntaxError is a settings file that we cannot read, and so do not edit.
type SyntaxError struct {
	Line int
	What string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.What) }

// member is one key of the outermost object, and where it stands in the text.
type member struct {
	key        string
	start      int // of the key
	value, end int // of its value
}

// object is the outermost object of a settings file: JSON with comments and
// commas before a closing bracket, as VS Code reads it.
type object struct {
	text     string
	open     int // the brace; -1 for a file without an object, which means {}
	close    int
	members  []member
	trailing bool // a comma stands behind the last one
	lastEnd  int  // behind the last member and that comma
}

func parseObject(text string) (*object, error) {
	p := &jsonc{text: text}
	if strings.HasPrefix(text, byteOrderMark) {
		p.at = len(byteOrderMark)
	}
	o := &object{text: text, open: -1}
	if err := p.blank(); err != nil {
		return nil, err
	}
	if p.at == len(text) {
		return o, nil
	}
	if text[p.at] != '{' {
		return nil, p.fail("want an object")
	}
	o.open = p.at
	if err := p.object(0, o); err != nil {
		return nil, err
	}
	if err := p.blank(); err != nil {
		return nil, err
	}
	if p.at != len(text) {
		return nil, p.fail("text behind the object")
	}
	return o, nil
}

// find is the member that counts: of several, the last.
func (o *object) find(key string) (member, bool) {
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].key == key {
			return o.members[i], true
		}
	}
	return member{}, false
}

// set gives a member a value, and leaves every other byte as it is.
func (o *object) set(key, value string) string {
	if m, ok := o.find(key); ok {
		return o.text[:m.value] + value + o.text[m.end:]
	}
	name, _ := json.Marshal(key)
	return o.insert(string(name) + ": " + value)
}

func (o *object) insert(text string) string {
	nl := "\n"
	if strings.Contains(o.text, "\r\n") {
		nl = "\r\n"
	}
	if o.open < 0 {
		sep := ""
		if body := strings.TrimPrefix(o.text, byteOrderMark); body != "" && !strings.HasSuffix(body, "\n") {
			sep = nl
		}
		return o.text + sep + "{" + nl + "    " + text + nl + "}" + nl
	}
	if len(o.members) == 0 {
		inner := strings.TrimRight(o.text[o.open+1:o.close], " \t\r\n")
		return o.text[:o.open+1] + inner + nl + "    " + text + nl + o.text[o.close:]
	}
	last := o.members[len(o.members)-1]
	comma, after := ",", ""
	if o.trailing {
		comma, after = "", ","
	}
	at := o.lineEnd()
	if !strings.Contains(o.text[o.open:last.start], "\n") { // all on one line
		nl = " "
		if strings.Contains(o.text[o.lastEnd:at], "//") {
			nl = "\n"
		}
		return o.text[:last.end] + comma + o.text[last.end:at] + nl + text + after + o.text[at:]
	}
	return o.text[:last.end] + comma + o.text[last.end:at] + nl + o.indent(last) + text + after + o.text[at:]
}

// lineEnd is where the line of the last member ends, with the comments that
// belong to it, or where the object closes on that line.
func (o *object) lineEnd() int {
	p := &jsonc{text: o.text, at: o.lastEnd}
	end := p.at
	for p.at < o.close {
		switch {
		case o.text[p.at] == '\n' || o.text[p.at] == '\r':
			return end
		case o.text[p.at] == ' ' || o.text[p.at] == '\t':
			p.at++
			continue
		}
		if p.comment() != nil {
			return end
		}
		end = p.at
	}
	return end
}

// indent is what stands before a member on its line.
func (o *object) indent(m member) string {
	line := o.text[strings.LastIndexByte(o.text[:m.start], '\n')+1 : m.start]
	if strings.Trim(line, " \t") == "" {
		return line
	}
	return "    "
}

// jsonc reads JSON with comments.
type jsonc struct {
	text string
	at   int
}

func (p *jsonc) fail(what string) error {
	return &SyntaxError{1 + strings.Count(p.text[:min(p.at, len(p.text))], "\n"), what}
}

// blank passes over white space and comments.
func (p *jsonc) blank() error {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		case '/':
			if err := p.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (p *jsonc) comment() error {
	rest := p.text[p.at:]
	switch {
	case strings.HasPrefix(rest, "//"):
		end := strings.IndexAny(rest, "\r\n")
		if end < 0 {
			end = len(rest)
		}
		p.at += end
		return nil
	case strings.HasPrefix(rest, "/*"):
		end := strings.Index(rest[2:], "*/")
		if end < 0 {
			return p.fail("a comment has no end")
		}
		p.at += end + 4
		return nil
	}
	return p.fail("a / that begins no comment")
}

// maxNesting bounds the recursion.
const maxNesting = 200

func (p *jsonc) value(depth int) error {
	if depth > maxNesting {
		return p.fail("nested too deeply")
	}
	if p.at == len(p.text) {
		return p.fail("a value is missing")
	}
	switch p.text[p.at] {
	case '{':
		return p.object(depth, nil)
	case '[':
		return p.array(depth)
	case '"':
		_, err := p.string()
		return err
	}
	end := strings.IndexFunc(p.text[p.at:], func(r rune) bool { return strings.ContainsRune(" \t\r\n,]}/:\"[{", r) })
	if end < 0 {
		end = len(p.text) - p.at
	}
	if word := p.text[p.at : p.at+end]; !json.Valid([]byte(word)) {
		return p.fail(fmt.Sprintf("%.20q is no value", word))
	}
	p.at += end
	return nil
}

// object reads one from its brace on, and notes the members of the outermost.
func (p *jsonc) object(depth int, out *object) error {
	p.at++
	comma := true // none is wanted before the first
	for {
		if err := p.blank(); err != nil {
			return err
		}
		switch {
		case p.at == len(p.text):
			return p.fail("a } is missing")
		case p.text[p.at] == '}':
			if out != nil {
				out.close = p.at
			}
			p.at++
			return nil
		case !comma:
			return p.fail("a comma is missing")
		case p.text[p.at] != '"':
			return p.fail("a key is missing")
		}
		m, err := p.member(depth)
		if err != nil {
			return err
		}
		end := p.at
		if comma, err = p.comma(); err != nil {
			return err
		}
		if out != nil {
			if out.members, out.trailing, out.lastEnd = append(out.members, m), comma, end; comma {
				out.lastEnd = p.at
			}
		}
	}
}

func (p *jsonc) member(depth int) (member, error) {
	m := member{start: p.at}
	var err error
	if m.key, err = p.string(); err != nil {
		return m, err
	}
	if err := p.blank(); err != nil {
		return m, err
	}
	if p.at == len(p.text) || p.text[p.at] != ':' {
		return m, p.fail("a colon is missing")
	}
	p.at++
	if err := p.blank(); err != nil {
		return m, err
	}
	m.value = p.at
	err = p.value(depth + 1)
	m.end = p.at
	return m, err
}

func (p *jsonc) comma() (bool, error) {
	before := p.at
	if err := p.blank(); err != nil {
		return false, err
	}
	if p.at < len(p.text) && p.text[p.at] == ',' {
		p.at++
		return true, nil
	}
	p.at = before
	return false, nil
}

func (p *jsonc) array(depth int) error {
	p.at++
	comma := true
	for {
		if err := p.blank(); err != nil {
			return err
		}
		switch {
		case p.at == len(p.text):
			return p.fail("a ] is missing")
		case p.text[p.at] == ']':
			p.at++
			return nil
		case !comma:
			return p.fail("a comma is missing")
		}
		if err := p.value(depth + 1); err != nil {
			return err
		}
		var err error
		if comma, err = p.comma(); err != nil {
			return err
		}
	}
}

func (p *jsonc) string() (string, error) {
	for i := p.at + 1; i < len(p.text); i++ {
		switch p.text[i] {
		case '\\':
			i++
		case '"':
			raw := p.text[p.at : i+1]
			var s string
			if !utf8.ValidString(raw) || json.Unmarshal([]byte(raw), &s) != nil {
				return "", p.fail("a string is not JSON's")
			}
			p.at = i + 1
			return s, nil
		}
	}
	return "", p.fail("a string has no end")
}
