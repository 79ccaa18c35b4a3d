// Package script is the mock model, id "mock": a chat model that needs no key
// and no network. It reads the last human text, finds the first rule of a
// script that matches, asks for that rule's tools when they are offered, and
// answers from their actual results.
//
// Invariants: the same request gives the same chunks; nothing is awaited but
// the pace; no goroutine is started. What it says stands in data files (see
// [Parse] for their grammar), never in code.
//
// The composition root, tests and benchmarks may import it.
package script

import (
	"context"
	"fmt"
	"iter"

	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/internal/clock"
)

// ID is the id under which the mock is registered.
const ID = "mock"

// Pace is the speed of a hosted model as people know it, in tokens a second.
const Pace = 45

// Options tune the mock. The zero value answers from the demo script at once.
type Options struct {
	// Script is what it follows; nil means [Demo].
	Script *Script
	// TokensPerSecond is the average pace; 0 means no delay at all. Single
	// tokens take between 0.5 and 1.5 times the average, by a sequence that
	// depends on the text alone.
	TokensPerSecond float64
	// Clock is what the pace waits for; nil means the machine's.
	Clock clock.Clock
}

// Model is the mock. Safe for concurrent use.
type Model struct {
	script *Script
	rate   float64
	clock  clock.Clock
}

// New makes a mock; a script of ours that does not parse is an error here, not
// in the middle of a thread.
func New(o Options) (*Model, error) {
	if o.TokensPerSecond < 0 || o.TokensPerSecond > 1e6 {
		return nil, fmt.Errorf("making the mock model: tokens per second must be 0 to 1000000, not %g", o.TokensPerSecond)
	}
	if o.Script == nil {
		demo, err := Demo()
		if err != nil {
			return nil, err
		}
		o.Script = demo
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	return &Model{script: o.Script, rate: o.TokensPerSecond, clock: o.Clock}, nil
}

// Stream implements [model.Model].
func (m *Model) Stream(ctx context.Context, req model.Request) iter.Seq2[model.Chunk, error] {
	return func(yield func(model.Chunk, error) bool) {
		if err := req.Check(); err != nil {
			yield(model.Chunk{}, err)
			return
		}
		turn := readTurn(req)
		reply, err := m.script.reply(turn)
		if err != nil {
			yield(model.Chunk{}, err)
			return
		}
		s := &sender{yield: yield, pace: newPace(m.rate, m.clock, turn.text)}
		s.send(ctx, req, reply)
	}
}

// sender passes a reply on, piece by piece.
type sender struct {
	yield func(model.Chunk, error) bool
	pace  *pace
	out   int
}

func (s *sender) send(ctx context.Context, req model.Request, r reply) {
	if !s.wait(ctx, s.pace.first()) {
		return
	}
	if r.fail != "" {
		s.yield(model.Chunk{}, &model.Error{Kind: r.fail, Provider: ID, Model: req.Model, Message: "the script says so"})
		return
	}
	finish := model.FinishStop
	for _, piece := range Pieces(r.text) {
		if s.full(req) {
			finish = model.FinishLength
			break
		}
		if !s.piece(ctx, model.TextChunk(piece)) {
			return
		}
	}
	if finish == model.FinishStop && len(r.calls) > 0 {
		finish = model.FinishTools
		for i, call := range r.calls {
			if !s.call(ctx, i, call) {
				return
			}
		}
	}
	used := model.Usage{Input: inputTokens(req), Output: s.out}
	if s.yield(model.UsageChunk(used), nil) {
		s.yield(model.FinishChunk(finish), nil)
	}
}

func (s *sender) full(req model.Request) bool {
	return req.Params.MaxTokens > 0 && s.out >= req.Params.MaxTokens
}

func (s *sender) call(ctx context.Context, i int, call model.ToolCall) bool {
	if !s.piece(ctx, model.ToolStart(i, call.ID, call.Name)) {
		return false
	}
	for _, piece := range Pieces(string(call.Args)) {
		if !s.piece(ctx, model.ToolArgs(i, piece)) {
			return false
		}
	}
	return s.yield(model.ToolEnd(i), nil)
}

// piece waits for its turn and passes one token on.
func (s *sender) piece(ctx context.Context, c model.Chunk) bool {
	if !s.wait(ctx, s.pace.next()) {
		return false
	}
	s.out++
	return s.yield(c, nil)
}
