package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heddle/heddle/internal/fault"
)

// The dispatcher's bounds when its options leave them out.
const (
	// DefaultTimeout of one call (requirement LG-22).
	DefaultTimeout = 30 * time.Second
	// DefaultMaxOutput of Content and, separately, of Data, in bytes: about
	// 8,000 tokens.
	DefaultMaxOutput = 32 << 10
	// DefaultMaxStuck is how many calls may be running past their end.
	DefaultMaxStuck = 32
)

// DispatcherOptions tune a [Dispatcher]; zero values mean the defaults above.
type DispatcherOptions struct {
	Timeout   time.Duration
	MaxOutput int
	MaxStuck  int
	Logger    *slog.Logger
}

// Dispatcher is the one way by which calls of a model reach tools. Safe for
// concurrent use.
type Dispatcher struct {
	registry *Registry
	options  DispatcherOptions

	mu      sync.Mutex
	running int
	stuck   int           // of those running, the ones left behind
	idle    chan struct{} // closed while nothing runs
}

// NewDispatcher makes a dispatcher over registry.
func NewDispatcher(registry *Registry, o DispatcherOptions) *Dispatcher {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxOutput <= 0 {
		o.MaxOutput = DefaultMaxOutput
	}
	if o.MaxStuck <= 0 {
		o.MaxStuck = DefaultMaxStuck
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	idle := make(chan struct{})
	close(idle)
	return &Dispatcher{registry: registry, options: o, idle: idle}
}

// PanicError is a tool that panicked. The run that called it ends as an error.
type PanicError struct {
	Tool  string
	Value any
	Stack []byte
}

// Error names the tool and the value; the stack is for logs.
func (e *PanicError) Error() string { return fmt.Sprintf("tool %s panicked: %v", e.Tool, e.Value) }

// Limits narrow the calls of one run.
type Limits struct {
	// Allowed are the names this run may call, whatever the model was shown.
	Allowed []string
	// Timeout overrides the dispatcher's; a tool's own, if shorter, wins. 0
	// leaves the dispatcher's.
	Timeout time.Duration
}

// Call runs one tool. What a model can mend or should know (an unknown or
// forbidden tool, bad arguments, a failure, a timeout) is a failed result, not
// an error. An error means that the run cannot go on: ctx ended, or the tool
// panicked ([*PanicError]).
//
// A tool that does not return when its time is over is left behind and Call
// returns; [Dispatcher.Wait] waits for it and nobody sees its result. While too many are left behind, new
// calls fail.
func (d *Dispatcher) Call(ctx context.Context, limits Limits, inv Invocation, name string, args json.RawMessage) (Result, error) {
	t, known := d.registry.Get(name)
	if !known || !slices.Contains(limits.Allowed, name) {
		// One text for both: a model learns nothing of tools it may not use.
		return d.noSuchTool(limits, name), nil
	}
	if err := t.Check(args); err != nil {
		return d.failed(ctx, inv, t.Spec(), err), nil
	}
	if !d.room() {
		return Refusal("The tool "+name+" is not available right now: too many earlier calls have not returned.", t.Spec().Title+" was not available"), nil
	}
	spec := t.Spec()
	limit := d.timeout(spec, limits)
	callCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	result, err := d.await(callCtx, t, inv, args)
	switch {
	case err == nil:
		// Even when the run has just ended: what was done is to be written down.
		return d.cut(result), nil
	case ctx.Err() != nil:
		return Result{}, fmt.Errorf("calling tool %s: %w", name, ctx.Err())
	case errors.As(err, new(*PanicError)):
		return Result{}, err
	case callCtx.Err() != nil:
		return timedOut(spec, limit), nil
	default:
		return d.failed(ctx, inv, spec, err), nil
	}
}

// Wait waits until no call runs any more, or ctx ends. Whoever made the
// dispatcher calls it before the process ends, when no new calls come.
func (d *Dispatcher) Wait(ctx context.Context) error {
	d.mu.Lock()
	idle := d.idle
	d.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for tools that do not return: %w", ctx.Err())
	}
}

