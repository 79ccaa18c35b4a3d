package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// AssistantKeeper keeps assistants and their versions.
type AssistantKeeper interface {
	Assistant(ctx context.Context, scope auth.Scope, idOrGraph string) (agents.Assistant, error)
	AssistantVersion(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, version int) (agents.Assistant, error)
	AssistantVersions(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, metadata json.RawMessage, limit, offset int) ([]agents.Assistant, int, error)
	SearchAssistants(ctx context.Context, scope auth.Scope, q agents.AssistantSearch) ([]agents.Assistant, int, error)
	CountAssistants(ctx context.Context, scope auth.Scope, f agents.AssistantFilter) (int, error)
	CreateAssistant(ctx context.Context, scope auth.Scope, a agents.Assistant, comment string) (agents.Assistant, error)
	ChangeAssistant(ctx context.Context, scope auth.Scope, c agents.AssistantChange) (agents.Assistant, error)
	ActivateAssistant(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, version, base int) (agents.Assistant, error)
	// DeleteAssistant takes it out of use and, if wanted, deletes the scope's own
	// threads with it, whose number it gives.
	DeleteAssistant(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, withThreads bool) (int, error)
}

// AssistantWorkshop knows what assistants can be made of.
type AssistantWorkshop interface {
	Check(a agents.Assistant) error
	Graph(name string) (*graph.Graph, bool)
	Models() []model.Entry
	Tools() []tool.Spec
}

// untitled is what an assistant is called that nobody gave a name.
const untitled = "Untitled"

// assistantBody is the body of what makes or changes an assistant; null is
// absent everywhere.
type assistantBody struct {
	AssistantID string          `json:"assistant_id"`
	GraphID     string          `json:"graph_id"`
	Config      json.RawMessage `json:"config"`
	Context     json.RawMessage `json:"context"`
	Metadata    json.RawMessage `json:"metadata"`
	Name        *string         `json:"name"`
	Description *string         `json:"description"`
	IfExists    string          `json:"if_exists"`
}

// notGiven holds for what is absent or null.
func notGiven(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// onto gives the assistant with what the body says. Metadata are merged key by
// key, everything else is replaced whole. All that breaks a rule is named by the
// names of the body.
func (a *API) onto(in assistantBody, out agents.Assistant) (agents.Assistant, error) {
	broken := map[string]string{}
	if in.Name != nil {
		out.Name = *in.Name
	}
	if in.Description != nil {
		out.Description = *in.Description
	}
	if !notGiven(in.Config) {
		out.Config = readConfig(in.Config, broken)
	}
	if !notGiven(in.Context) {
		out.Context = nil
		if json.Unmarshal(strip(in.Context, 3), &out.Context) != nil {
			broken["context"] = "must be an object"
		}
	}
	if !notGiven(in.Metadata) {
		merged, more := map[string]json.RawMessage{}, map[string]json.RawMessage{}
		if json.Unmarshal(in.Metadata, &more) != nil {
			broken["metadata"] = "must be an object"
		}
		if len(out.Metadata) > 0 {
			if err := json.Unmarshal(out.Metadata, &merged); err != nil {
				return out, err
			}
		}
		maps.Copy(merged, more)
		var err error
		if out.Metadata, err = json.Marshal(merged); err != nil {
			return out, err
		}
	}
	err := a.workshop.Check(out)
	if err != nil && !fault.Is(err, fault.KindInvalid) {
		return out, err
	}
	for field, rule := range fault.FieldsOf(err) {
		if name := wireField(field); broken[name] == "" {
			broken[name] = rule
		}
	}
	if len(broken) > 0 {
		return out, fault.InvalidFields(broken)
	}
	return out, nil
}

// CreateAssistant is POST /assistants.
func (a *API) CreateAssistant(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return err
	}
	in, err := readAssistant(c)
	if err != nil {
		return err
	}
	if in.GraphID == "" {
		return fault.Invalid("graph_id", "is required")
	}
	if in.IfExists != "" && in.IfExists != "raise" && in.IfExists != "do_nothing" {
		return fault.Invalid("if_exists", "must be raise or do_nothing")
	}
	wanted := agents.Assistant{Graph: in.GraphID, Name: untitled}
	if in.AssistantID != "" {
		canonical, ok := id.Canonical(in.AssistantID)
		if !ok {
			return fault.Invalid("assistant_id", "must be a UUID")
		}
		wanted.ID = agents.AssistantID(canonical)
	}
	if _, ok := a.workshop.Graph(in.GraphID); !ok {
		return fault.NotFound("Graph")
	}
	if wanted, err = a.onto(in, wanted); err != nil {
		return err
	}
	made, err := a.assistants.CreateAssistant(c.UserContext(), scope, wanted, "")
	if fault.Code(err) == codeAssistantExists {
		made, err = a.existing(c.UserContext(), scope, wanted, in.IfExists, err)
	}
	if err != nil {
		return err
	}
	return c.JSON(presentAssistant(made))
}

