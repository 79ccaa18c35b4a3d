package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
)

// Streams is what streaming needs beside threads and runs. None of it checks
// whether the scope may read the thread but StateOfStep and RunFirst.
type Streams interface {
	// Follow begins at the newest number of a thread's log, FollowFrom after one.
	Follow(ctx context.Context, org auth.OrgID, thread agents.ThreadID) (Feed, error)
	FollowFrom(ctx context.Context, org auth.OrgID, thread agents.ThreadID, after int64) (Feed, error)
	// StateOfStep reads the state at a step of a line; alone is the innermost line around
	// a subgraph's, or that itself, which begins with nothing of its parent's.
	StateOfStep(ctx context.Context, scope auth.Scope, thread agents.ThreadID, line agents.LineID, step int, alone agents.LineID) (agents.State, error)
	// RunFirst gives the number of a run's first envelope; zero if there is none.
	RunFirst(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) (int64, error)
	// Live reports whether the key or session that a scope comes from still holds.
	Live(ctx context.Context, scope auth.Scope) (bool, error)
}

// streamOptions are what a request says of its stream.
type streamOptions struct {
	StreamMode      json.RawMessage `json:"stream_mode"`
	StreamSubgraphs bool            `json:"stream_subgraphs"`
	modes           streamModes
}

func streamOptionsOf(c *fiber.Ctx) (o streamOptions, err error) {
	if err := decode(c, &o); err != nil {
		return o, err
	}
	o.modes, err = parseModes(o.StreamMode)
	return o, err
}

// StreamRun is POST /threads/:thread/runs/stream: a new run, and what happens in
// it until it ends. The feed begins before the run does, so nothing is missed.
func (a *API) StreamRun(c *fiber.Ctx) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	return a.submitAndStream(c, thread)
}

// StreamStateless is POST /runs/stream: the same on a thread of its own, which goes
// when the run is over, unless on_completion keeps it.
func (a *API) StreamStateless(c *fiber.Ctx) error { return a.submitAndStream(c, "") }

func (a *API) submitAndStream(c *fiber.Ctx, thread agents.ThreadID) error {
	options, err := streamOptionsOf(c)
	if err != nil {
		return err
	}
	scope := middleware.Scope(c)
	read, thread, stateless, err := a.asked(c, thread)
	if err != nil {
		return err
	}
	feed, err := a.streams.Follow(c.UserContext(), scope.Org, thread)
	if err != nil {
		return err
	}
	made, err := a.place(c.UserContext(), scope, thread, stateless, read)
	if err != nil {
		feed.Close()
		return err
	}
	w := a.watching(scope, made, options, feed)
	w.from = spot{seq: feed.At()}
	if read.cancels(false) {
		w.gone = a.cancelling(scope, made)
	}
	if stateless {
		w.projector.stateless = true
		if read.temporary() {
			w.done = func() { a.runs.Discard(made) }
		}
	}
	c.Set(fiber.HeaderContentLocation, locationOf(made, stateless))
	return a.send(c, made, w, true, locationOf(made, stateless))
}

// JoinStream is GET /threads/:thread/runs/:run/stream: what happens in a run from
// now on, or after the frame that Last-Event-ID names; -1 begins with the run.
func (a *API) JoinStream(c *fiber.Ctx) error {
	if err := a.staying(); err != nil {
		return err
	}
	scope, thread := middleware.Scope(c), threadParam(c)
	r, err := a.threads.Run(c.UserContext(), scope, thread, agents.RunID(param(c, "run")))
	if err != nil {
		return err
	}
	if err := a.opened(c.UserContext(), scope, thread); err != nil {
		return err
	}
	return a.join(c, scope, r, locationOf(r, false), false)
}

// JoinStateless is GET /runs/:run/stream: JoinStream of a run whose thread the
// client doesn't know.
func (a *API) JoinStateless(c *fiber.Ctx) error {
	if err := a.staying(); err != nil {
		return err
	}
	scope := middleware.Scope(c)
	r, err := a.recorded.RunAnywhere(c.UserContext(), scope, agents.RunID(param(c, "run")))
	if err != nil {
		return err
	}
	if err := a.opened(c.UserContext(), scope, r.Thread); err != nil {
		return err
	}
	return a.join(c, scope, r, locationOf(r, true), true)
}

