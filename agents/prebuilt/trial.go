package prebuilt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// The bounds of a trial.
const (
	TrialTimeout = 60 * time.Second
	TrialSteps   = 10
	// trialSettle is how long a tool that does not heed its end is waited for.
	trialSettle = 2 * time.Second
)

// Trial is what a draft answered.
type Trial struct {
	// Steps are the tool calls in their order, Answer the last text.
	Steps  []TrialStep
	Answer string
	// Problem says, for people, why there is no whole answer; empty if there is.
	Problem string
	Usage   agents.TokenUsage
	Took    time.Duration
}

// TrialStep is one tool call of a trial.
type TrialStep struct {
	Tool   string
	Args   json.RawMessage
	Result string
	// Held says that the tool did not run, since a trial has no effects.
	Held   bool
	Failed bool
}

// Try lets an assistant that need not be saved answer one message. Nothing is
// stored: there is no thread and no run. Tools that change something, or whose
// calls a person may have to look at, do not run; the model is told so instead.
// A draft that can't be tried at all is a fault; what goes wrong on the way is
// told in [Trial.Problem].
func (w *Workshop) Try(ctx context.Context, scope auth.Scope, draft agents.Assistant, text string) (Trial, error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return Trial{}, err
	}
	var graph error
	if draft.Graph != ChatName {
		graph = fault.Invalid("graph", "must be "+ChatName+" for a trial: others need a thread")
	}
	if err := together(agents.ValidateText("try_message", text), w.Check(draft), graph); err != nil {
		return Trial{}, err
	}
	select {
	case w.trials <- struct{}{}:
		defer func() { <-w.trials }()
	default:
		return Trial{}, fault.Limited("Several drafts are being tried just now. Try again in a moment.").WithCause(errBusy)
	}
	ctx, cancel := context.WithTimeout(ctx, TrialTimeout)
	defer cancel()
	return w.try(ctx, scope, draft, text)
}

func (w *Workshop) try(ctx context.Context, scope auth.Scope, draft agents.Assistant, text string) (Trial, error) {
	tools, err := w.harmless(draft.Config)
	if err != nil {
		return Trial{}, err
	}
	call := tool.NewDispatcher(tools, tool.DispatcherOptions{Logger: w.logger})
	defer func() {
		settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), trialSettle)
		defer cancel()
		_ = call.Wait(settle) // a tool that heeds no end was waited for long enough
	}()
	g, err := Chat(ChatOptions{Models: w.models, Tools: tools, Call: call, Ledger: review.Blank{}})
	if err != nil {
		return Trial{}, fmt.Errorf("compiling the graph of a trial: %w", err)
	}
	// Reviews are answered by the tools themselves, see harmless; the policies'
	// roles still hold.
	draft.Config.Policies = withoutReviews(draft.Config.Policies)
	began := clock.System{}.Now()
	asked := agents.Message{ID: agents.MessageID(id.New()), Role: agents.RoleUser, Text: text, Author: string(scope.User), CreatedAt: began}
	kept := &keeper{state: graph.NewState([]agents.Message{asked}, nil)}
	_, err = g.Run(ctx, graph.Execution{
		Info:  graph.Info{Scope: scope, Thread: agents.ThreadID(id.New()), Run: agents.RunID(id.New()), Attempt: 1, Assistant: draft, Context: draft.ContextOf(nil)},
		State: kept.state, Host: kept, RecursionLimit: min(TrialSteps, draft.Config.Defaults().RecursionLimit),
	})
	out := trialOf(kept.state.Messages()[1:])
	out.Took = clock.System{}.Now().Sub(began)
	out.Problem = problemOf(ctx, err)
	if err != nil && fault.KindOf(err) == fault.KindInternal {
		w.logger.WarnContext(ctx, "a trial failed", "org_id", scope.Org, "assistant_id", draft.ID, "request_id", scope.RequestID, "err", err)
	}
	for i, s := range out.Steps {
		t, ok := tools.Get(s.Tool)
		held, _ := t.(held)
		out.Steps[i].Held = ok && held.note != "" && s.Result == held.note
	}
	return out, nil
}

