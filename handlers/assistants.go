package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/prebuilt"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/views/admin"
)

// AssistantKeeper keeps assistants and their versions.
type AssistantKeeper interface {
	Assistant(ctx context.Context, scope auth.Scope, idOrGraph string) (agents.Assistant, error)
	AssistantVersion(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, version int) (agents.Assistant, error)
	AssistantLines(ctx context.Context, scope auth.Scope, q agents.AssistantQuery) ([]agents.AssistantLine, error)
	AssistantSaves(ctx context.Context, scope auth.Scope, assistant agents.AssistantID) ([]agents.AssistantSave, error)
	CreateAssistant(ctx context.Context, scope auth.Scope, a agents.Assistant, comment string) (agents.Assistant, error)
	SaveAssistant(ctx context.Context, scope auth.Scope, a agents.Assistant, base int, comment string) (agents.Assistant, error)
	ActivateAssistant(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, version, base int) (agents.Assistant, error)
	ArchiveAssistant(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, archived bool) error
	Names(ctx context.Context, scope auth.Scope) (map[auth.UserID]string, error)
}

// Workshop knows what assistants can be made of.
type Workshop interface {
	Graphs() []string
	Models() []model.Entry
	Tools() []tool.Spec
	Check(a agents.Assistant) error
}

// Trier lets a draft answer one message; nothing of it is stored.
type Trier interface {
	Try(ctx context.Context, scope auth.Scope, draft agents.Assistant, text string) (prebuilt.Trial, error)
}

// AssistantPages serves the administration of assistants.
type AssistantPages struct {
	frame    *Frame
	keeper   AssistantKeeper
	workshop Workshop
	trier    Trier
	clock    clock.Clock
}

// NewAssistantPages makes the handlers.
func NewAssistantPages(frame *Frame, keeper AssistantKeeper, workshop Workshop, trier Trier, clk clock.Clock) *AssistantPages {
	return &AssistantPages{frame: frame, keeper: keeper, workshop: workshop, trier: trier, clock: clk}
}

// maxLines is how many assistants the list shows at once.
const maxLines = 100

// List is GET /admin/assistants?q=&archived=1.
func (a *AssistantPages) List(c *fiber.Ctx) error {
	scope, now := middleware.Scope(c), a.clock.Now()
	view := admin.Assistants{Query: strings.TrimSpace(utils.CopyString(c.Query("q"))), Archived: c.Query("archived") == "1"}
	lines, err := a.keeper.AssistantLines(c.UserContext(), scope, agents.AssistantQuery{
		Text: view.Query, Archived: view.Archived, Limit: maxLines + 1})
	if err != nil {
		return err
	}
	names, err := a.keeper.Names(c.UserContext(), scope)
	if err != nil {
		return err
	}
	if view.Full = len(lines) > maxLines; view.Full {
		lines = lines[:maxLines]
	}
	for _, l := range lines {
		view.Lines = append(view.Lines, admin.AssistantLine{
			ID: string(l.ID), Name: l.Name, Graph: l.Graph, Model: l.Config.Model, Version: l.Version, By: names[l.SavedBy],
			Saved: present.Time(l.UpdatedAt, now), Threads: l.Threads, Default: l.IsDefault, Archived: l.Archived(),
		})
	}
	return html(c, fiber.StatusOK, admin.AssistantsPage(a.frame.page(c, "Assistants"), adminNav(scope, "assistants"), view))
}

// New is GET /admin/assistants/new.
func (a *AssistantPages) New(c *fiber.Ctx) error {
	if err := middleware.Scope(c).Require(auth.PermManageAssistant); err != nil {
		return err
	}
	return a.show(c, fiber.StatusOK, agents.Assistant{}, formOf(a.blank(), a.workshop.Models(), a.workshop.Tools()), admin.Assistant{})
}

// blank is what a new assistant starts with.
func (a *AssistantPages) blank() agents.Assistant {
	blank := agents.Assistant{Graph: prebuilt.ChatName}
	if models := a.workshop.Models(); len(models) > 0 {
		blank.Config.Model = models[0].ID
	}
	return blank
}