func (a *API) join(c *fiber.Ctx, scope auth.Scope, r agents.Run, location string, stateless bool) error {
	options, err := queryOptions(c)
	if err != nil {
		return err
	}
	cancels, err := yes(c, "cancel_on_disconnect", false)
	if err != nil {
		return err
	}
	last := utils.CopyString(c.Get("Last-Event-ID"))
	var from spot
	known := last != "" && last != "-1"
	if known {
		var ok bool
		if from, ok = parseSpot(last); !ok {
			return fault.Invalid("Last-Event-ID", "must be the id of a frame of this server, or -1")
		}
	}
	first, err := a.streams.RunFirst(c.UserContext(), scope, r.Thread, r.ID)
	if err != nil {
		return err
	}
	if first == 0 {
		first = 1 // nothing is told of it yet
	}
	feed, err := a.feed(c, scope, r, last, first, &from)
	if err != nil {
		return err
	}
	w := a.watching(scope, r, options, feed)
	w.from, w.project = from, projectOne(w.projector, from)
	w.projector.stateless = stateless
	if cancels {
		w.gone = a.cancelling(scope, r)
	}
	return a.send(c, r, w, !known, location)
}

// feed begins with the run, so that the projector hears what the client knows
// already; from says what is sent.
func (a *API) feed(c *fiber.Ctx, scope auth.Scope, r agents.Run, last string, first int64, from *spot) (Feed, error) {
	feed, err := a.streams.FollowFrom(c.UserContext(), scope.Org, r.Thread, first-1)
	if err != nil {
		return nil, err
	}
	switch last {
	case "-1":
		*from = spot{seq: first - 1}
	case "":
		now, err := a.streams.Follow(c.UserContext(), scope.Org, r.Thread)
		if err != nil {
			feed.Close()
			return nil, err
		}
		*from = spot{seq: max(now.At(), first-1), mode: modeLifecycle + 1}
		now.Close()
		if r.Status.Ended() || r.Status == agents.RunWaiting {
			from.mode = modeLifecycle // the end itself is told again
		}
	}
	return feed, nil
}

// queryOptions are streamOptions of a GET.
func queryOptions(c *fiber.Ctx) (o streamOptions, err error) {
	words := []string{}
	for _, raw := range c.Context().QueryArgs().PeekMulti("stream_mode") {
		var list []string
		if json.Unmarshal(raw, &list) == nil {
			words = append(words, list...)
			continue
		}
		words = append(words, string(raw))
	}
	if o.StreamSubgraphs, err = yes(c, "stream_subgraphs", true); err != nil {
		return o, err
	}
	if len(words) == 0 {
		words = []string{"values", "updates", "messages-tuple", "custom"}
	}
	o.modes, err = modesOf(words)
	return o, err
}

// watched is a stream of one run.
type watched struct {
	stream
	projector *projector
}

func (a *API) watching(scope auth.Scope, r agents.Run, o streamOptions, feed Feed) *watched {
	ctx := context.Background()
	w := &watched{projector: newProjector(o.modes, o.StreamSubgraphs, r, func(step stepOf) (agents.State, error) {
		ctx, cancel := context.WithTimeout(ctx, readLimit)
		defer cancel()
		return a.stateOf(ctx, scope, r.Thread, step)
	})}
	overdue := false
	w.stream = stream{ctx: a.streaming.ctx, feed: feed, project: projectOne(w.projector, spot{}), check: func(ctx context.Context) (*frame, bool) {
		if live, err := a.streams.Live(ctx, scope); err == nil && !live {
			f := errorFrame("unauthenticated", "The key or session that opened this stream is no longer valid.")
			return &f, true
		}
		now, err := a.threads.Run(ctx, scope, r.Thread, r.ID)
		switch {
		case fault.Is(err, fault.KindNotFound):
			f := errorFrame("rolled_back", "The run is gone: newer input rolled it back, or its thread was deleted.")
			return &f, true
		case err != nil || !now.Status.Ended() && now.Status != agents.RunWaiting:
			overdue = false
			return nil, false
		case !overdue:
			overdue = true // its last envelope may be on its way
			return nil, false
		default:
			f := lastOf(now)
			return &f, true
		}
	}}
	return w
}

