// Package api speaks the Agent Server HTTP API, so that the official LangGraph
// SDK works against Heddle unchanged. Field names, statuses and leniency follow
// that contract: unknown fields are ignored, a failure is {"detail": "…"},
// foreign and absent are the same 404.
//
// handlers registers its routes; it declares the few things it needs of
// services and imports neither store nor realtime.
package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
)

// Threads reads, makes, changes and removes threads.
type Threads interface {
	ThreadShelf
	CreateThread(ctx context.Context, scope auth.Scope, n agents.NewThread) (agents.Thread, error)
	Thread(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.Thread, error)
	// Opened notes in the audit log that somebody reads a thread by the right to
	// read any.
	Opened(ctx context.Context, scope auth.Scope, thread agents.Thread, now time.Time) error
	State(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.State, error)
	// EndState is State for whoever has just been told of a run's end.
	EndState(ctx context.Context, scope auth.Scope, r agents.Run) (agents.State, error)
	Run(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) (agents.Run, error)
}

// Runs accepts, cancels and awaits runs.
type Runs interface {
	Submit(ctx context.Context, scope auth.Scope, r run.Request) (agents.Run, error)
	Cancel(ctx context.Context, scope auth.Scope, thread agents.ThreadID, id agents.RunID, reason string) (agents.Run, error)
	Wait(ctx context.Context, scope auth.Scope, thread agents.ThreadID, id agents.RunID) (agents.Run, error)
	// GoOn is Submit for what brings no new input.
	GoOn(ctx context.Context, scope auth.Scope, r run.Request, c run.Command) (agents.Run, error)
	// CurrentCheckpoint gives the older checkpoint that a client means, if it is one.
	CurrentCheckpoint(ctx context.Context, scope auth.Scope, thread agents.ThreadID, checkpoint string) (string, error)
	// Await begins to wait on a thread before a run is submitted.
	Await(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (*run.Waiting, error)
	// TakeBack cancels a run and removes what it brought and did.
	TakeBack(ctx context.Context, scope auth.Scope, thread agents.ThreadID, id agents.RunID) error
	// Discard removes the temporary thread of a run that is over.
	Discard(r agents.Run)
	UpdateState(ctx context.Context, scope auth.Scope, thread agents.ThreadID, c run.Change) (agents.Updated, error)
	Seedable(ctx context.Context, scope auth.Scope, metadata json.RawMessage, steps []run.Change) error
}

// Recorded is what there is to know of runs, and what may be removed of it.
type Recorded interface {
	Runs(ctx context.Context, scope auth.Scope, thread agents.ThreadID, q agents.RunQuery) ([]agents.Run, int, error)
	// RunAnywhere reads a run of any thread that the scope may read.
	RunAnywhere(ctx context.Context, scope auth.Scope, run agents.RunID) (agents.Run, error)
	DeleteRun(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) error
	RunsToCancel(ctx context.Context, scope auth.Scope, statuses []agents.RunStatus, limit int) ([]agents.RunKey, error)
}

// Parts are what the handlers work with.
type Parts struct {
	Threads Threads
	Runs    Runs
	Streams Streams
	// Assistants are kept by the one, made of what the other has.
	Assistants AssistantKeeper
	Workshop   AssistantWorkshop
	// Recorded lists and removes runs.
	Recorded Recorded
	// Items is the store; Webhooks tell of runs that ended.
	Items    Items
	Webhooks Webhooks
	// Version is the product's own.
	Version string
	Logger  *slog.Logger
}

// API holds the handlers.
type API struct {
	threads    Threads
	runs       Runs
	recorded   Recorded
	streams    Streams
	assistants AssistantKeeper
	workshop   AssistantWorkshop
	items      Items
	webhooks   Webhooks
	version    string
	log        *slog.Logger
	// streaming and waiting are the calls that stay open.
	streaming, waiting lasting
}

// New makes the handlers.
func New(p Parts) *API {
	return &API{
		threads: p.Threads, runs: p.Runs, recorded: p.Recorded,
		streams:    p.Streams,
		assistants: p.Assistants, workshop: p.Workshop,
		items: p.Items, webhooks: p.Webhooks,
		version: p.Version, log: p.Logger,
		streaming: newLasting(), waiting: newLasting(),
	}
}

// OK is GET /ok: the process answers.
func (a *API) OK(c *fiber.Ctx) error { return c.JSON(fiber.Map{"ok": true}) }

// Info is GET /info: what clients ask before they show themselves. It needs no
// key (agent-inbox calls it without).
func (a *API) Info(c *fiber.Ctx) error {
	return c.JSON(fiber.Map{
		"version": a.version, "context": "heddle",
		"flags": fiber.Map{"assistants": true, "crons": false, "langsmith": false},
		"host":  fiber.Map{"kind": "self-hosted", "project_id": nil, "revision_id": nil, "tenant_id": nil},
	})
}

// Fail answers a failure in the API's form. Broken fields are named in the
// sentence and again, for programs, under "fields".
func Fail(c *fiber.Ctx, err error) error {
	kind := fault.KindOf(err)
	body := fiber.Map{"detail": fault.Public(err)}
	if fields := fault.FieldsOf(err); len(fields) > 0 {
		body["fields"] = fields
	}
	middleware.RetryAfter(c, err)
	return c.Status(middleware.Status(kind)).JSON(body)
}

// decode reads a JSON body, whatever its content type claims (clients send
// text/plain to avoid a preflight). An empty body is an empty object.
func decode(c *fiber.Ctx, into any) error { return decodeBody(c.Body(), into) }

// decodeBody is decode for a body, or for a part of one.
func decodeBody(body []byte, into any) error {
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		if at, ok := err.(*json.UnmarshalTypeError); ok && at.Field != "" {
			return fault.Invalid(at.Field, "must be "+jsonName(at.Type.Kind().String())+", not "+at.Value)
		}
		return fault.Invalid("body", "must be a JSON object")
	}
	return nil
}

func jsonName(kind string) string {
	switch kind {
	case "string":
		return "a string"
	case "bool":
		return "true or false"
	case "slice", "array":
		return "a list"
	case "map", "struct":
		return "an object"
	default:
		return "a number"
	}
}

// opened is Threads.Opened for who knows a thread's id alone. Only those with
// the right to read any thread cost a look-up.
func (a *API) opened(ctx context.Context, scope auth.Scope, id agents.ThreadID) error {
	if !scope.Can(auth.PermReadAnyThread) {
		return nil
	}
	thread, err := a.threads.Thread(ctx, scope, id)
	if err != nil {
		return err
	}
	return a.threads.Opened(ctx, scope, thread, time.Now().UTC())
}

// param copies a route parameter: Fiber reuses the buffer it points into.
func param(c *fiber.Ctx, name string) string { return utils.CopyString(c.Params(name)) }

// clone copies text that Fiber's buffers hold, for what outlives the request.
func clone(s string) string { return utils.CopyString(s) }

func threadParam(c *fiber.Ctx) agents.ThreadID { return agents.ThreadID(param(c, "thread")) }