// Show is GET /admin/assistants/:id.
func (a *AssistantPages) Show(c *fiber.Ctx) error {
	found, err := a.load(c)
	if err != nil {
		return err
	}
	view := admin.Assistant{}
	if c.Query("created") == "1" {
		view.Notice = "Assistant «" + found.Name + "» created. New threads can begin with it."
	}
	return a.show(c, fiber.StatusOK, found, formOf(found, a.workshop.Models(), a.workshop.Tools()), view)
}

// load reads the route's assistant for those who may manage assistants.
func (a *AssistantPages) load(c *fiber.Ctx) (agents.Assistant, error) {
	scope := middleware.Scope(c)
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return agents.Assistant{}, err
	}
	canonical, ok := id.Canonical(utils.CopyString(c.Params("id")))
	if !ok {
		return agents.Assistant{}, fault.NotFound("Assistant")
	}
	return a.keeper.Assistant(c.UserContext(), scope, canonical)
}

// Create is POST /admin/assistants.
func (a *AssistantPages) Create(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return err
	}
	form, err := readAssistantForm(c, a.workshop.Tools())
	if err != nil {
		return err
	}
	next, broken := form.assistant(agents.Assistant{}, a.workshop.Tools(), a.workshop.Check)
	if len(broken) > 0 {
		return a.refuse(c, agents.Assistant{}, form, broken, admin.Assistant{})
	}
	made, err := a.keeper.CreateAssistant(c.UserContext(), scope, next, "")
	if err != nil {
		return err
	}
	return done(c, address(made.ID)+"?created=1")
}

func address(assistant agents.AssistantID) string { return "/admin/assistants/" + string(assistant) }

// Save is POST /admin/assistants/:id: the form as a new version. A form that
// began with a version which is no longer the one in use comes back with what
// changed on both sides.
func (a *AssistantPages) Save(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	current, err := a.load(c)
	if err != nil {
		return err
	}
	form, err := readAssistantForm(c, a.workshop.Tools())
	if err != nil {
		return err
	}
	from, err := a.keeper.AssistantVersion(c.UserContext(), scope, current.ID, form.base())
	if err != nil {
		return fault.Invalid("base", "must be the version the form began with").WithCause(err)
	}
	next, broken := form.assistant(from, a.workshop.Tools(), a.workshop.Check)
	maps.Copy(broken, fault.FieldsOf(agents.ValidateComment(form.text["comment"])))
	if current.Version != from.Version {
		return a.conflict(c, current, from, next, form, broken)
	}
	if same(from, next) {
		delete(broken, "comment")
		return a.refuse(c, current, form, broken, admin.Assistant{
			Problem: fmt.Sprintf("Nothing differs from version %d, so there is nothing to save.", from.Version)})
	}
	if len(broken) > 0 {
		return a.refuse(c, current, form, broken, admin.Assistant{})
	}
	saved, err := a.keeper.SaveAssistant(c.UserContext(), scope, next, from.Version, strings.TrimSpace(form.text["comment"]))
	if fault.Code(err) == agents.CodeAssistantChanged {
		if current, err = a.load(c); err != nil {
			return err
		}
		return a.conflict(c, current, from, next, form, broken)
	}
	if err != nil {
		return err
	}
	return done(c, savedAddress(saved, from.Version))
}

func savedAddress(saved agents.Assistant, from int) string {
	return fmt.Sprintf("%s/diff?from=%d&to=%d&saved=1", address(saved.ID), from, saved.Version)
}

// same reports whether two contents would be the same version.
func same(a, b agents.Assistant) bool {
	content := func(x agents.Assistant) string {
		raw, err := json.Marshal([]any{x.Name, x.Description, x.Graph, x.Config.Defaults()})
		if err != nil {
			return err.Error() // a configuration always renders
		}
		return string(raw)
	}
	return content(a) == content(b)
}

// refuse shows the form again as it was typed, with what is wrong beside the
// fields.
func (a *AssistantPages) refuse(c *fiber.Ctx, current agents.Assistant, form assistantForm, broken map[string]string, view admin.Assistant) error {
	if wantsJSON(c) {
		if len(broken) == 0 {
			return fault.New(fault.KindInvalid, view.Problem)
		}
		return fault.InvalidFields(broken)
	}
	view.Errors = sentences(broken)
	return a.show(c, middleware.Status(fault.KindInvalid), current, form, view)
}

