package handlers

import (
	"maps"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/prebuilt"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/ui"
)

// show renders an assistant's page with a form as it was typed; view brings what
// else the page tells.
func (a *AssistantPages) show(c *fiber.Ctx, status int, current agents.Assistant, form assistantForm, view admin.Assistant) error {
	title := "New assistant"
	if current.ID != "" {
		title = current.Name
		saves, err := a.saves(c, current)
		if err != nil {
			return err
		}
		view.History = saves
		if view.Conflict != nil {
			for _, s := range saves {
				if s.Version == view.Conflict.Version {
					view.Conflict.By, view.Conflict.Comment = s.By, s.Comment
				}
			}
		}
		form.text["graph"] = current.Graph
	}
	p := a.frame.page(c, title)
	view.ID, view.Name, view.Version, view.Archived, view.CSRF = string(current.ID), current.Name, current.Version, current.Archived(), p.CSRF
	view.Values = form.text
	for _, g := range a.workshop.Graphs() {
		view.Graphs = append(view.Graphs, ui.Option{Value: g, Label: g, Selected: g == form.text["graph"]})
	}
	view.Models = a.models(form.text["model"])
	for _, word := range []string{agents.OnLimitEnd, agents.OnLimitError} {
		view.OnLimit = append(view.OnLimit, ui.Option{Value: word, Label: present.OnLimit(word), Selected: word == form.text["on_limit"]})
	}
	for _, s := range []agents.Strategy{"", agents.StrategyEnqueue, agents.StrategyReject, agents.StrategyInterrupt, agents.StrategyRollback} {
		view.Strategies = append(view.Strategies, ui.Option{Value: string(s), Label: present.Strategy(s), Selected: string(s) == form.text["multitask_strategy"]})
	}
	view.NamesModel = slices.ContainsFunc(a.workshop.Models(), func(m model.Entry) bool {
		_, family := m.Prefix()
		return family
	})
	view.Starters = make([]string, 6)
	copy(view.Starters, form.many["starters"])
	view.Triable = form.text["graph"] == prebuilt.ChatName || current.ID == ""
	for _, spec := range a.workshop.Tools() {
		view.Tools = append(view.Tools, toolForm(form, spec, view.Errors))
	}
	for _, name := range form.many["tools"] {
		if !slices.ContainsFunc(a.workshop.Tools(), func(s tool.Spec) bool { return s.Name == name }) {
			view.Tools = append(view.Tools, admin.ToolForm{Name: name, Title: name, Used: true, Missing: true})
		}
	}
	return html(c, status, admin.AssistantPage(p, adminNav(middleware.Scope(c), "assistants"), view))
}

// models are the choices of a model; one that this server does not have stays a
// choice until another is taken.
func (a *AssistantPages) models(chosen string) []ui.Option {
	var out []ui.Option
	known := false
	for _, m := range a.workshop.Models() {
		label := m.Title
		if _, family := m.Prefix(); family {
			label += ", by name"
		}
		out = append(out, ui.Option{Value: m.ID, Label: label, Selected: m.ID == chosen})
		known = known || m.ID == chosen
	}
	if !known && chosen != "" {
		out = append(out, ui.Option{Value: chosen, Label: chosen + " (not on this server)", Selected: true})
	}
	return out
}

// toolForm sets out a tool's policy as it was typed.
func toolForm(form assistantForm, spec tool.Spec, errs map[string]string) admin.ToolForm {
	name := spec.Name
	out := admin.ToolForm{Name: name, Title: spec.Title, Description: firstSentence(spec.Description), Effect: string(spec.Effect),
		Registered: string(spec.Review), Used: slices.Contains(form.many["tools"], name),
		Due: form.text[policyField(name, "due")], Errors: map[string]string{}}
	for field, text := range errs {
		if ours, ok := strings.CutPrefix(field, policyField(name, "")); ok {
			out.Errors[ours] = text
		}
	}
	review := form.text[policyField(name, "review")]
	if review == "" {
		review = string(spec.Review)
	}
	for _, r := range reviews(spec, review) {
		out.Reviews = append(out.Reviews, ui.Option{Value: r, Label: reviewWords(r), Selected: r == review})
	}
	used := form.usedRows(name)
	for row := range max(used, min(used+spareRows, agents.MaxConditions)) {
		w := admin.ConditionForm{Row: row, Path: form.text[conditionField(name, row, "path")], Value: form.text[conditionField(name, row, "value")]}
		op := form.text[conditionField(name, row, "op")]
		for _, o := range agents.ConditionOps() {
			w.Ops = append(w.Ops, ui.Option{Value: o, Label: agents.OpWords(o), Selected: o == op})
		}
		out.Conditions = append(out.Conditions, w)
		out.Open = out.Open || w.Path != "" || w.Value != ""
	}
	for _, r := range auth.Roles() {
		out.Roles = append(out.Roles, admin.Choice{Value: string(r), Label: string(r), Checked: slices.Contains(form.many[policyField(name, "roles")], string(r))})
	}
	if spec.Effect == tool.EffectRead || spec.Effect == tool.EffectWrite {
		for _, r := range auth.Roles() {
			out.Exempt = append(out.Exempt, admin.Choice{Value: string(r), Label: string(r), Checked: slices.Contains(form.many[policyField(name, "exempt")], string(r))})
		}
	}
	for _, d := range retyped[string](agents.Decisions()) {
		out.Decisions = append(out.Decisions, admin.Choice{Value: d, Label: d, Checked: slices.Contains(form.many[policyField(name, "decisions")], d)})
	}
	only := maps.Clone(out.Errors)
	delete(only, "review")
	out.Open = out.Open || len(only) > 0 || out.Due != "" || review == agents.ReviewWhen ||
		len(form.many[policyField(name, "roles")])+len(form.many[policyField(name, "exempt")])+len(form.many[policyField(name, "decisions")]) > 0
	return out
}

// reviews are the choices a tool has: what reaches outside is never without
// review, but what was typed is shown.
func reviews(spec tool.Spec, typed string) []string {
	if (spec.Effect == tool.EffectOutbound || spec.Effect == tool.EffectDestructive) && typed != agents.ReviewNever {
		return []string{agents.ReviewAlways, agents.ReviewWhen}
	}
	return []string{agents.ReviewNever, agents.ReviewAlways, agents.ReviewWhen}
}

func reviewWords(r string) string {
	switch r {
	case agents.ReviewAlways:
		return "Always reviewed"
	case agents.ReviewWhen:
		return "Reviewed when …"
	default:
		return "Never reviewed"
	}
}

// firstSentence is enough of what a model reads of a tool for a person.
func firstSentence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if at := strings.Index(text, ". "); at > 0 {
		return text[:at+1]
	}
	return text
}
