package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// createRun is the body of every call that makes a run. What is not listed is
// ignored, as the contract wants, and kept verbatim in the run's kwargs.
type createRun struct {
	AssistantID       string          `json:"assistant_id"`
	Input             json.RawMessage `json:"input"`
	Command           json.RawMessage `json:"command"`
	Metadata          json.RawMessage `json:"metadata"`
	Config            json.RawMessage `json:"config"`
	MultitaskStrategy string          `json:"multitask_strategy"`
	IfNotExists       string          `json:"if_not_exists"`
	OnDisconnect      string          `json:"on_disconnect"`
	Context           json.RawMessage `json:"context"`
	InterruptBefore   json.RawMessage `json:"interrupt_before"`
	InterruptAfter    json.RawMessage `json:"interrupt_after"`
}

// breakpoints reads where a developer wants the run to pause; nil for nowhere.
func (in createRun) breakpoints() (*agents.Breakpoints, error) {
	before, err := nodes("interrupt_before", in.InterruptBefore)
	if err != nil {
		return nil, err
	}
	after, err := nodes("interrupt_after", in.InterruptAfter)
	if err != nil || len(before)+len(after) == 0 {
		return nil, err
	}
	return &agents.Breakpoints{Before: before, After: after}, nil
}

// given reads the run's context, without the names of identity.
func (in createRun) given() (map[string]json.RawMessage, error) {
	if len(in.Context) == 0 || string(in.Context) == "null" {
		return nil, nil
	}
	var out map[string]json.RawMessage
	if json.Unmarshal(in.Context, &out) != nil {
		return nil, fault.Invalid("context", "must be an object")
	}
	for _, name := range identityNames {
		delete(out, name)
	}
	return out, nil
}

// nodes reads "*" or a list of nodes' names.
func nodes(field string, raw json.RawMessage) ([]string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var all string
	if json.Unmarshal(raw, &all) == nil && all == "*" {
		return []string{all}, nil
	}
	var some []string
	if json.Unmarshal(raw, &some) != nil {
		return nil, fault.Invalid(field, `must be "*" or a list of nodes' names`)
	}
	return some, nil
}

// knownConfig are the keys of a run's config that are checked (LG-20).
type knownConfig struct {
	MultitaskStrategy string `json:"multitask_strategy"`
	Configurable      struct {
		Temperature       *float64 `json:"temperature"`
		MaxTokens         *int     `json:"max_tokens"`
		MultitaskStrategy string   `json:"multitask_strategy"`
	} `json:"configurable"`
}

// identityNames are words a client must not use to choose who it acts for; they
// are taken out of what is stored, since tools read the scope only.
var identityNames = []string{"user_id", "org_id", "tenant_id", "organization_id", "organisation_id",
	"langgraph_auth_user", "langgraph_auth_user_id", "langgraph_auth_permissions"}

func (a *API) submit(c *fiber.Ctx, thread agents.ThreadID) (agents.Run, createRun, error) {
	var in createRun
	if err := decode(c, &in); err != nil {
		return agents.Run{}, in, err
	}
	if in.AssistantID == "" {
		return agents.Run{}, in, fault.Invalid("assistant_id", "is required: an assistant's id or a graph's name")
	}
	known, err := in.config()
	if err != nil {
		return agents.Run{}, in, err
	}
	strategy, err := in.strategy(known)
	if err != nil {
		return agents.Run{}, in, err
	}
	metadata, err := object("metadata", in.Metadata)
	if err != nil {
		return agents.Run{}, in, err
	}
	if in.OnDisconnect != "" && in.OnDisconnect != "cancel" && in.OnDisconnect != "continue" {
		return agents.Run{}, in, fault.Invalid("on_disconnect", "must be cancel or continue")
	}
	breaks, err := in.breakpoints()
	if err != nil {
		return agents.Run{}, in, err
	}
	scope := middleware.Scope(c)
	if goesOn, made, err := a.goOn(c, scope, thread, in, metadata, breaks); goesOn || err != nil {
		return made, in, err
	}
	messages, err := parseInput(in.Input, string(scope.User), time.Now().UTC())
	if err != nil {
		return agents.Run{}, in, err
	}
	if err := storable(c.Body()); err != nil {
		return agents.Run{}, in, err
	}
	given, err := in.given()
	if err != nil {
		return agents.Run{}, in, err
	}
	request := run.Request{
		Thread: thread, Assistant: strings.Clone(in.AssistantID), Strategy: strategy, Metadata: metadata,
		Input: agents.RunInput{Messages: messages, Break: breaks, Context: given}, Raw: withoutIdentity(c.Body()), Supersede: true,
	}
	switch in.IfNotExists {
	case "", "reject":
	case "create":
		request.Create = &agents.NewThread{ID: thread}
	default:
		return agents.Run{}, in, fault.Invalid("if_not_exists", "must be reject or create")
	}
	made, err := a.runs.Submit(c.UserContext(), scope, request)
	return made, in, err
}