// conflict shows the form again with what somebody else saved in between. Its
// base is now their version: saving again is a decision, not an accident.
func (a *AssistantPages) conflict(c *fiber.Ctx, current, from, mine agents.Assistant, form assistantForm, broken map[string]string) error {
	if wantsJSON(c) {
		return fault.Conflict(fmt.Sprintf("Somebody saved version %d of this assistant in the meantime.", current.Version)).
			WithCode(agents.CodeAssistantChanged)
	}
	form.text["base"] = strconv.Itoa(current.Version)
	return a.show(c, middleware.Status(fault.KindConflict), current, form, admin.Assistant{
		Errors: sentences(broken), Problem: "Not saved yet.",
		Conflict: &admin.Conflict{Version: current.Version, Base: from.Version,
			Theirs: present.AssistantDiff(from, current), Mine: present.AssistantDiff(from, mine)},
	})
}

// Try is POST /admin/assistants/:id/try: the form's assistant, saved or not,
// answers one message. The id "new" stands for one that is not there yet.
func (a *AssistantPages) Try(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return err
	}
	var current, from agents.Assistant
	var err error
	if c.Params("id") != "new" {
		if current, err = a.load(c); err != nil {
			return err
		}
		from = current
	}
	form, err := readAssistantForm(c, a.workshop.Tools())
	if err != nil {
		return err
	}
	draft, broken := form.assistant(from, a.workshop.Tools(), a.workshop.Check)
	if strings.TrimSpace(draft.Name) == "" && from.ID == "" {
		// A draft need not be called anything yet.
		draft.Name = "Draft"
		delete(broken, "name")
	}
	maps.Copy(broken, fault.FieldsOf(agents.ValidateText("try_message", form.text["try_message"])))
	if len(broken) > 0 {
		return a.refuse(c, current, form, broken, admin.Assistant{Problem: "Not tried: some fields break a rule. What you typed is all here."})
	}
	trial, err := a.trier.Try(c.UserContext(), scope, draft, form.text["try_message"])
	switch {
	case fault.Is(err, fault.KindInvalid) && len(fault.FieldsOf(err)) > 0:
		return a.refuse(c, current, form, fault.FieldsOf(err), admin.Assistant{})
	case fault.Is(err, fault.KindLimited) && !wantsJSON(c):
		middleware.RetryAfter(c, err)
		return a.show(c, middleware.Status(fault.KindLimited), current, form, admin.Assistant{Problem: fault.Public(err)})
	case err != nil:
		return err
	}
	return a.show(c, fiber.StatusOK, current, form, admin.Assistant{Trial: presentTrial(form.text["try_message"], trial)})
}

func presentTrial(message string, t prebuilt.Trial) *admin.Trial {
	out := &admin.Trial{Message: message, Answer: t.Answer, Problem: t.Problem,
		Usage: fmt.Sprintf("%.1f s · %d tokens in · %d tokens out · nothing was stored", t.Took.Seconds(), t.Usage.Input, t.Usage.Output)}
	for _, s := range t.Steps {
		out.Steps = append(out.Steps, admin.TrialStep{Tool: s.Tool, Args: string(s.Args), Result: s.Result, Held: s.Held, Failed: s.Failed})
	}
	return out
}

// Archive is POST /admin/assistants/:id/archive.
func (a *AssistantPages) Archive(c *fiber.Ctx) error { return a.archive(c, true) }

// Restore is POST /admin/assistants/:id/restore.
func (a *AssistantPages) Restore(c *fiber.Ctx) error { return a.archive(c, false) }

func (a *AssistantPages) archive(c *fiber.Ctx, archived bool) error {
	found, err := a.load(c)
	if err != nil {
		return err
	}
	if err := a.keeper.ArchiveAssistant(c.UserContext(), middleware.Scope(c), found.ID, archived); err != nil {
		return err
	}
	return done(c, address(found.ID))
}

