package script

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"github.com/heddle/heddle/agents/model"
)

// resultsRule answers results that nobody asked for by script.
const resultsRule = "results"

// maxCalls bounds the calls of one answer.
const maxCalls = 8

// reply is what the mock says: text, calls, or a failure.
type reply struct {
	text  string
	calls []model.ToolCall
	fail  model.ErrorKind
}

func (s *Script) reply(t turn) (reply, error) {
	r, data := s.match(t)
	if r == nil {
		return reply{}, nil
	}
	if len(t.results) > 0 {
		return s.conclude(r, t, data)
	}
	if r.fail != "" {
		return reply{fail: r.fail}, nil
	}
	for _, c := range r.calls {
		if !slices.Contains(t.offered, c.tool) {
			data["tool"] = c.tool
			return say(r, r.lacking, data)
		}
	}
	if len(r.calls) > 0 {
		return r.ask(t, data)
	}
	return say(r, r.variant(t.text), data)
}

// conclude answers from what the tools gave.
func (s *Script) conclude(r *rule, t turn, data map[string]any) (reply, error) {
	asked := len(r.calls) > 0
	for _, got := range t.results {
		asked = asked && slices.ContainsFunc(r.calls, func(c callTemplate) bool { return c.tool == got.Name })
	}
	if !asked {
		i := slices.IndexFunc(s.rules, func(r rule) bool { return r.name == resultsRule })
		if i < 0 {
			return reply{}, nil
		}
		r = &s.rules[i]
	}
	worked := slices.ContainsFunc(t.results, func(got result) bool { return !got.Failed })
	if !worked && r.failed != nil {
		return say(r, r.failed, data)
	}
	return say(r, r.variant(t.text), data)
}

func (s *Script) match(t turn) (*rule, map[string]any) {
	for i := range s.rules {
		r := &s.rules[i]
		for _, p := range r.patterns {
			found := p.FindStringSubmatch(t.plain)
			if found == nil {
				continue
			}
			data := t.data()
			for g, name := range p.SubexpNames() {
				if name != "" && found[g] != "" {
					data[name] = strings.TrimSpace(found[g])
				}
			}
			if r.empty(data) {
				break
			}
			return r, data
		}
	}
	return nil, nil
}

// empty reports whether r would ask for each part of a list that has none,
// such as "weather in , and".
func (r *rule) empty(data map[string]any) bool {
	return slices.ContainsFunc(r.calls, func(c callTemplate) bool {
		return c.each != "" && len(listed(c.each, data)) == 0
	})
}

func (t turn) data() map[string]any {
	data := map[string]any{
		"text": t.text, "name": t.name, "brief": t.brief, "tools": t.offered, "results": t.results,
	}
	if len(t.results) > 0 {
		data["result"] = t.results[0]
	}
	return data
}

func (r *rule) variant(text string) *template.Template {
	return r.answers[hash(text)%uint64(len(r.answers))]
}

func (r *rule) ask(t turn, data map[string]any) (reply, error) {
	var out reply
	for _, c := range r.calls {
		items := []string{""}
		if c.each != "" {
			items = listed(c.each, data)
		}
		for _, item := range items {
			if len(out.calls) == maxCalls {
				return out, nil
			}
			data["item"] = item
			args, err := render(r, c.args, data)
			if err != nil {
				return reply{}, err
			}
			if !json.Valid([]byte(args)) {
				return reply{}, fmt.Errorf("rule %s: the arguments for %s are not JSON: %s", r.name, c.tool, args)
			}
			// The id depends on the place in the thread alone, so that a
			// repeated attempt asks for the same call.
			id := fmt.Sprintf("call_%012x_%d", hash(fmt.Sprint(t.text, t.rounds, len(out.calls)))>>16, len(out.calls))
			out.calls = append(out.calls, model.ToolCall{ID: id, Name: c.tool, Args: json.RawMessage(args)})
		}
	}
	return out, nil
}

// listed gives the parts of the first of the captures a|b|c that is there.
func listed(captures string, data map[string]any) []string {
	for name := range strings.SplitSeq(captures, "|") {
		if captured, _ := data[name].(string); captured != "" {
			return List(captured)
		}
	}
	return nil
}

func say(r *rule, t *template.Template, data map[string]any) (reply, error) {
	text, err := render(r, t, data)
	return reply{text: strings.TrimSpace(text)}, err
}

func render(r *rule, t *template.Template, data map[string]any) (string, error) {
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return "", fmt.Errorf("following rule %s: %w", r.name, err)
	}
	return b.String(), nil
}
