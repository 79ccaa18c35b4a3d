package prebuilt

import (
	"context"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// caller is a model that asks for one call of every tool it is offered, then
// answers with how many it was offered; endless asks again and again.
type caller struct {
	endless bool
	system  *string
}

func (c caller) Stream(ctx context.Context, req model.Request) iter.Seq2[model.Chunk, error] {
	return func(yield func(model.Chunk, error) bool) {
		if c.system != nil {
			*c.system = req.System
		}
		last := req.Messages[len(req.Messages)-1]
		if last.Role == model.RoleUser || c.endless {
			for i, t := range req.Tools {
				for _, chunk := range []model.Chunk{model.ToolStart(i, t.Name+"-"+strings.Repeat("i", len(req.Messages)), t.Name), model.ToolArgs(i, "{}"), model.ToolEnd(i)} {
					if !yield(chunk, nil) {
						return
					}
				}
			}
		}
		if last.Role != model.RoleUser || len(req.Tools) == 0 {
			if !c.endless && !yield(model.TextChunk("done"), nil) {
				return
			}
		}
		if yield(model.UsageChunk(model.Usage{Input: 3, Output: 2}), nil) {
			yield(model.FinishChunk(model.FinishStop), nil)
		}
	}
}

// stuck answers never.
type stuck struct{}

func (stuck) Stream(ctx context.Context, _ model.Request) iter.Seq2[model.Chunk, error] {
	return func(yield func(model.Chunk, error) bool) {
		<-ctx.Done()
		yield(model.Chunk{}, ctx.Err())
	}
}

// bench is a workshop whose tools note that they ran.
func bench(t *testing.T, c caller) (*Workshop, *[]string) {
	t.Helper()
	ran := &[]string{}
	make := func(name string, effect tool.Effect, review tool.Review) tool.Tool {
		made, err := tool.New(tool.Spec{Name: name, Description: "d", Effect: effect, Review: review, Consequence: "It runs."},
			func(context.Context, tool.Invocation, struct{}) (tool.Result, error) {
				*ran = append(*ran, name)
				return tool.Text("ran "+name, ""), nil
			})
		require.NoError(t, err)
		return made
	}
	tools, err := tool.NewRegistry(make("look", tool.EffectRead, tool.ReviewNever), make("peek", tool.EffectRead, tool.ReviewAlways),
		make("remember", tool.EffectWrite, tool.ReviewNever), make("mail", tool.EffectOutbound, tool.ReviewAlways))
	require.NoError(t, err)
	models, err := model.NewRegistry(model.Entry{ID: "mock", Model: c, Tools: true}, model.Entry{ID: "stuck", Model: stuck{}})
	require.NoError(t, err)
	chat, err := Chat(ChatOptions{Models: models, Tools: tools, Call: tool.NewDispatcher(tools, tool.DispatcherOptions{}), Ledger: review.Blank{}})
	require.NoError(t, err)
	echo, err := graph.New("echo").Node("echo", echo).Edge(graph.Start, "echo").Edge("echo", graph.End).Compile()
	require.NoError(t, err)
	graphs, err := NewRegistry(chat, echo)
	require.NoError(t, err)
	return NewWorkshop(graphs, models, tools, slog.New(slog.DiscardHandler)), ran
}

var admin = auth.Scope{User: "u", Org: "o", Role: auth.RoleAdmin}

func draft(tools ...string) agents.Assistant {
	return agents.Assistant{Name: "Draft", Graph: ChatName, Config: agents.AssistantConfig{Tools: tools}}
}

func TestATrialRunsOnlyWhatLooks(t *testing.T) {
	w, ran := bench(t, caller{})
	d := draft("look", "peek", "remember", "mail")
	got, err := w.Try(t.Context(), admin, d, "hello")
	require.NoError(t, err)
	require.Equal(t, []string{"look"}, *ran)
	require.Equal(t, "done", got.Answer)
	require.Empty(t, got.Problem)
	require.Equal(t, agents.TokenUsage{Input: 6, Output: 4}, got.Usage)
	held := map[string]bool{}
	for _, s := range got.Steps {
		held[s.Tool] = s.Held
		require.JSONEq(t, `{}`, string(s.Args))
	}
	require.Equal(t, map[string]bool{"look": false, "peek": true, "remember": true, "mail": true}, held)
	require.Contains(t, got.Steps[3].Result, "would ask for a review")
	require.Contains(t, got.Steps[2].Result, "would have an effect")

	*ran = nil
	d.Config.Policies = []agents.ToolPolicy{{Tool: "look", Review: "when", When: []agents.Condition{{Path: "a", Op: "exists"}}},
		{Tool: "peek", Review: "never"}, {Tool: "remember", Review: "always", Roles: []auth.Role{auth.RoleOwner}}}
	got, err = w.Try(t.Context(), admin, d, "hello")
	require.NoError(t, err)
	require.Equal(t, []string{"peek"}, *ran, "the draft's policies count")
	require.Len(t, got.Steps, 3, "and what a role may not use is not offered")
	require.Contains(t, got.Steps[0].Result, "where its conditions hold")
}

func TestToolsAndMemoryCanBeSwitchedOff(t *testing.T) {
	off := new(bool)
	w, ran := bench(t, caller{})
	d := draft("look", "remember")
	d.Config.EnableMemory = off
	got, err := w.Try(t.Context(), admin, d, "hello")
	require.NoError(t, err)
	require.Len(t, got.Steps, 1)
	d.Config.EnableTools = off
	*ran = nil
	got, err = w.Try(t.Context(), admin, d, "hello")
	require.NoError(t, err)
	require.Empty(t, got.Steps)
	require.Empty(t, *ran)
}

func TestTheWordsOfADraftReachTheModel(t *testing.T) {
	var system string
	w, _ := bench(t, caller{system: &system})
	d := draft()
	d.Config.Prompt, d.Config.Personality = "Be brief.", "calm"
	_, err := w.Try(t.Context(), admin, d, "hello")
	require.NoError(t, err)
	require.Equal(t, "Be brief.\n\nYour personality: calm", system)
}

func TestATrialHasBounds(t *testing.T) {
	w, ran := bench(t, caller{endless: true})
	got, err := w.Try(t.Context(), admin, draft("look"), "hello")
	require.NoError(t, err)
	require.Equal(t, "The trial was stopped after 10 steps.", got.Problem)
	require.Len(t, *ran, 5)

	synctest.Test(t, func(t *testing.T) {
		w, _ := bench(t, caller{})
		d := draft()
		d.Config.Model = "stuck"
		got, err := w.Try(t.Context(), admin, d, "hello")
		require.NoError(t, err)
		require.Equal(t, "The trial took longer than 60 seconds and was stopped.", got.Problem)
		for range maxTrials {
			go func() { _, _ = w.Try(t.Context(), admin, d, "hello") }()
		}
		synctest.Wait()
		_, err = w.Try(t.Context(), admin, draft(), "hello")
		require.True(t, fault.Is(err, fault.KindLimited), "%v", err)
	})
}

func TestADraftThatBreaksARuleIsNotTried(t *testing.T) {
	w, _ := bench(t, caller{})
	d := draft("fly")
	d.Config.Model, d.Config.MaxTokens, d.Name = "gone", 99, ""
	_, err := w.Try(t.Context(), admin, d, " ")
	fields := fault.FieldsOf(err)
	require.Len(t, fields, 5)
	for _, name := range []string{"name", "model", "max_tokens", "tools", "try_message"} {
		require.Contains(t, fields, name)
	}
	d = draft()
	d.Graph = "echo"
	_, err = w.Try(t.Context(), admin, d, "x")
	require.Contains(t, fault.FieldsOf(err), "graph")
	require.NoError(t, w.Check(d))
	d.Graph = "nowhere"
	require.Contains(t, fault.FieldsOf(w.Check(d)), "graph")
	_, err = w.Try(t.Context(), auth.Scope{User: "u", Org: "o", Role: auth.RoleMember}, draft(), "x")
	require.True(t, fault.Is(err, fault.KindForbidden))
}
