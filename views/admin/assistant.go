package admin

import (
	"github.com/a-h/templ"

	"strconv"

	"github.com/heddle/heddle/views/diff"
	"github.com/heddle/heddle/views/ui"
)

// Assistants is the list of assistants.
type Assistants struct {
	Query    string
	Archived bool
	Lines    []AssistantLine
	// Full says that the list was cut.
	Full bool
	// Notice tells what was just done; empty for nothing.
	Notice string
}

// AssistantLine is one assistant of the list.
type AssistantLine struct {
	ID, Name, Graph, Model string
	Version                int
	// By is who saved the version in use; empty for what came with the server.
	By      string
	Saved   ui.Time
	Threads int
	// Default marks the default assistant of a graph.
	Default, Archived bool
}

func (a AssistantLine) href() string { return "/admin/assistants/" + a.ID }

func number(n int) string { return strconv.Itoa(n) }

// Assistant is the page of one assistant: its form as typed, and its history.
type Assistant struct {
	// ID is empty for one that is not there yet; Name is what it is called now.
	ID, Name string
	// Version is the one in use, 0 for a new assistant.
	Version  int
	Archived bool
	Threads  string
	// Values are the fields by name, as typed; Errors what is wrong with them.
	Values map[string]string
	Errors map[string]string
	// Problem says why the whole form was refused; empty if it was not.
	Problem string
	Notice  string

	Graphs, Models, OnLimit, Strategies []ui.Option
	// NamesModel says that some of the models are whole providers, of whose
	// models one is named.
	NamesModel bool
	// Starters are the six fields.
	Starters []string
	Tools    []ToolForm
	Conflict *Conflict
	Trial    *Trial
	// Triable says that a draft of this graph can be tried.
	Triable bool
	History []Save
	CSRF    string
}

func (a Assistant) action() string {
	if a.ID == "" {
		return "/admin/assistants"
	}
	return "/admin/assistants/" + a.ID
}

func (a Assistant) tryAction() string {
	if a.ID == "" {
		return "/admin/assistants/new/try#trial"
	}
	return a.action() + "/try#trial"
}

func (a Assistant) title() string {
	if a.ID == "" {
		return "New assistant"
	}
	return a.Name
}

func (a Assistant) saveLabel() string {
	if a.ID == "" {
		return "Create assistant"
	}
	return "Save as version " + number(a.next())
}

// next is the number a save will get.
func (a Assistant) next() int {
	if len(a.History) > 0 {
		return a.History[0].Version + 1
	}
	return a.Version + 1
}

// field is a labelled field of the form with what was typed into it.
func (a Assistant) field(name, label, hint string) ui.Field {
	return ui.Field{ID: "f-" + name, Name: name, Label: label, Hint: hint, Value: a.Values[name], Error: a.Errors[name]}
}

func modelName(a Assistant) ui.Field {
	f := a.field("model_name", "Name of the model", "As its provider writes it, such as gpt-4.1-mini; for models taken by name")
	f.Autocomplete, f.Attrs = "off", templ.Attributes{"maxlength": "200", "spellcheck": "false"}
	return f
}

// ToolForm is one tool with its policy, as typed.
type ToolForm struct {
	Name, Title, Description string
	// Effect is the class of what a call does.
	Effect string
	Used   bool
	// Missing says that this server has no such tool any more.
	Missing bool
	// Registered is the review a tool has without a policy.
	Registered string
	Reviews    []ui.Option
	Conditions []ConditionForm
	Roles      []Choice
	// Exempt are the roles whose calls nobody looks at; none for tools where
	// that may not be.
	Exempt    []Choice
	Decisions []Choice
	Due       string
	// Open shows the rest of the policy: something in it is set or wrong.
	Open bool
	// Errors are by the field's name after "policy.<tool>.".
	Errors map[string]string
}

func (t ToolForm) tone() ui.Tone {
	switch t.Effect {
	case "outbound":
		return ui.Wait
	case "destructive":
		return ui.Bad
	case "write":
		return ui.Info
	default:
		return ui.Neutral
	}
}

func (t ToolForm) fieldName(field string) string { return "policy." + t.Name + "." + field }

func (t ToolForm) id(field string) string { return "p-" + t.Name + "-" + field }

// reviewField is the choice of review, named for screen readers.
func (t ToolForm) reviewField() ui.Field {
	return ui.Field{ID: t.id("review"), Name: t.fieldName("review"), Label: "Review of " + t.Title, HideLabel: true, Error: t.Errors["review"]}
}

// ConditionForm is one row of a policy's conditions, as typed.
type ConditionForm struct {
	Row         int
	Path, Value string
	Ops         []ui.Option
}

func (t ToolForm) condition(c ConditionForm, field, label, value string) ui.Field {
	name := "when." + number(c.Row) + "." + field
	return ui.Field{ID: t.id("when-" + number(c.Row) + "-" + field), Name: t.fieldName(name), Label: label + " of condition " + number(c.Row+1) + " for " + t.Title,
		HideLabel: true, Value: value, Error: t.Errors[name], Autocomplete: "off"}
}

// Choice is one box that can be ticked.
type Choice struct {
	Value, Label string
	Checked      bool
}

// Save is one version in the history.
type Save struct {
	Version       int
	By            string
	At            ui.Time
	Name, Comment string
	Active        bool
}

// FieldText is one field of a version as text.
type FieldText struct{ Label, Text string }

// FieldDiff is one field that differs.
type FieldDiff struct {
	Label string
	Parts []diff.Part
}

// Conflict tells of a save that came in between.
type Conflict struct {
	// By saved Version while the form was open; Base is the version it began with.
	By            string
	Version, Base int
	Comment       string
	// Theirs is what they changed since Base, Mine what the form would change.
	Theirs, Mine []FieldDiff
}

// Trial is what a draft answered.
type Trial struct {
	Message string
	Steps   []TrialStep
	Answer  string
	Problem string
	// Usage is one formatted line.
	Usage string
}

// TrialStep is one tool call of a trial.
type TrialStep struct {
	Tool, Args, Result string
	// Held says that it did not run.
	Held, Failed bool
}

// Version is the page of one version.
type Version struct {
	ID, Name string
	Save     Save
	// Current is the version in use.
	Current int
	Fields  []FieldText
	CSRF    string
}

// Comparison is the page of two versions.
type Comparison struct {
	ID, Name string
	From, To Save
	Fields   []FieldDiff
	Versions []Save
	// Saved says that To was saved a moment ago.
	Saved bool
}
