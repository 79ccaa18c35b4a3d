package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// Decisions is what the service needs of the database around pauses.
type Decisions interface {
	Review(ctx context.Context, scope auth.Scope, id agents.ReviewID) (agents.Review, error)
	OpenReviews(ctx context.Context, scope auth.Scope, thread agents.ThreadID) ([]agents.Review, error)
	Decide(ctx context.Context, scope auth.Scope, d []agents.Decision, told func(agents.Review, agents.RunID) (event.Envelope, error)) (agents.Decided, error)
	ClaimReview(ctx context.Context, scope auth.Scope, id agents.ReviewID, force bool) (agents.Review, error)
	ReleaseReview(ctx context.Context, scope auth.Scope, id agents.ReviewID) error
	DueReviews(ctx context.Context, limit int) ([]agents.DueReview, error)
	ExpireReview(ctx context.Context, scope auth.Scope, id agents.ReviewID, told func(agents.Review, agents.RunID) (event.Envelope, error)) (agents.Decided, error)
	Resume(ctx context.Context, scope auth.Scope, thread agents.ThreadID, a agents.Answering) (agents.Resumed, error)
	UpdateState(ctx context.Context, scope auth.Scope, thread agents.ThreadID, u agents.StateUpdate) (agents.Updated, error)
	AssistantVersion(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, version int) (agents.Assistant, error)
	Thread(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.Thread, error)
	State(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.State, error)
	Outcomes
}

// decided builds the envelope that tells of a request's end.
func (s *Service) decided(r agents.Review, resumed agents.RunID) (event.Envelope, error) {
	return event.Envelope{
		Type: event.Custom, Time: s.clock.Now(), ThreadID: string(r.Thread), RunID: string(r.Run),
		Data: event.NewCustom(event.ReviewDecided, event.DecidedValue{
			ReviewID: string(r.ID), ToolCallID: r.CallID, Status: string(r.Status), By: string(r.DecidedBy), Text: r.Text,
			Args: r.FinalArgs, ResumedBy: string(resumed)}),
	}, nil
}

// leftBehind builds the envelope that tells of the end of a run that waited and
// that something else came in place of.
func (s *Service) leftBehind(r agents.Run) (event.Envelope, error) {
	return event.Envelope{
		Type: event.RunFinished, Time: s.clock.Now(), ThreadID: string(r.Thread), RunID: string(r.ID), Attempt: r.Attempt,
		Data: event.Data(event.RunFinishedData{
			ThreadID: string(r.Thread), RunID: string(r.ID), Outcome: event.OutcomeCancelled, Reason: r.CancelReason}),
	}, nil
}

// rolledBack tells that a run is over and that the messages must be read anew.
func (s *Service) rolledBack(r agents.Run) ([]event.Envelope, error) {
	ended, err := s.leftBehind(r)
	return []event.Envelope{ended, {Type: event.MessagesSnapshot, Time: s.clock.Now(), ThreadID: string(r.Thread),
		Data: event.Data(event.SnapshotData{Messages: []json.RawMessage{}})}}, err
}

// Decide takes a person's decisions on requests of one thread, all or none.
// Edited arguments are checked against the tool's schema first: a fault then
// names the fields below "args".
func (s *Service) Decide(ctx context.Context, scope auth.Scope, decisions []agents.Decision) (agents.Decided, error) {
	if len(decisions) == 0 {
		return agents.Decided{}, fault.Invalid("decision", "is required")
	}
	for i, d := range decisions {
		r, err := s.queue.Review(ctx, scope, d.Review)
		if err != nil {
			return agents.Decided{}, err
		}
		if i == 0 && r.Status == agents.ReviewOpen {
			if err := s.decidable(ctx, scope, r.Thread); err != nil {
				return agents.Decided{}, err
			}
		}
		if decisions[i], err = s.checked(r, d); err != nil {
			return agents.Decided{}, err
		}
	}
	done, err := s.queue.Decide(ctx, scope, decisions, s.decided)
	if err != nil {
		return agents.Decided{}, err
	}
	s.afterDecision(ctx, scope, done)
	return done, nil
}