func (in createRun) config() (knownConfig, error) {
	var known knownConfig
	if len(in.Config) == 0 || string(in.Config) == "null" {
		return known, nil
	}
	if err := json.Unmarshal(in.Config, &known); err != nil {
		return known, fault.Invalid("config", "must be an object whose known keys have the right types")
	}
	broken := map[string]string{}
	if t := known.Configurable.Temperature; t != nil && !(*t >= 0 && *t <= 2) {
		broken["config.configurable.temperature"] = "must be between 0 and 2"
	}
	if m := known.Configurable.MaxTokens; m != nil && (*m < 100 || *m > 10_000) {
		broken["config.configurable.max_tokens"] = "must be between 100 and 10000"
	}
	if len(broken) > 0 {
		return known, fault.InvalidFields(broken)
	}
	return known, nil
}

// strategy reads the run field and, as an alias, the two places inside config.
func (in createRun) strategy(known knownConfig) (agents.Strategy, error) {
	word := in.MultitaskStrategy
	for _, alias := range []string{known.MultitaskStrategy, known.Configurable.MultitaskStrategy} {
		if word == "" {
			word = alias
		}
	}
	return agents.ParseStrategy("multitask_strategy", word)
}

// withoutIdentity keeps a request for the record, without the names of
// identity that its config may carry.
func withoutIdentity(body []byte) json.RawMessage {
	var all map[string]json.RawMessage
	if json.Unmarshal(body, &all) != nil {
		return nil
	}
	for _, place := range []string{"config", "context"} {
		all[place] = strip(all[place], 3)
		if all[place] == nil {
			delete(all, place)
		}
	}
	out, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return out
}

func strip(raw json.RawMessage, depth int) json.RawMessage {
	var m map[string]json.RawMessage
	if depth == 0 || json.Unmarshal(raw, &m) != nil || m == nil {
		return raw
	}
	for _, name := range identityNames {
		delete(m, name)
	}
	for k, v := range m {
		m[k] = strip(v, depth-1)
	}
	out, err := json.Marshal(m)
	if err != nil {
		return raw
	}
	return out
}

// CreateRun is POST /threads/:thread/runs: the run is accepted and goes on by
// itself.
func (a *API) CreateRun(c *fiber.Ctx) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	made, _, err := a.submit(c, thread)
	if err != nil {
		return err
	}
	c.Set("Content-Location", location(made))
	return c.JSON(presentRun(made))
}

// existingThread reads the route's thread; one that is no UUID can't exist.
func existingThread(c *fiber.Ctx) (agents.ThreadID, error) {
	canonical, ok := id.Canonical(param(c, "thread"))
	if !ok {
		return "", fault.NotFound("Thread")
	}
	return agents.ThreadID(canonical), nil
}

func location(r agents.Run) string { return fmt.Sprintf("/threads/%s/runs/%s", r.Thread, r.ID) }

// GetRun is GET /threads/:thread/runs/:run.
func (a *API) GetRun(c *fiber.Ctx) error {
	scope, thread := middleware.Scope(c), threadParam(c)
	r, err := a.threads.Run(c.UserContext(), scope, thread, agents.RunID(param(c, "run")))
	if err != nil {
		return err
	}
	// A run carries what was asked.
	if err := a.opened(c.UserContext(), scope, thread); err != nil {
		return err
	}
	return c.JSON(presentRun(r))
}

func presentRun(r agents.Run) fiber.Map {
	out := fiber.Map{
		"run_id": r.ID, "thread_id": r.Thread, "assistant_id": r.Assistant, "created_at": timestamp(r.CreatedAt),
		"updated_at": timestamp(r.UpdatedAt), "status": r.Status.API(), "metadata": r.Metadata, "kwargs": r.Request,
		"multitask_strategy": r.Strategy,
	}
	if r.CancelReason != "" {
		out["cancel_reason"] = r.CancelReason
	}
	if r.Error != nil {
		out["error"] = r.Error
	}
	if r.Manifest != nil {
		out["manifest"] = r.Manifest
	}
	return out
}

// CancelRun is POST /threads/:thread/runs/:run/cancel?wait=0|1: 202 while the
// run comes to its end, 204 once it has.
func (a *API) CancelRun(c *fiber.Ctx) error {
	if action := c.Query("action", "interrupt"); action != "interrupt" {
		return fault.Invalid("action", "must be interrupt in this version")
	}
	scope, thread, runID := middleware.Scope(c), threadParam(c), agents.RunID(param(c, "run"))
	r, err := a.runs.Cancel(c.UserContext(), scope, thread, runID, "cancelled by API")
	if err != nil {
		return err
	}
	if wait := c.Query("wait"); wait == "1" || wait == "true" {
		if r, err = a.runs.Wait(c.UserContext(), scope, thread, runID); err != nil {
			return err
		}
	}
	if r.Status.Ended() {
		return c.SendStatus(fiber.StatusNoContent)
	}
	return c.Status(fiber.StatusAccepted).JSON(fiber.Map{})
}
