package api

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// ThreadShelf keeps threads and their histories.
type ThreadShelf interface {
	PatchThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID, p agents.ThreadPatch) (agents.Thread, error)
	DeleteThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID) error
	RetireThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID, how agents.RetentionStrategy) (bool, error)
	CopyThread(ctx context.Context, scope auth.Scope, from, to agents.ThreadID) error
	SearchThreads(ctx context.Context, scope auth.Scope, q agents.ThreadSearch) ([]agents.FoundThread, int, error)
	CountThreads(ctx context.Context, scope auth.Scope, q agents.ThreadSearch) (int, error)
	// Outline is State without the messages.
	Outline(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.State, error)
	History(ctx context.Context, scope auth.Scope, thread agents.ThreadID, q agents.HistoryQuery) ([]agents.State, error)
	// Failures gives why runs failed, of those that did.
	Failures(ctx context.Context, scope auth.Scope, thread agents.ThreadID, runs []agents.RunID) (map[agents.RunID]agents.RunError, error)
}

const (
	// maxSupersteps bounds the steps that a new thread is given, maxUpdates what one
	// of them holds.
	maxSupersteps = 1000
	maxUpdates    = 100
	// undoing bounds the removal of a thread that could not be given its steps.
	undoing = 10 * time.Second
)

// superstep is a step that a new thread is given.
type superstep struct {
	Updates []struct {
		Values  json.RawMessage `json:"values"`
		Command json.RawMessage `json:"command"`
		AsNode  string          `json:"as_node"`
	} `json:"updates"`
}

// nodeName gives the engine's name of what clients call the input.
func nodeName(name string) string {
	if name == "__input__" {
		return graph.Start
	}
	return strings.Clone(name)
}

// seed reads and checks the steps that a new thread is given.
func (a *API) seed(ctx context.Context, scope auth.Scope, metadata json.RawMessage, steps []superstep) ([]run.Change, error) {
	if len(steps) == 0 {
		return nil, nil
	}
	if len(steps) > maxSupersteps {
		return nil, fault.Invalid("supersteps", fmt.Sprintf("must be at most %d", maxSupersteps))
	}
	out := make([]run.Change, len(steps))
	for i, s := range steps {
		if len(s.Updates) == 0 || len(s.Updates) > maxUpdates {
			return nil, fault.Invalid(fmt.Sprintf("supersteps[%d].updates", i), fmt.Sprintf("must hold 1 to %d updates", maxUpdates))
		}
		for j, u := range s.Updates {
			field := fmt.Sprintf("supersteps[%d].updates[%d]", i, j)
			values, err := commanded(field, u.Values, u.Command)
			if err != nil {
				return nil, err
			}
			change := run.Change{AsNode: nodeName(u.AsNode)}
			if err := stateValues(&change, values, string(scope.User)); err != nil {
				return nil, err
			}
			if j == 0 {
				out[i] = change
			} else {
				more := change.With
				change.With = nil
				out[i].With = append(append(out[i].With, change), more...)
			}
		}
	}
	return out, a.runs.Seedable(ctx, scope, metadata, out)
}

// commanded gives what a command updates where there are no values.
func commanded(field string, values, raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return values, nil
	}
	var cmd command
	if json.Unmarshal(raw, &cmd) != nil {
		return nil, fault.Invalid(field+".command", "must be an object")
	}
	for name, part := range map[string]json.RawMessage{"goto": cmd.Goto, "resume": cmd.Resume} {
		if len(part) > 0 && string(part) != "null" {
			return nil, fault.Invalid(field+".command."+name, "has no meaning in a step that is given: as_node says what is due next")
		}
	}
	if len(values) == 0 || string(values) == "null" {
		return cmd.Update, nil
	}
	return values, nil
}

// plant gives a new thread its steps; one that can't have them all is removed.
func (a *API) plant(ctx context.Context, scope auth.Scope, thread agents.ThreadID, steps []run.Change) error {
	for _, c := range steps {
		if _, err := a.runs.UpdateState(ctx, scope, thread, c); err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoing)
			defer cancel()
			if gone := a.threads.DeleteThread(undo, scope, thread); gone != nil {
				a.log.WarnContext(ctx, "a thread that could not be given its steps could not be removed", "thread_id", thread, "err", gone)
			}
			return err
		}
	}
	return nil
}

// lifetime reads a ttl: a number of minutes, or {ttl, strategy}.
func lifetime(raw json.RawMessage) (*agents.TTL, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	t := agents.TTL{Strategy: agents.DeleteThread}
	if json.Unmarshal(raw, &t.Minutes) != nil {
		var in struct {
			TTL      float64 `json:"ttl"`
			Strategy string  `json:"strategy"`
		}
		if json.Unmarshal(raw, &in) != nil {
			return nil, fault.Invalid("ttl", "must be a number of minutes, or an object with ttl and strategy")
		}
		t.Minutes = in.TTL
		if in.Strategy != "" {
			t.Strategy = agents.RetentionStrategy(in.Strategy)
		}
	}
	return &t, t.Check()
}