// lastOf is the last frame of a run that is over.
func lastOf(r agents.Run) frame {
	if r.Error != nil && (r.Status == agents.RunFailed || r.Status == agents.RunTimeout) {
		return errorFrame(r.Error.Code, r.Error.Message)
	}
	return endFrame()
}

// cancelling gives what happens when the client of a stream hangs up that asked
// for it.
func (a *API) cancelling(scope auth.Scope, r agents.Run) func() {
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), readLimit)
		defer cancel()
		if _, err := a.runs.Cancel(ctx, scope, r.Thread, r.ID, "caller disconnected"); err != nil {
			a.log.WarnContext(ctx, "run of a caller that hung up could not be cancelled", "run_id", r.ID, "err", err)
		}
	}
}

// send answers with a stream; opens says whether it begins with the run's
// metadata, location is where the run is found.
func (a *API) send(c *fiber.Ctx, r agents.Run, w *watched, opens bool, location string) error {
	if opens {
		f := metadataFrame(r)
		w.opening = &f
	}
	c.Set(fiber.HeaderContentType, "text/event-stream")
	c.Set(fiber.HeaderCacheControl, "no-cache, no-transform")
	c.Set("X-Accel-Buffering", "no")
	c.Set(fiber.HeaderLocation, location+"/stream")
	c.Context().Response.SetBodyStream(&w.stream, -1)
	return nil
}

// ThreadStream is GET /threads/:thread/stream: what happens in all runs of a
// thread. It stays open between them.
func (a *API) ThreadStream(c *fiber.Ctx) error {
	if err := a.staying(); err != nil {
		return err
	}
	scope := middleware.Scope(c)
	thread, err := a.threads.Thread(c.UserContext(), scope, threadParam(c))
	if err != nil {
		return err
	}
	if err := a.threads.Opened(c.UserContext(), scope, thread, time.Now().UTC()); err != nil {
		return err
	}
	ways, err := threadModes(c)
	if err != nil {
		return err
	}
	last := utils.CopyString(c.Get("Last-Event-ID"))
	from, known := parseSpot(last)
	var feed Feed
	switch {
	case last == "":
		feed, err = a.streams.Follow(c.UserContext(), scope.Org, thread.ID)
	case last == "-1":
		feed, err = a.streams.FollowFrom(c.UserContext(), scope.Org, thread.ID, 0)
	case known:
		feed, err = a.streams.FollowFrom(c.UserContext(), scope.Org, thread.ID, max(0, from.seq-1))
	default:
		return fault.Invalid("Last-Event-ID", "must be the id of a frame of this server, or -1")
	}
	if err != nil {
		return err
	}
	if !known {
		from = spot{seq: feed.At()}
	}
	all := newThreadProjector(a, scope, thread.ID, ways)
	s := &stream{ctx: a.streaming.ctx, feed: feed, from: from, project: all.project, cut: all.cut, check: func(ctx context.Context) (*frame, bool) {
		live, err := a.streams.Live(ctx, scope)
		if err == nil && live {
			_, err = a.threads.Thread(ctx, scope, thread.ID)
			return nil, fault.Is(err, fault.KindNotFound)
		}
		return nil, err == nil
	}}
	c.Set(fiber.HeaderContentType, "text/event-stream")
	c.Set(fiber.HeaderCacheControl, "no-cache, no-transform")
	c.Set("X-Accel-Buffering", "no")
	c.Set(fiber.HeaderLocation, "/threads/"+string(thread.ID)+"/stream")
	c.Context().Response.SetBodyStream(s, -1)
	return nil
}
