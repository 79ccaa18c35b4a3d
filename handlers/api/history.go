package api

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
)

// checkpointName is how clients name a checkpoint.
type checkpointName struct {
	ID string `json:"checkpoint_id"`
	NS string `json:"checkpoint_ns"`
}

// ofThread refuses the checkpoint of a subgraph.
func (n checkpointName) ofThread(field string) error {
	if n.NS != "" {
		return fault.Invalid(field+".checkpoint_ns", "must be empty: the states of subgraphs can't be named")
	}
	return nil
}

// GetState is GET /threads/:thread/state?select=.
func (a *API) GetState(c *fiber.Ctx) error { return a.sendState(c, "") }

// GetStateAt is GET /threads/:thread/state/:checkpoint.
func (a *API) GetStateAt(c *fiber.Ctx) error { return a.sendState(c, param(c, "checkpoint")) }

// PostStateAt is POST /threads/:thread/state/checkpoint.
func (a *API) PostStateAt(c *fiber.Ctx) error {
	var in struct {
		Checkpoint checkpointName `json:"checkpoint"`
	}
	if err := decode(c, &in); err != nil {
		return err
	}
	if err := in.Checkpoint.ofThread("checkpoint"); err != nil {
		return err
	}
	return a.sendState(c, strings.Clone(in.Checkpoint.ID))
}

// sendState answers with a thread's state at a checkpoint, or the newest.
func (a *API) sendState(c *fiber.Ctx, checkpoint string) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	names, err := fields(c)
	if err != nil {
		return err
	}
	scope, sel := middleware.Scope(c), selectionOf(names)
	if err := a.opened(c.UserContext(), scope, thread); err != nil {
		return err
	}
	var state agents.State
	switch {
	case checkpoint != "":
		var found []agents.State
		found, err = a.threads.History(c.UserContext(), scope, thread,
			agents.HistoryQuery{Limit: 1, Only: checkpoint, Bare: !sel.messages(), Followed: sel.wants("tasks")})
		if err == nil && len(found) == 0 {
			err = agents.ErrCheckpointNotFound
		}
		if err == nil {
			state = found[0]
		}
	case sel.messages():
		state, err = a.threads.State(c.UserContext(), scope, thread)
	default:
		state, err = a.threads.Outline(c.UserContext(), scope, thread)
	}
	if err != nil {
		return err
	}
	if sel.wants("tasks") {
		of := []agents.State{state}
		if err := a.failures(c.UserContext(), scope, thread, of); err != nil {
			return err
		}
		state = of[0]
	}
	var out bytes.Buffer
	if err := newEncoder().state(&out, thread, state, sel); err != nil {
		return err
	}
	return sendJSON(c, out.Bytes())
}

// History is POST and GET /threads/:thread/history.
func (a *API) History(c *fiber.Ctx) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	var in struct {
		Before     json.RawMessage `json:"before"`
		Metadata   json.RawMessage `json:"metadata"`
		Checkpoint checkpointName  `json:"checkpoint"`
	}
	q := agents.HistoryQuery{Before: utils.CopyString(c.Query("before"))}
	if c.Method() != fiber.MethodGet {
		if err := decode(c, &in); err != nil {
			return err
		}
		if q.Before, err = before(in.Before); err != nil {
			return err
		}
		if q.Metadata, err = object("metadata", in.Metadata); err != nil {
			return err
		}
		if err := storable(c.Body()); err != nil {
			return err
		}
		if err := in.Checkpoint.ofThread("checkpoint"); err != nil {
			return err
		}
		q.Only = strings.Clone(in.Checkpoint.ID)
	}
	if q.Limit, _, err = page(c); err != nil {
		return err
	}
	names, err := fields(c)
	if err != nil {
		return err
	}
	scope, sel := middleware.Scope(c), selectionOf(names)
	q.Bare, q.Followed = !sel.messages(), sel.wants("tasks")
	if err := a.opened(c.UserContext(), scope, thread); err != nil {
		return err
	}
	states, err := a.threads.History(c.UserContext(), scope, thread, q)
	if err != nil {
		return err
	}
	if sel.wants("tasks") {
		if err := a.failures(c.UserContext(), scope, thread, states); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	e := newEncoder()
	err = list(&out, states, func(s agents.State) error { return e.state(&out, thread, s, sel) })
	if err != nil {
		return err
	}
	return sendJSON(c, out.Bytes())
}

