package api

import (
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
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
	Context           json.RawMessage `json:"context"`
	MultitaskStrategy string          `json:"multitask_strategy"`
	IfNotExists       string          `json:"if_not_exists"`
	OnDisconnect      string          `json:"on_disconnect"`
	OnCompletion      string          `json:"on_completion"`
	AfterSeconds      *float64        `json:"after_seconds"`
	Webhook           string          `json:"webhook"`
	Checkpoint        *checkpointRef  `json:"checkpoint"`
	CheckpointID      string          `json:"checkpoint_id"`
	InterruptBefore   json.RawMessage `json:"interrupt_before"`
	InterruptAfter    json.RawMessage `json:"interrupt_after"`
	// The rest is checked and changes nothing here: each step is stored before the
	// next one begins, and every stream can be resumed.
	Durability       string          `json:"durability"`
	CheckpointDuring *bool           `json:"checkpoint_during"`
	StreamResumable  *bool           `json:"stream_resumable"`
	FeedbackKeys     []string        `json:"feedback_keys"`
	LangSmithTracer  json.RawMessage `json:"langsmith_tracer"`
	StrictResume     *bool           `json:"strictResume"`
}

// checkpointRef is how a client names a checkpoint of a thread.
type checkpointRef struct {
	CheckpointID string `json:"checkpoint_id"`
	CheckpointNS string `json:"checkpoint_ns"`
}

// wanted is a body that was read and checked.
type wanted struct {
	createRun
	request run.Request
	// command is how it goes on, nil for new input; checkpoint is where.
	command    *run.Command
	checkpoint string
}

// cancels reports whether the run ends with a caller who is gone, unless the body
// says what else.
func (in createRun) cancels(otherwise bool) bool {
	if in.OnDisconnect == "" {
		return otherwise
	}
	return in.OnDisconnect == "cancel"
}

// temporary reports whether the thread of a run that has none is to go with it.
func (in createRun) temporary() bool { return in.OnCompletion != "keep" }

// submit reads a body and places its run on a thread. Without a thread the run is
// stateless: see place.
func (a *API) submit(c *fiber.Ctx, thread agents.ThreadID) (agents.Run, createRun, error) {
	w, err := a.read(c.Body(), middleware.Scope(c))
	if err != nil {
		return agents.Run{}, w.createRun, err
	}
	stateless := thread == ""
	if stateless {
		thread = agents.ThreadID(id.New())
	}
	made, err := a.place(c.UserContext(), middleware.Scope(c), thread, stateless, w)
	return made, w.createRun, err
}

// asked reads the body of a run whose end the caller waits for, and where it goes:
// without a thread it is stateless, and its own is named here, so that whoever waits
// can begin before it is there.
func (a *API) asked(c *fiber.Ctx, thread agents.ThreadID) (w wanted, on agents.ThreadID, stateless bool, err error) {
	if w, err = a.read(c.Body(), middleware.Scope(c)); err != nil || thread != "" {
		return w, thread, false, err
	}
	return w, agents.ThreadID(id.New()), true, nil
}

// read reads and checks the body of a run.
func (a *API) read(body []byte, scope auth.Scope) (wanted, error) {
	var w wanted
	if err := decodeBody(body, &w.createRun); err != nil {
		return w, err
	}
	in := &w.createRun
	if in.AssistantID == "" {
		return w, fault.Invalid("assistant_id", "is required: an assistant's id or a graph's name")
	}
	known, err := in.config()
	if err != nil {
		return w, err
	}
	r := run.Request{Assistant: in.AssistantID, Webhook: in.Webhook, Supersede: true}
	if known.RecursionLimit != nil {
		if r.Input.RecursionLimit = *known.RecursionLimit; r.Input.RecursionLimit < 1 {
			return w, fault.Invalid("config.recursion_limit", "must be at least 1")
		}
	}
	if r.Strategy, err = in.strategy(known); err != nil {
		return w, err
	}
	if r.Metadata, err = object("metadata", in.Metadata); err != nil {
		return w, err
	}
	if err := in.words(); err != nil {
		return w, err
	}
	if err := a.reachable(in.Webhook); err != nil {
		return w, err
	}
	if r.After, err = in.delay(); err != nil {
		return w, err
	}
	if r.Input.Break, err = in.breakpoints(); err != nil {
		return w, err
	}
	if r.Input.Context, err = in.given(); err != nil {
		return w, err
	}
	if w.checkpoint, err = in.at(); err != nil {
		return w, err
	}
	now := time.Now().UTC()
	if w.command, err = in.commands(&r.Input, string(scope.User), now); err != nil {
		return w, err
	}
	switch {
	case w.command != nil: // input beside it is not read
	case absent(in.Input):
		w.command = &run.Command{}
	default:
		if err := parseInput(in.Input, &r.Input, string(scope.User), now); err != nil {
			return w, err
		}
	}
	if err := storable(body); err != nil {
		return w, err
	}
	r.Raw = withoutIdentity(body)
	w.request = r
	return w, nil
}

