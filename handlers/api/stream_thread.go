package api

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// The ways to watch a thread: the words of its stream_mode.
const (
	wayRuns   = "run_modes"    // what each run's own client sees, and run_done
	wayLife   = "lifecycle"    // where runs begin and end
	wayStates = "state_update" // the state after each step
)

func threadModes(c *fiber.Ctx) (map[string]bool, error) {
	ways := map[string]bool{}
	for _, raw := range c.Context().QueryArgs().PeekMulti("stream_mode") {
		var list []string
		if json.Unmarshal(raw, &list) != nil {
			list = []string{string(raw)}
		}
		for _, word := range list {
			if word != wayRuns && word != wayLife && word != wayStates {
				return nil, fault.Invalid("stream_mode", "must be of run_modes, lifecycle, state_update")
			}
			ways[word] = true
		}
	}
	if len(ways) == 0 {
		ways[wayRuns] = true
	}
	return ways, nil
}

// threadProjector has a projector for each run that is under way, as far as it
// knows: of some it hears no end, since the log was cut or since something is told
// of them afterwards.
type threadProjector struct {
	a      *API
	scope  auth.Scope
	thread agents.ThreadID
	ways   map[string]bool
	runs   map[string]*projector
	// heard are the runs that have a projector, the one heard of last at the end.
	heard []string
}

// maxThreadRuns bounds the projectors of a stream. A run that lost its own and is
// heard of again begins with its metadata again.
const maxThreadRuns = 32

func newThreadProjector(a *API, scope auth.Scope, thread agents.ThreadID, ways map[string]bool) *threadProjector {
	return &threadProjector{a: a, scope: scope, thread: thread, ways: ways, runs: map[string]*projector{}}
}

// project gives an envelope's frames; a thread's stream never ends by itself.
func (t *threadProjector) project(n Numbered) ([]frame, bool, error) {
	e, err := event.Parse(n.Payload)
	if err != nil {
		return nil, false, err
	}
	if e.RunID == "" {
		return nil, false, nil
	}
	p, begun, err := t.of(e)
	if err != nil {
		return nil, false, err
	}
	var out []frame
	if begun {
		out = append(out, metadataFrame(agents.Run{ID: p.run, Thread: t.thread, Attempt: e.Attempt}))
	}
	frames, err := p.frames(e)
	if err != nil {
		return nil, false, err
	}
	for _, f := range frames {
		if f.mode == modeValues && t.ways[wayStates] {
			f.event = "state_update"
		}
		out = append(out, f)
	}
	last, over := p.last(e)
	if !over {
		return out, false, nil
	}
	t.forget(e.RunID)
	if last.event == "error" && t.ways[wayRuns] {
		out = append(out, last)
	}
	if t.ways[wayRuns] || t.ways[wayLife] {
		done, err := t.done(p.run)
		if err != nil {
			return nil, false, err
		}
		done.nth = 1
		out = append(out, done)
	}
	return out, false, nil
}

// of finds or makes the projector of an envelope's run.
func (t *threadProjector) of(e event.Envelope) (p *projector, begun bool, err error) {
	if p, ok := t.runs[e.RunID]; ok {
		t.note(e.RunID)
		return p, false, nil
	}
	run := agents.Run{ID: agents.RunID(e.RunID), Thread: t.thread, Attempt: e.Attempt}
	modes := streamModes{}
	if t.ways[wayRuns] {
		ctx, cancel := context.WithTimeout(context.Background(), readLimit)
		defer cancel()
		known, err := t.a.threads.Run(ctx, t.scope, t.thread, run.ID)
		switch {
		case err == nil:
			run.Assistant = known.Assistant
			modes = requestedModes(known)
		case !fault.Is(err, fault.KindNotFound): // rolled back since
			return nil, false, err
		}
	}
	if t.ways[wayLife] {
		modes[modeLifecycle] = true
	}
	if t.ways[wayStates] {
		modes[modeValues] = true
	}
	p = newProjector(modes, true, run, func(step stepOf) (agents.State, error) {
		ctx, cancel := context.WithTimeout(context.Background(), readLimit)
		defer cancel()
		return t.a.stateOf(ctx, t.scope, t.thread, step)
	})
	t.runs[e.RunID] = p
	t.note(e.RunID)
	return p, true, nil
}

// note makes a run the one heard of last, and forgets what is too much.
func (t *threadProjector) note(run string) {
	if n := len(t.heard); n > 0 && t.heard[n-1] == run {
		return
	}
	t.heard = append(slices.DeleteFunc(t.heard, func(r string) bool { return r == run }), run)
	if len(t.heard) > maxThreadRuns {
		t.forget(t.heard[0])
	}
}

func (t *threadProjector) forget(run string) {
	delete(t.runs, run)
	t.heard = slices.DeleteFunc(t.heard, func(r string) bool { return r == run })
}

// cut forgets all runs: what the log said of them is gone, perhaps their end.
func (t *threadProjector) cut() {
	clear(t.runs)
	t.heard = nil
}

// requestedModes are those that a run's own client asked for.
func requestedModes(r agents.Run) streamModes {
	var asked struct {
		StreamMode json.RawMessage `json:"stream_mode"`
	}
	if json.Unmarshal(r.Request, &asked) != nil {
		return streamModes{modeValues: true}
	}
	modes, err := parseModes(asked.StreamMode)
	if err != nil {
		return streamModes{modeValues: true}
	}
	return modes
}

// done tells that a run is over, and how.
func (t *threadProjector) done(run agents.RunID) (frame, error) {
	ctx, cancel := context.WithTimeout(context.Background(), readLimit)
	defer cancel()
	status := "rollback"
	known, err := t.a.threads.Run(ctx, t.scope, t.thread, run)
	switch {
	case err == nil:
		status = known.Status.API()
	case !fault.Is(err, fault.KindNotFound):
		return frame{}, err
	}
	raw, err := json.Marshal(fiber.Map{"run_id": run, "status": status})
	return frame{mode: modeLifecycle + 1, event: "run_done", data: raw}, err
}