// presentTTL tells of a thread's own lifetime; nil if it has none.
func presentTTL(t agents.Thread) any {
	if t.TTL == nil {
		return nil
	}
	return fiber.Map{"strategy": t.TTL.Strategy, "ttl_minutes": t.TTL.Minutes, "expires_at": timestamp(t.TTL.After(t.UpdatedAt))}
}

// included reports whether a request asks for something that is left out otherwise.
func included(c *fiber.Ctx, what string) bool {
	for _, raw := range c.Context().QueryArgs().PeekMulti("include") {
		if slices.Contains(strings.Split(string(raw), ","), what) {
			return true
		}
	}
	return false
}

// PatchThread is PATCH /threads/:thread.
func (a *API) PatchThread(c *fiber.Ctx) error {
	thread, p, err := patch(c)
	if err != nil {
		return err
	}
	scope := middleware.Scope(c)
	if _, err = a.threads.PatchThread(c.UserContext(), scope, thread, p); err != nil {
		return err
	}
	if strings.Contains(c.Get("Prefer"), "return=minimal") {
		return c.SendStatus(fiber.StatusNoContent)
	}
	return a.sendThread(c, scope, thread)
}

// PatchState is PATCH /threads/:thread/state: metadata goes to the thread, for
// checkpoints never change.
func (a *API) PatchState(c *fiber.Ctx) error {
	thread, p, err := patch(c)
	if err != nil {
		return err
	}
	if _, err = a.threads.PatchThread(c.UserContext(), middleware.Scope(c), thread, p); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

func patch(c *fiber.Ctx) (agents.ThreadID, agents.ThreadPatch, error) {
	var p agents.ThreadPatch
	thread, err := existingThread(c)
	if err != nil {
		return "", p, err
	}
	var in struct {
		Metadata json.RawMessage `json:"metadata"`
		TTL      json.RawMessage `json:"ttl"`
	}
	if err := decode(c, &in); err != nil {
		return "", p, err
	}
	if p.Metadata, err = object("metadata", in.Metadata); err != nil {
		return "", p, err
	}
	if err := storable(c.Body()); err != nil {
		return "", p, err
	}
	p.TTL, err = lifetime(in.TTL)
	return thread, p, err
}

// DeleteThread is DELETE /threads/:thread.
func (a *API) DeleteThread(c *fiber.Ctx) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	if err := a.threads.DeleteThread(c.UserContext(), middleware.Scope(c), thread); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// CopyThread is POST /threads/:thread/copy.
func (a *API) CopyThread(c *fiber.Ctx) error {
	from, err := existingThread(c)
	if err != nil {
		return err
	}
	scope, to := middleware.Scope(c), agents.ThreadID(id.New())
	if err := a.opened(c.UserContext(), scope, from); err != nil {
		return err
	}
	if err := a.threads.CopyThread(c.UserContext(), scope, from, to); err != nil {
		return err
	}
	return a.sendThread(c, scope, to)
}

// PruneThreads is POST /threads/prune. Threads that are not there, or that somebody
// works on or waits for, are passed over.
func (a *API) PruneThreads(c *fiber.Ctx) error {
	var in struct {
		Threads  []string `json:"thread_ids"`
		Strategy string   `json:"strategy"`
	}
	if err := decode(c, &in); err != nil {
		return err
	}
	if len(in.Threads) == 0 || len(in.Threads) > agents.MaxThreads {
		return fault.Invalid("thread_ids", fmt.Sprintf("must hold 1 to %d ids", agents.MaxThreads))
	}
	how := agents.DeleteThread
	switch in.Strategy {
	case "", string(agents.DeleteThread):
	case string(agents.KeepLatest):
		how = agents.KeepLatest
	default:
		return fault.Invalid("strategy", "must be delete or keep_latest")
	}
	ids, err := canonicalThreads("thread_ids", in.Threads)
	if err != nil {
		return err
	}
	pruned := 0
	for _, thread := range ids {
		done, err := a.threads.RetireThread(c.UserContext(), middleware.Scope(c), thread, how)
		if err != nil {
			return err
		}
		if done {
			pruned++
		}
	}
	return c.JSON(fiber.Map{"pruned_count": pruned})
}

// canonicalThreads reads ids of threads, each once.
func canonicalThreads(field string, all []string) ([]agents.ThreadID, error) {
	out := make([]agents.ThreadID, 0, len(all))
	seen := make(map[string]bool, len(all))
	for i, s := range all {
		canonical, ok := id.Canonical(s)
		if !ok {
			return nil, fault.Invalid(fmt.Sprintf("%s[%d]", field, i), "must be a UUID")
		}
		if !seen[canonical] {
			seen[canonical] = true
			out = append(out, agents.ThreadID(canonical))
		}
	}
	return out, nil
}