// place submits what was read. A stateless run makes its thread, which goes when it
// is over, unless on_completion keeps it.
func (a *API) place(ctx context.Context, scope auth.Scope, thread agents.ThreadID, stateless bool, w wanted) (agents.Run, error) {
	r := w.request
	r.Thread = thread
	switch {
	case stateless && w.checkpoint != "":
		return agents.Run{}, agents.ErrCheckpointNotFound
	case stateless && w.command != nil:
		return agents.Run{}, fault.Invalid("input", "is required: a run without a thread has nothing to go on with")
	case stateless:
		r.Create = &agents.NewThread{ID: thread, Temporary: w.temporary()}
	case w.IfNotExists == "create":
		r.Create = &agents.NewThread{ID: thread}
	}
	if w.checkpoint != "" {
		var err error
		if r.Input.Checkpoint, err = a.runs.CurrentCheckpoint(ctx, scope, thread, w.checkpoint); err != nil {
			return agents.Run{}, err
		}
	}
	if w.command != nil {
		return a.runs.GoOn(ctx, scope, r, *w.command)
	}
	return a.runs.Submit(ctx, scope, r)
}

// words checks the fields that take one of a few words, and the webhook's address.
func (in createRun) words() error {
	for _, f := range []struct {
		name, value string
		words       []string
	}{
		{"if_not_exists", in.IfNotExists, []string{"reject", "create"}},
		{"on_disconnect", in.OnDisconnect, []string{"cancel", "continue"}},
		{"on_completion", in.OnCompletion, []string{"delete", "keep"}},
		{"durability", in.Durability, []string{"sync", "async", "exit"}},
	} {
		if err := oneOf(f.name, f.value, f.words...); err != nil {
			return err
		}
	}
	return webhook(in.Webhook)
}

// oneOf checks a word; the empty one leaves the choice.
func oneOf(field, word string, words ...string) error {
	if word == "" {
		return nil
	}
	rule := "must be "
	for i, w := range words {
		if word == w {
			return nil
		}
		switch {
		case i > 0 && i == len(words)-1:
			rule += " or "
		case i > 0:
			rule += ", "
		}
		rule += w
	}
	return fault.Invalid(field, rule)
}

// webhook checks the form of an address to tell of a run's end. Where it may lead
// is for whoever calls it.
func webhook(address string) error {
	if address == "" {
		return nil
	}
	if utf8.RuneCountInString(address) > agents.MaxWebhook {
		return fault.Invalid("webhook", "must be at most "+strconv.Itoa(agents.MaxWebhook)+" characters")
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fault.Invalid("webhook", "must be an http or https address")
	}
	return nil
}

// delay reads how long the run waits before it takes its place in line.
func (in createRun) delay() (time.Duration, error) {
	if in.AfterSeconds == nil {
		return 0, nil
	}
	most := agents.MaxDelay.Seconds()
	if s := *in.AfterSeconds; !(s >= 0 && s <= most) {
		return 0, fault.Invalid("after_seconds", "must be between 0 and "+strconv.Itoa(int(most)))
	}
	return time.Duration(*in.AfterSeconds * float64(time.Second)), nil
}

// at reads the checkpoint from which the run is to go on.
func (in createRun) at() (string, error) {
	if in.Checkpoint == nil {
		return in.CheckpointID, nil
	}
	if in.Checkpoint.CheckpointNS != "" {
		return "", fault.Invalid("checkpoint.checkpoint_ns", "must be empty: a run goes on in the thread's own graph, not in a subgraph")
	}
	return cmp.Or(in.Checkpoint.CheckpointID, in.CheckpointID), nil
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

// absent reports whether a field was left out, or is null.
func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }
