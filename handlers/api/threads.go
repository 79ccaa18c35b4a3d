package api

import (
	"encoding/json"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

type createThread struct {
	ThreadID   string          `json:"thread_id"`
	Metadata   json.RawMessage `json:"metadata"`
	IfExists   string          `json:"if_exists"`
	TTL        json.RawMessage `json:"ttl"`
	Supersteps []superstep     `json:"supersteps"`
}

// CreateThread is POST /threads.
func (a *API) CreateThread(c *fiber.Ctx) error {
	var in createThread
	if err := decode(c, &in); err != nil {
		return err
	}
	metadata, err := object("metadata", in.Metadata)
	if err != nil {
		return err
	}
	thread, err := canonicalThread(in.ThreadID)
	if err != nil {
		return err
	}
	if in.IfExists != "" && in.IfExists != "raise" && in.IfExists != "do_nothing" {
		return fault.Invalid("if_exists", "must be raise or do_nothing")
	}
	if err := storable(c.Body()); err != nil {
		return err
	}
	ttl, err := lifetime(in.TTL)
	if err != nil {
		return err
	}
	scope := middleware.Scope(c)
	seed, err := a.seed(c.UserContext(), scope, metadata, in.Supersteps)
	if err != nil {
		return err
	}
	made, err := a.threads.CreateThread(c.UserContext(), scope, agents.NewThread{ID: thread, Metadata: metadata, TTL: ttl})
	if fault.Is(err, fault.KindConflict) && in.IfExists == "do_nothing" {
		return a.sendThread(c, scope, thread)
	}
	if err != nil {
		return err
	}
	if len(seed) > 0 {
		if err := a.plant(c.UserContext(), scope, made.ID, seed); err != nil {
			return err
		}
		return a.sendThread(c, scope, made.ID)
	}
	return c.JSON(presentThread(made, agents.State{}))
}

// canonicalThread accepts an absent id or a UUID.
func canonicalThread(s string) (agents.ThreadID, error) {
	if s == "" {
		return "", nil
	}
	canonical, ok := id.Canonical(s)
	if !ok {
		return "", fault.Invalid("thread_id", "must be a UUID")
	}
	return agents.ThreadID(canonical), nil
}

// object accepts an absent value, null or a JSON object.
func object(field string, raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return nil, fault.Invalid(field, "must be an object")
	}
	return append(json.RawMessage(nil), raw...), nil
}

// GetThread is GET /threads/:thread?include=ttl.
func (a *API) GetThread(c *fiber.Ctx) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	return a.sendThread(c, middleware.Scope(c), thread)
}

// sendThread answers with a thread and its values.
func (a *API) sendThread(c *fiber.Ctx, scope auth.Scope, id agents.ThreadID) error {
	thread, err := a.threads.Thread(c.UserContext(), scope, id)
	if err != nil {
		return err
	}
	if err := a.threads.Opened(c.UserContext(), scope, thread, time.Now().UTC()); err != nil {
		return err
	}
	state, err := a.threads.State(c.UserContext(), scope, thread.ID)
	if err != nil {
		return err
	}
	body, err := new(encoder).thread(agents.FoundThread{Thread: thread, State: state}, selection{}, included(c, "ttl"))
	if err != nil {
		return err
	}
	return sendJSON(c, body)
}

// timestamp is the API's form of times.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func presentThread(t agents.Thread, s agents.State) fiber.Map {
	out := threadFields(t, s)
	out["values"] = presentValues(s)
	return out
}

// threadFields are a thread's fields but for its values.
func threadFields(t agents.Thread, s agents.State) fiber.Map {
	return fiber.Map{
		"thread_id": t.ID, "created_at": timestamp(t.CreatedAt), "updated_at": timestamp(t.UpdatedAt),
		"metadata": t.Metadata, "status": t.Status, "config": fiber.Map{}, "interrupts": threadInterrupts(s.Head),
	}
}

// presentValues gives a state's public channels; a fresh thread has none.
func presentValues(s agents.State) map[string]any {
	out := map[string]any{}
	if s.Head == nil {
		return out
	}
	for name, value := range agents.Public(s.Values) {
		out[name] = value
	}
	out["messages"] = presentMessages(s.Messages)
	return out
}

func presentCheckpoint(thread agents.ThreadID, ns []string, c *agents.Checkpoint) fiber.Map {
	return fiber.Map{"thread_id": thread, "checkpoint_ns": namespace(ns), "checkpoint_id": c.ID, "checkpoint_map": nil}
}