// codeAssistantExists is the code of the conflict that an id is taken.
const codeAssistantExists = "assistant_exists"

// existing decides about an assistant whose id is taken: one that was archived
// comes back into use with the new content.
func (a *API) existing(ctx context.Context, scope auth.Scope, wanted agents.Assistant, ifExists string, taken error) (agents.Assistant, error) {
	found, err := a.assistants.Assistant(ctx, scope, string(wanted.ID))
	if err != nil {
		return found, err
	}
	switch {
	case !found.Archived() && ifExists == "do_nothing":
		return found, nil
	case !found.Archived():
		return found, taken
	case found.Graph != wanted.Graph:
		return found, fault.Conflict("An archived assistant has this id and another graph.").WithCode(codeAssistantExists)
	}
	return a.assistants.ChangeAssistant(ctx, scope, agents.AssistantChange{
		Assistant: wanted.ID, Comment: "Made again through the API", Revive: true,
		Make: func(active agents.Assistant) (agents.Assistant, error) {
			if !active.Archived() {
				return active, taken // somebody else was quicker
			}
			return wanted, nil
		}})
}

func readAssistant(c *fiber.Ctx) (assistantBody, error) {
	var in assistantBody
	if err := decode(c, &in); err != nil {
		return in, err
	}
	return in, storable(c.Body())
}

// assistant reads the route's assistant: by its id or a graph's name. An archived
// one is not there.
func (a *API) assistant(c *fiber.Ctx) (agents.Assistant, error) {
	name, err := url.PathUnescape(param(c, "assistant"))
	if err != nil {
		return agents.Assistant{}, fault.NotFound("Assistant").WithCause(err)
	}
	found, err := a.assistants.Assistant(c.UserContext(), middleware.Scope(c), name)
	if err == nil && found.Archived() {
		err = fault.NotFound("Assistant")
	}
	return found, err
}

// GetAssistant is GET /assistants/:assistant.
func (a *API) GetAssistant(c *fiber.Ctx) error {
	found, err := a.assistant(c)
	if err != nil {
		return err
	}
	return c.JSON(presentAssistant(found))
}

// manageable is assistant for those who may change it.
func (a *API) manageable(c *fiber.Ctx) (agents.Assistant, error) {
	found, err := a.assistant(c)
	if err != nil {
		return found, err
	}
	return found, middleware.Scope(c).Require(auth.PermManageAssistant)
}

// ChangeAssistant is PATCH /assistants/:assistant: a new version, made of the one
// in use.
func (a *API) ChangeAssistant(c *fiber.Ctx) error {
	found, err := a.manageable(c)
	if err != nil {
		return err
	}
	in, err := readAssistant(c)
	if err != nil {
		return err
	}
	if in.GraphID != "" && in.GraphID != found.Graph {
		return fault.Invalid("graph_id", "must stay "+strconv.Quote(found.Graph)+": the states of threads belong to it; make another assistant instead")
	}
	saved, err := a.assistants.ChangeAssistant(c.UserContext(), middleware.Scope(c), agents.AssistantChange{
		Assistant: found.ID, Comment: in.comment(),
		Make: func(active agents.Assistant) (agents.Assistant, error) {
			active.Config = active.Chosen
			return a.onto(in, active)
		}})
	if err != nil {
		return err
	}
	return c.JSON(presentAssistant(saved))
}

// comment says in the history what a change was about.
func (in assistantBody) comment() string {
	var what []string
	for name, given := range map[string]bool{"config": !notGiven(in.Config), "context": !notGiven(in.Context), "metadata": !notGiven(in.Metadata),
		"name": in.Name != nil, "description": in.Description != nil} {
		if given {
			what = append(what, name)
		}
	}
	if len(what) == 0 {
		return "Saved through the API as it was"
	}
	slices.Sort(what)
	return "Changed through the API: " + strings.Join(what, ", ")
}

// DeleteAssistant is DELETE /assistants/:assistant?delete_threads.
func (a *API) DeleteAssistant(c *fiber.Ctx) error {
	found, err := a.manageable(c)
	if err != nil {
		return err
	}
	withThreads, err := yes(c, "delete_threads", false)
	if err != nil {
		return err
	}
	gone, err := a.assistants.DeleteAssistant(c.UserContext(), middleware.Scope(c), found.ID, withThreads)
	if err != nil {
		return err
	}
	return c.JSON(fiber.Map{"deleted_threads": gone})
}

type assistantFilter struct {
	Metadata  json.RawMessage `json:"metadata"`
	GraphID   string          `json:"graph_id"`
	Name      string          `json:"name"`
	SortBy    string          `json:"sort_by"`
	SortOrder string          `json:"sort_order"`
}