// before reads where a page of history begins: a checkpoint's id, its name, or a
// config that has it.
func before(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var id string
	if json.Unmarshal(raw, &id) == nil {
		return id, nil
	}
	var named struct {
		checkpointName
		Configurable checkpointName `json:"configurable"`
	}
	if json.Unmarshal(raw, &named) != nil {
		return "", fault.Invalid("before", "must be a checkpoint's id or a config with configurable.checkpoint_id")
	}
	if named.ID == "" {
		named.ID = named.Configurable.ID
	}
	if named.ID == "" {
		return "", fault.Invalid("before", "must name a checkpoint in configurable.checkpoint_id")
	}
	return named.ID, nil
}

func presentState(thread agents.ThreadID, s agents.State) fiber.Map {
	out := stateFields(thread, s)
	out["values"] = presentValues(s)
	return out
}

// stateFields are a state's fields but for its values.
func stateFields(thread agents.ThreadID, s agents.State) fiber.Map {
	out := fiber.Map{
		"next": []string{}, "tasks": []any{}, "interrupts": []any{}, "checkpoint": nil,
		"parent_checkpoint": nil, "metadata": fiber.Map{}, "created_at": nil,
	}
	if s.Head == nil {
		return out
	}
	h := s.Head
	out["next"] = agents.Nodes(h.Next)
	out["tasks"], out["interrupts"] = presentTasks(s), presentInterrupts(h)
	out["created_at"] = timestamp(h.CreatedAt)
	out["checkpoint"] = presentCheckpoint(thread, h)
	if s.Parent != nil {
		out["parent_checkpoint"] = presentCheckpoint(thread, s.Parent)
	}
	metadata := fiber.Map{}
	if len(h.Metadata) > 0 && json.Unmarshal(h.Metadata, &metadata) != nil {
		metadata = fiber.Map{}
	}
	maps.Copy(metadata, fiber.Map{"source": h.Source, "step": h.Step, "thread_id": thread, "parents": fiber.Map{}})
	if h.Run != "" {
		metadata["run_id"] = h.Run
	}
	out["metadata"] = metadata
	return out
}

// presentTasks lists what was due at a checkpoint, with what came of it where a
// checkpoint or the results of an unfinished step tell.
func presentTasks(s agents.State) []fiber.Map {
	h, out := s.Head, []fiber.Map{}
	results, failed := resultsOf(s), errorsOf(s)
	for i, due := range h.Next {
		path := []any{"__pregel_pull", due.Node}
		if due.Input != nil {
			path = []any{"__pregel_push", i}
		}
		out = append(out, fiber.Map{
			"id": taskID(h, i), "name": due.Node, "path": path, "error": failed[i], "interrupts": interruptsOf(h, i),
			"checkpoint": nil, "state": nil, "result": results[i],
		})
	}
	return out
}

// resultsOf gives what each task that was due wrote; nil where nothing tells.
func resultsOf(s agents.State) []any {
	out := make([]any, len(s.Head.Next))
	for i := range out {
		if p, ok := agents.PendingOf(s.Pending, i); ok && p.Result != nil {
			out[i] = presentWrites(p.Result.Writes)
		}
	}
	if s.Followed == nil || s.Followed.Source != agents.SourceLoop || len(s.Followed.Interrupts) > 0 {
		return out
	}
	stepped := graph.Stepped{State: agents.State{Head: &s.Followed.Checkpoint}, Was: s.Head.Next, Messages: s.Followed.Messages}
	updates := stepped.Updates()
	for i, due := range s.Head.Next {
		at := slices.IndexFunc(updates, func(u graph.Update) bool { return u.Node == due.Node })
		if at >= 0 {
			out[i] = presentWrites(updates[at].Writes)
			updates = updates[at+1:]
		}
	}
	return out
}

// presentWrites gives what a task wrote by channel, as the node returned it.
func presentWrites(writes []agents.Change) fiber.Map {
	out := fiber.Map{}
	var messages []map[string]any
	for _, w := range writes {
		switch {
		case w.Message != nil:
			messages = append(messages, presentMessage(*w.Message))
		case w.Remove != "":
			messages = append(messages, map[string]any{"type": "remove", "id": w.Remove})
		case w.Delta != nil && !agents.Hidden(w.Channel):
			value := w.Delta.Value
			if w.Delta.From != nil {
				value = w.Delta.From
			}
			out[w.Channel] = value
		}
	}
	if messages != nil {
		out["messages"] = messages
	}
	return out
}