// decidable checks that a decision on a thread can be carried out.
func (s *Service) decidable(ctx context.Context, scope auth.Scope, thread agents.ThreadID) error {
	state, err := s.queue.State(ctx, scope, thread)
	if err != nil {
		return err
	}
	return s.mayGoOn(ctx, scope, thread, state)
}

// checked judges what a decision brings. An edit that changes nothing is an
// approval.
func (s *Service) checked(r agents.Review, d agents.Decision) (agents.Decision, error) {
	d.Text = strings.TrimSpace(d.Text)
	if err := review.Check("decision", r, d); err != nil && r.Status == agents.ReviewOpen {
		return d, err
	}
	if d.Kind != agents.Edit {
		d.Args = nil
		return d, nil
	}
	t, ok := s.tools.Get(r.Tool)
	if !ok {
		return d, fault.Invalid("decision", "must not be an edit: the tool "+r.Tool+" is not on this server")
	}
	if err := t.Check(d.Args); err != nil {
		if fields := fault.FieldsOf(err); fields != nil {
			below := make(map[string]string, len(fields))
			for field, rule := range fields {
				below["args."+strings.TrimPrefix(field, "arguments")] = rule
			}
			return d, fault.InvalidFields(below).WithCause(err)
		}
		return d, err
	}
	args, err := json.Marshal(d.Args)
	if err != nil {
		return d, fault.Invalid("args", "must be valid JSON").WithCause(err)
	}
	d.Args = args
	return d, nil
}

func (s *Service) afterDecision(ctx context.Context, scope auth.Scope, done agents.Decided) {
	if len(done.Reviews) > 0 {
		scope.User = done.Reviews[0].Requester // whose list of threads looks different now
	}
	s.tellAll(ctx, scope, done.Thread, done.Appended, done.Events)
	if done.Resumed != "" {
		s.signals.Wake(ctx)
	}
}

// ClaimReview lets a reviewer hold a request, so that others see who works on it.
func (s *Service) ClaimReview(ctx context.Context, scope auth.Scope, id agents.ReviewID, force bool) (agents.Review, error) {
	r, err := s.queue.ClaimReview(ctx, scope, id, force)
	if err == nil {
		s.publish.ReviewsChanged(ctx, scope.Org)
	}
	return r, err
}

// ReleaseReview gives a request back to the queue.
func (s *Service) ReleaseReview(ctx context.Context, scope auth.Scope, id agents.ReviewID) error {
	err := s.queue.ReleaseReview(ctx, scope, id)
	if err == nil {
		s.publish.ReviewsChanged(ctx, scope.Org)
	}
	return err
}

// expireAtOnce bounds one round of [Service.ExpireDue].
const expireAtOnce = 50

// ExpireDue ends requests of any organisation whose time is over, and says how
// many. Several nodes may do so at once: each request ends once. One that can't
// be ended holds up no other; the error names all of them.
func (s *Service) ExpireDue(ctx context.Context) (int, error) {
	due, err := s.queue.DueReviews(ctx, expireAtOnce)
	if err != nil {
		return 0, err
	}
	ended := 0
	var failed []error
	for _, d := range due {
		scope := auth.Scope{User: d.Requester, Org: d.Org, Role: auth.RoleMember}
		done, err := s.queue.ExpireReview(ctx, scope, d.Review, s.decided)
		if err != nil {
			failed = append(failed, fmt.Errorf("ending review %s: %w", d.Review, err))
		}
		if len(done.Reviews) > 0 {
			ended++
			s.afterDecision(ctx, scope, done)
		}
	}
	return ended, errors.Join(failed...)
}

// Command is how a client goes on from a pause.
type Command struct {
	// Answer is the client's value, nil for none.
	Answer json.RawMessage
	// Goto and Sends replace the nodes that are due; "__end__" ends the thread's
	// turn.
	Goto  []string
	Sends []agents.Due
	// Input is what the run that goes on brings besides: changes of the state, where
	// it pauses next.
	Input    agents.RunInput
	Raw      json.RawMessage
	Metadata json.RawMessage
	Webhook  string
}