// withoutReviews leaves of policies who may use a tool.
func withoutReviews(policies []agents.ToolPolicy) []agents.ToolPolicy {
	out := make([]agents.ToolPolicy, len(policies))
	for i, p := range policies {
		out[i] = agents.ToolPolicy{Tool: p.Tool, Review: agents.ReviewNever, Roles: p.Roles}
	}
	return out
}

// keeper is the host of a trial: it keeps the newest state in memory and tells
// nobody.
type keeper struct {
	graph.Ephemeral
	state graph.State
}

// Commit implements [graph.Host].
func (k *keeper) Commit(_ context.Context, c graph.Commit) error {
	k.state = c.State
	return nil
}

// harmless gives the tools as a trial may use them: those that only look, and in
// place of the others one that says what would have happened.
func (w *Workshop) harmless(c agents.AssistantConfig) (*tool.Registry, error) {
	all := make([]tool.Tool, 0, len(w.tools.Names()))
	for _, name := range w.tools.Names() {
		t, _ := w.tools.Get(name)
		spec := t.Spec()
		review := string(spec.Review)
		if p, ok := c.Policy(name); ok {
			review = p.Review
		}
		switch {
		case review != agents.ReviewNever:
			t = hold(t, "This is a trial: nothing was done. A call of "+name+" would ask for a review"+when(review)+".")
		case spec.Effect != tool.EffectRead:
			t = hold(t, "This is a trial: nothing was done. A call of "+name+" would have an effect.")
		}
		all = append(all, t)
	}
	r, err := tool.NewRegistry(all...)
	if err != nil {
		return nil, fmt.Errorf("making the tools of a trial: %w", err)
	}
	return r, nil
}

func when(review string) string {
	if review == agents.ReviewWhen {
		return " where its conditions hold"
	}
	return ""
}

// held is a tool that checks its arguments and does nothing.
type held struct {
	tool.Tool
	note string
}

func hold(t tool.Tool, note string) held { return held{Tool: t, note: note} }

// Spec implements [tool.Tool]: nobody is asked about what does nothing.
func (h held) Spec() tool.Spec {
	spec := h.Tool.Spec()
	spec.Review = tool.ReviewNever
	return spec
}

// Call implements [tool.Tool].
func (h held) Call(context.Context, tool.Invocation, json.RawMessage) (tool.Result, error) {
	return tool.Text(h.note, h.Spec().Title+" was not run"), nil
}

func trialOf(said []agents.Message) Trial {
	var out Trial
	at := map[string]int{}
	for _, m := range said {
		switch m.Role {
		case agents.RoleAssistant:
			if m.Text != "" {
				out.Answer = m.Text
			}
			if m.Usage != nil {
				out.Usage.Input += m.Usage.Input
				out.Usage.Output += m.Usage.Output
			}
			for _, c := range m.ToolCalls {
				at[c.ID] = len(out.Steps)
				out.Steps = append(out.Steps, TrialStep{Tool: c.Name, Args: c.Args})
			}
		case agents.RoleTool:
			if i, ok := at[m.ToolCallID]; ok {
				out.Steps[i].Result, out.Steps[i].Failed = m.Text, m.Status == agents.MessageFailed
			}
		default:
		}
	}
	return out
}

// problemOf says in words for people how a trial ended early.
func problemOf(ctx context.Context, err error) string {
	var steps *graph.RecursionError
	var failure *graph.Failure
	switch {
	case err == nil:
		return ""
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Sprintf("The trial took longer than %d seconds and was stopped.", int(TrialTimeout.Seconds()))
	case errors.As(err, &steps):
		return fmt.Sprintf("The trial was stopped after %d steps.", steps.Limit)
	case errors.As(err, &failure):
		return failure.Error()
	case fault.KindOf(err) != fault.KindInternal:
		return fault.Public(err)
	default:
		return "The assistant could not finish this answer."
	}
}
