package script

import (
	"bufio"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/heddle/heddle/agents/model"
)

// Script is a parsed, immutable list of rules.
type Script struct {
	rules []rule
}

type rule struct {
	name     string
	patterns []*regexp.Regexp
	calls    []callTemplate
	answers  []*template.Template
	lacking  *template.Template
	failed   *template.Template
	fail     model.ErrorKind
}

type callTemplate struct {
	tool string
	each string
	args *template.Template
}

// Parse reads a script. The grammar is by lines; # starts a comment, blank
// lines mean nothing:
//
//	rule NAME                     starts a rule; the first rule that matches wins
//	  when REGEXP                 matches the whole text, in any case; named groups are captures
//	  call TOOL JSON              asks for a tool; JSON is a template
//	  each CAPTURE TOOL JSON      asks once per part of a list such as "Berlin, Oslo and Rome";
//	                              the part is .item; A|B means the first capture that is there
//	  fail KIND                   ends the call with a model.ErrorKind
//	  answer                      what to say, a template; several are variants, chosen by the text
//	  lacking                     what to say when a tool is not offered; .tool is its name
//	  failed                      what to say when every result is a failure
//	    | TEXT                    a line of the block above it; "|" alone is an empty line
//
// Templates are Go's text/template. They see the captures by name and text
// (what the person wrote), name (the assistant's, from the system text), brief
// (whether the system text asks for short answers), tools (the names offered),
// results and result (of the tools: Name, Args, Content, Failed), and the
// functions of functions.go.
//
// The rule named "results" answers when results came that the matching rule
// did not ask for; it needs no pattern.
func Parse(name, text string) (*Script, error) {
	p := parser{name: name}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		p.line++
		if err := p.take(lines.Text()); err != nil {
			return nil, fmt.Errorf("parsing script %s, line %d: %w", name, p.line, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("parsing script %s, line %d: %w", name, p.line+1, err)
	}
	if err := p.closeRule(); err != nil {
		return nil, fmt.Errorf("parsing script %s: %w", name, err)
	}
	if len(p.script.rules) == 0 {
		return nil, fmt.Errorf("parsing script %s: there is no rule", name)
	}
	return &p.script, nil
}

type parser struct {
	name   string
	line   int
	script Script
	rule   *rule
	block  string
	text   []string
}

func (p *parser) take(line string) error {
	line = strings.TrimSpace(line)
	if rest, ok := strings.CutPrefix(line, "|"); ok {
		if p.block == "" {
			return fmt.Errorf("text stands outside a block")
		}
		p.text = append(p.text, strings.TrimPrefix(rest, " "))
		return nil
	}
	if line == "" || strings.HasPrefix(line, "#") {
		return nil
	}
	if err := p.closeBlock(); err != nil {
		return err
	}
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	if word == "rule" {
		if err := p.closeRule(); err != nil {
			return err
		}
		if rest == "" || slices.ContainsFunc(p.script.rules, func(r rule) bool { return r.name == rest }) {
			return fmt.Errorf("rule needs a name of its own, not %q", rest)
		}
		p.rule = &rule{name: rest}
		return nil
	}
	if p.rule == nil {
		return fmt.Errorf("%q stands outside a rule", word)
	}
	return p.field(word, rest)
}

func (p *parser) field(word, rest string) error {
	switch word {
	case "when":
		pattern, err := regexp.Compile(`(?is)^(?:` + rest + `)$`)
		if err != nil {
			return fmt.Errorf("reading a pattern: %w", err)
		}
		p.rule.patterns = append(p.rule.patterns, pattern)
	case "call":
		return p.call("", rest)
	case "each":
		capture, rest, _ := strings.Cut(rest, " ")
		return p.call(capture, rest)
	case "fail":
		if !slices.Contains(model.ErrorKinds(), model.ErrorKind(rest)) {
			return fmt.Errorf("%q is no kind of model error", rest)
		}
		p.rule.fail = model.ErrorKind(rest)
	case "answer", "lacking", "failed":
		if rest != "" {
			return fmt.Errorf("the text of %s goes on lines of its own that start with |", word)
		}
		p.block = word
	default:
		return fmt.Errorf("%q is no field of a rule", word)
	}
	return nil
}

func (p *parser) call(each, rest string) error {
	tool, args, _ := strings.Cut(rest, " ")
	if tool == "" || args == "" {
		return fmt.Errorf("a call needs a tool and its arguments")
	}
	t, err := p.template(args)
	if err != nil {
		return err
	}
	p.rule.calls = append(p.rule.calls, callTemplate{tool: tool, each: each, args: t})
	return nil
}

func (p *parser) template(text string) (*template.Template, error) {
	t, err := template.New(p.rule.name).Funcs(functions()).Option("missingkey=zero").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("reading a template: %w", err)
	}
	return t, nil
}

func (p *parser) closeBlock() error {
	if p.block == "" {
		return nil
	}
	t, err := p.template(strings.Join(p.text, "\n"))
	if err != nil {
		return err
	}
	switch p.block {
	case "answer":
		p.rule.answers = append(p.rule.answers, t)
	case "lacking":
		p.rule.lacking = t
	case "failed":
		p.rule.failed = t
	}
	p.block, p.text = "", nil
	return nil
}

func (p *parser) closeRule() error {
	if err := p.closeBlock(); err != nil {
		return err
	}
	if p.rule == nil {
		return nil
	}
	r := p.rule
	switch {
	case len(r.answers) == 0 && r.fail == "":
		return fmt.Errorf("rule %s has no answer", r.name)
	case len(r.patterns) == 0 && r.name != resultsRule:
		return fmt.Errorf("rule %s has no pattern", r.name)
	case len(r.calls) > 0 && r.lacking == nil:
		return fmt.Errorf("rule %s says nothing for when its tool is not offered", r.name)
	}
	p.script.rules = append(p.script.rules, *r)
	p.rule = nil
	return nil
}
