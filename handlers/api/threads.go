package api

import (
	"encoding/json"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

type createThread struct {
	ThreadID string          `json:"thread_id"`
	Metadata json.RawMessage `json:"metadata"`
	IfExists string          `json:"if_exists"`
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
	scope := middleware.Scope(c)
	made, err := a.threads.CreateThread(c.UserContext(), scope, agents.NewThread{ID: thread, Metadata: metadata})
	if fault.Is(err, fault.KindConflict) && in.IfExists == "do_nothing" {
		made, err = a.threads.Thread(c.UserContext(), scope, thread)
		if err == nil {
			err = a.threads.Opened(c.UserContext(), scope, made, time.Now().UTC())
		}
	}
	if err != nil {
		return err
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

// GetThread is GET /threads/:thread.
func (a *API) GetThread(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	thread, err := a.threads.Thread(c.UserContext(), scope, threadParam(c))
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
	return c.JSON(presentThread(thread, state))
}

// timestamp is the API's form of times.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func presentThread(t agents.Thread, s agents.State) fiber.Map {
	return fiber.Map{
		"thread_id": t.ID, "created_at": timestamp(t.CreatedAt), "updated_at": timestamp(t.UpdatedAt),
		"metadata": t.Metadata, "status": t.Status, "config": fiber.Map{}, "values": presentValues(s),
		"interrupts": threadInterrupts(s.Head),
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

// GetState is GET /threads/:thread/state.
func (a *API) GetState(c *fiber.Ctx) error {
	scope, thread := middleware.Scope(c), threadParam(c)
	if err := a.opened(c.UserContext(), scope, thread); err != nil {
		return err
	}
	state, err := a.threads.State(c.UserContext(), scope, thread)
	if err != nil {
		return err
	}
	return c.JSON(presentState(thread, state))
}

func presentState(thread agents.ThreadID, s agents.State) fiber.Map {
	out := fiber.Map{
		"values": presentValues(s), "next": []string{}, "tasks": []any{}, "interrupts": []any{}, "checkpoint": nil,
		"parent_checkpoint": nil, "metadata": fiber.Map{}, "created_at": nil,
	}
	if s.Head == nil {
		return out
	}
	h := s.Head
	tasks := []any{}
	out["next"] = agents.Nodes(h.Next)
	for i, due := range h.Next {
		path := []any{"__pregel_pull", due.Node}
		if due.Input != nil {
			path = []any{"__pregel_push", i}
		}
		tasks = append(tasks, fiber.Map{
			"id": taskID(h, i), "name": due.Node, "path": path, "error": nil, "interrupts": interruptsOf(h, i),
			"checkpoint": nil, "state": nil, "result": nil,
		})
	}
	out["tasks"], out["interrupts"] = tasks, presentInterrupts(h)
	out["created_at"] = timestamp(h.CreatedAt)
	out["checkpoint"] = presentCheckpoint(thread, h)
	if s.Parent != nil {
		out["parent_checkpoint"] = presentCheckpoint(thread, s.Parent)
	}
	out["metadata"] = fiber.Map{
		"source": h.Source, "step": h.Step, "run_id": h.Run, "thread_id": thread, "parents": fiber.Map{},
	}
	return out
}

func presentCheckpoint(thread agents.ThreadID, c *agents.Checkpoint) fiber.Map {
	return fiber.Map{"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": c.ID, "checkpoint_map": nil}
}