func readFilter(c *fiber.Ctx) (assistantFilter, agents.AssistantFilter, error) {
	var in assistantFilter
	if err := decode(c, &in); err != nil {
		return in, agents.AssistantFilter{}, err
	}
	metadata, err := object("metadata", in.Metadata)
	if err != nil {
		return in, agents.AssistantFilter{}, err
	}
	return in, agents.AssistantFilter{Metadata: metadata, Graph: in.GraphID, Name: in.Name}, storable(c.Body())
}

// SearchAssistants is POST /assistants/search.
func (a *API) SearchAssistants(c *fiber.Ctx) error {
	in, filter, err := readFilter(c)
	if err != nil {
		return err
	}
	q := agents.AssistantSearch{AssistantFilter: filter, Sort: agents.AssistantOrder(in.SortBy), Ascending: in.SortOrder == "asc"}
	if orders := agents.AssistantOrders(); q.Sort != "" && !slices.Contains(orders, q.Sort) {
		return fault.Invalid("sort_by", "must be one of created_at, updated_at, name, graph_id, assistant_id")
	}
	if in.SortOrder != "" && in.SortOrder != "asc" && in.SortOrder != "desc" {
		return fault.Invalid("sort_order", "must be asc or desc")
	}
	if q.Limit, q.Offset, err = page(c); err != nil {
		return err
	}
	found, total, err := a.assistants.SearchAssistants(c.UserContext(), middleware.Scope(c), q)
	if err != nil {
		return err
	}
	return a.list(c, found, total, q.Offset, presentAssistant)
}

// list answers a piece of a list of assistants.
func (a *API) list(c *fiber.Ctx, found []agents.Assistant, total, offset int, present func(agents.Assistant) fiber.Map) error {
	wanted, err := fields(c)
	if err != nil {
		return err
	}
	out := make([]fiber.Map, len(found))
	for i, one := range found {
		out[i] = present(one)
	}
	paged(c, total, offset, len(found))
	return c.JSON(selected(out, wanted))
}

// CountAssistants is POST /assistants/count.
func (a *API) CountAssistants(c *fiber.Ctx) error {
	_, filter, err := readFilter(c)
	if err != nil {
		return err
	}
	n, err := a.assistants.CountAssistants(c.UserContext(), middleware.Scope(c), filter)
	if err != nil {
		return err
	}
	return c.JSON(n)
}

// AssistantVersions is POST /assistants/:assistant/versions.
func (a *API) AssistantVersions(c *fiber.Ctx) error {
	found, err := a.assistant(c)
	if err != nil {
		return err
	}
	_, filter, err := readFilter(c)
	if err != nil {
		return err
	}
	limit, offset, err := page(c)
	if err != nil {
		return err
	}
	versions, total, err := a.assistants.AssistantVersions(c.UserContext(), middleware.Scope(c), found.ID, filter.Metadata, limit, offset)
	if err != nil {
		return err
	}
	return a.list(c, versions, total, offset, presentVersion)
}

// maxVersion is beyond every version's number.
const maxVersion = 1 << 30

// UseVersion is POST /assistants/:assistant/latest: the content of an earlier
// version becomes that of a new one, for history only grows.
func (a *API) UseVersion(c *fiber.Ctx) error {
	found, err := a.manageable(c)
	if err != nil {
		return err
	}
	var in struct {
		Version *int `json:"version"`
	}
	if err := decode(c, &in); err != nil {
		return err
	}
	switch {
	case in.Version == nil:
		return fault.Invalid("version", "is required")
	case *in.Version == found.Version:
		return c.JSON(presentAssistant(found))
	case *in.Version < 1 || *in.Version > maxVersion:
		return fault.NotFound("Version")
	}
	ctx, scope := c.UserContext(), middleware.Scope(c)
	earlier, err := a.assistants.AssistantVersion(ctx, scope, found.ID, *in.Version)
	if fault.Is(err, fault.KindNotFound) {
		return fault.NotFound("Version").WithCause(err)
	}
	if err != nil {
		return err
	}
	// What it names may be gone from the server since.
	if _, err := a.onto(assistantBody{}, earlier); err != nil {
		return err
	}
	saved, err := a.assistants.ActivateAssistant(ctx, scope, found.ID, *in.Version, found.Version)
	if err != nil {
		return err
	}
	return c.JSON(presentAssistant(saved))
}

func presentAssistant(a agents.Assistant) fiber.Map {
	context, metadata := a.Context, a.Metadata
	if context == nil {
		context = map[string]json.RawMessage{}
	}
	if len(metadata) == 0 {
		metadata = json.RawMessage(`{}`)
	}
	return fiber.Map{
		"assistant_id": a.ID, "graph_id": a.Graph, "config": presentConfig(a.Chosen), "context": context, "metadata": metadata,
		"name": a.Name, "description": a.Description, "version": a.Version,
		"created_at": timestamp(a.CreatedAt), "updated_at": timestamp(a.UpdatedAt),
	}
}

// presentVersion is an assistant as one of its versions: made when that was
// saved.
func presentVersion(a agents.Assistant) fiber.Map {
	a.CreatedAt = a.UpdatedAt
	return presentAssistant(a)
}