// Resume answers a thread's open interrupts. Answers to questions need the right
// to write to the thread; what is said to a review counts as decisions of the
// scope's person, under the same rules as on any other path. It returns the run
// that goes on or, while other requests are undecided, the one that waits.
// [agents.ErrNotInterrupted] says that nothing waits for an answer.
func (s *Service) Resume(ctx context.Context, scope auth.Scope, thread agents.ThreadID, c Command) (agents.Run, error) {
	state, err := s.queue.State(ctx, scope, thread)
	if err != nil {
		return agents.Run{}, err
	}
	if state.Head == nil || len(state.Head.Interrupts) == 0 {
		return agents.Run{}, agents.ErrNotInterrupted
	}
	matched, err := agents.Match(c.Answer, state.Head.Interrupts)
	if err != nil {
		return agents.Run{}, err
	}
	jumps := len(c.Goto)+len(c.Sends) > 0
	if err := s.fitsCommand(ctx, scope, thread, c); err != nil {
		return agents.Run{}, err
	}
	if !jumps {
		if err := s.mayGoOn(ctx, scope, thread, state); err != nil {
			return agents.Run{}, err
		}
	}
	var decisions []agents.Decision
	for _, i := range matched {
		if i.Kind != agents.ReviewAsked || i.Answer == nil {
			continue
		}
		requests, err := s.requestsOf(ctx, scope, thread, i.ID)
		if err != nil {
			return agents.Run{}, err
		}
		some, err := review.ParseAnswer(i.Answer, requests)
		if err != nil {
			return agents.Run{}, err
		}
		decisions = append(decisions, some...)
	}
	changes := len(c.Input.Messages)+len(c.Input.Values) > 0
	if len(decisions) > 0 && (jumps || changes || slices.ContainsFunc(matched, func(i agents.Interrupt) bool {
		return i.Kind != agents.ReviewAsked && i.Answer != nil
	})) {
		return agents.Run{}, fault.Invalid("command", "must not decide on a review together with anything else: send the answer to a question, goto or update on its own")
	}
	if len(decisions) > 0 {
		return s.decideAsRun(ctx, scope, thread, decisions)
	}
	if changes && !jumps && slices.ContainsFunc(matched, func(i agents.Interrupt) bool { return i.Kind == agents.ReviewAsked }) {
		return agents.Run{}, fault.Conflict("A decision is open, so the state can't be changed on the way: decide first, jump with command.goto, or use POST /threads/{id}/state.").
			WithCode("review_open")
	}
	run := agents.RunID(id.New())
	for i := range c.Input.Messages {
		c.Input.Messages[i].Run = run
	}
	resumed, err := s.queue.Resume(ctx, scope, thread, agents.Answering{
		Run: run, Pauses: matched, Goto: c.Goto, Sends: c.Sends, Input: c.Input, Request: c.Raw, Metadata: c.Metadata, Webhook: c.Webhook, Withdrawn: s.decided})
	if err != nil {
		return agents.Run{}, err
	}
	s.tellAll(ctx, scope, thread, resumed.ToldAt, resumed.Told)
	s.signals.Wake(ctx)
	return resumed.Run, nil
}

// requestsOf lists the open requests of one pause, in the order of their calls.
func (s *Service) requestsOf(ctx context.Context, scope auth.Scope, thread agents.ThreadID, interrupt string) ([]agents.Review, error) {
	open, err := s.queue.OpenReviews(ctx, scope, thread)
	if err != nil {
		return nil, err
	}
	var out []agents.Review
	for _, r := range open {
		if r.Interrupt == interrupt {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		return nil, agents.ErrNotInterrupted
	}
	return out, nil
}

func (s *Service) decideAsRun(ctx context.Context, scope auth.Scope, thread agents.ThreadID, decisions []agents.Decision) (agents.Run, error) {
	done, err := s.Decide(ctx, scope, decisions)
	if err != nil {
		return agents.Run{}, err
	}
	run := done.Resumed
	if run == "" {
		run = done.Reviews[0].Run
	}
	return s.queue.Run(ctx, scope, thread, run)
}