// Version is GET /admin/assistants/:id/versions/:v.
func (a *AssistantPages) Version(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	current, saves, err := a.history(c)
	if err != nil {
		return err
	}
	version, save, err := a.version(c.UserContext(), scope, current, saves, c.Params("v"))
	if err != nil {
		return err
	}
	p := a.frame.page(c, fmt.Sprintf("Version %d of %s", version.Version, current.Name))
	return html(c, fiber.StatusOK, admin.VersionPage(p, adminNav(scope, "assistants"), admin.Version{
		ID: string(current.ID), Name: current.Name, Save: save, Current: current.Version,
		Fields: present.AssistantFields(version), CSRF: p.CSRF}))
}

// history reads the route's assistant and its saves as the pages show them.
func (a *AssistantPages) history(c *fiber.Ctx) (agents.Assistant, []admin.Save, error) {
	current, err := a.load(c)
	if err != nil {
		return current, nil, err
	}
	saves, err := a.saves(c, current)
	return current, saves, err
}

func (a *AssistantPages) saves(c *fiber.Ctx, current agents.Assistant) ([]admin.Save, error) {
	scope, now := middleware.Scope(c), a.clock.Now()
	saves, err := a.keeper.AssistantSaves(c.UserContext(), scope, current.ID)
	if err != nil {
		return nil, err
	}
	names, err := a.keeper.Names(c.UserContext(), scope)
	if err != nil {
		return nil, err
	}
	out := make([]admin.Save, len(saves))
	for i, s := range saves {
		out[i] = admin.Save{Version: s.Version, Name: s.Name, Comment: s.Comment, By: names[s.By], At: present.Time(s.At, now), Active: s.Active}
	}
	return out, nil
}

// version reads the version that text names; one that is no number or not there
// is not found.
func (a *AssistantPages) version(ctx context.Context, scope auth.Scope, current agents.Assistant, saves []admin.Save, text string) (agents.Assistant, admin.Save, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1<<30 {
		return agents.Assistant{}, admin.Save{}, fault.NotFound("Version")
	}
	found, err := a.keeper.AssistantVersion(ctx, scope, current.ID, n)
	if fault.Is(err, fault.KindNotFound) {
		return found, admin.Save{}, fault.NotFound("Version").WithCause(err)
	}
	if err != nil {
		return found, admin.Save{}, err
	}
	if at := slices.IndexFunc(saves, func(s admin.Save) bool { return s.Version == n }); at >= 0 {
		return found, saves[at], nil
	}
	// Older than the history that is read at once.
	return found, admin.Save{Version: n, Name: found.Name, At: present.Time(found.UpdatedAt, a.clock.Now())}, nil
}

// Diff is GET /admin/assistants/:id/diff?from=2&to=5.
func (a *AssistantPages) Diff(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	current, saves, err := a.history(c)
	if err != nil {
		return err
	}
	from, fromSave, err := a.version(c.UserContext(), scope, current, saves, c.Query("from"))
	if err != nil {
		return err
	}
	to, toSave, err := a.version(c.UserContext(), scope, current, saves, c.Query("to"))
	if err != nil {
		return err
	}
	p := a.frame.page(c, "What changed in "+current.Name)
	return html(c, fiber.StatusOK, admin.ComparisonPage(p, adminNav(scope, "assistants"), admin.Comparison{
		ID: string(current.ID), Name: current.Name, From: fromSave, To: toSave, Fields: present.AssistantDiff(from, to),
		Versions: saves, Saved: c.Query("saved") == "1" && toSave.Active}))
}

// Activate is POST /admin/assistants/:id/versions/:v/activate with the version
// in use as base.
func (a *AssistantPages) Activate(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	current, err := a.load(c)
	if err != nil {
		return err
	}
	version, _, err := a.version(c.UserContext(), scope, current, nil, c.Params("v"))
	if err != nil {
		return err
	}
	base, err := strconv.Atoi(c.FormValue("base"))
	if err != nil {
		return fault.Invalid("base", "must be the version in use")
	}
	if err := a.workshop.Check(version); err != nil {
		return err
	}
	saved, err := a.keeper.ActivateAssistant(c.UserContext(), scope, current.ID, version.Version, base)
	if err != nil {
		return err
	}
	return done(c, savedAddress(saved, base))
}