// call is one execution; its fields are guarded by the dispatcher's mutex.
type call struct {
	ended, left bool
}

type outcome struct {
	result Result
	err    error
}

func (d *Dispatcher) await(ctx context.Context, t Tool, inv Invocation, args json.RawMessage) (Result, error) {
	back := make(chan outcome, 1)
	c := d.begin()
	go func() {
		back <- d.guard(ctx, t, inv, args)
		d.end(c)
	}()
	select {
	case out := <-back:
		return out.result, out.err
	case <-ctx.Done():
	}
	// A tool that heeds its context returns now or in a moment; one that does
	// not is left behind.
	d.leave(c)
	select {
	case out := <-back:
		return out.result, out.err
	default:
		return Result{}, ctx.Err()
	}
}

func (d *Dispatcher) begin() *call {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running == 0 {
		d.idle = make(chan struct{})
	}
	d.running++
	return &call{}
}

func (d *Dispatcher) end(c *call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.ended = true
	if c.left {
		d.stuck--
	}
	if d.running--; d.running == 0 {
		close(d.idle)
	}
}

func (d *Dispatcher) leave(c *call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !c.ended {
		c.left = true
		d.stuck++
	}
}

func (d *Dispatcher) room() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stuck < d.options.MaxStuck
}

func (d *Dispatcher) guard(ctx context.Context, t Tool, inv Invocation, args json.RawMessage) (out outcome) {
	defer func() {
		if v := recover(); v != nil {
			e := &PanicError{Tool: t.Spec().Name, Value: v, Stack: debug.Stack()}
			d.log(ctx, inv, "a tool panicked", e, "stack", string(e.Stack))
			out = outcome{err: e}
		}
	}()
	result, err := t.Call(ctx, inv, args)
	return outcome{result, err}
}

func (d *Dispatcher) timeout(spec Spec, limits Limits) time.Duration {
	limit := d.options.Timeout
	if limits.Timeout > 0 {
		limit = limits.Timeout
	}
	if spec.Timeout > 0 {
		limit = min(limit, spec.Timeout)
	}
	return limit
}

func (d *Dispatcher) noSuchTool(limits Limits, name string) Result {
	var offered []string
	for _, spec := range d.registry.Specs(limits.Allowed) {
		offered = append(offered, spec.Name)
	}
	list := strings.Join(offered, ", ")
	if list == "" {
		list = "none"
	}
	return Refusal(fmt.Sprintf("There is no tool %q here. Available: %s.", clip(name, 64), list), "No such tool")
}

// failed turns an error into what the model may read of it.
func (d *Dispatcher) failed(ctx context.Context, inv Invocation, spec Spec, err error) Result {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind != fault.KindInternal {
		return d.cut(Refusal(f.Public, spec.Title+" failed"))
	}
	d.log(ctx, inv, "a tool failed", err)
	return Refusal("The tool "+spec.Name+" failed. It is not the arguments; do not call it again for this.", spec.Title+" failed")
}

func timedOut(spec Spec, limit time.Duration) Result {
	r := Refusal(fmt.Sprintf("The tool %s did not answer within %s.", spec.Name, limit), spec.Title+" took too long")
	if spec.Effect != EffectRead && !spec.Idempotent {
		r.Unknown = true
		r.Content += " Whether it took effect is unknown."
	}
	return r
}

func (d *Dispatcher) log(ctx context.Context, inv Invocation, text string, err error, more ...any) {
	keys := []any{
		"org_id", string(inv.Scope.Org), "user_id", string(inv.Scope.User),
		"thread_id", inv.ThreadID, "run_id", inv.RunID, "request_id", inv.Scope.RequestID, "err", err,
	}
	d.options.Logger.ErrorContext(ctx, text, append(keys, more...)...)
}
