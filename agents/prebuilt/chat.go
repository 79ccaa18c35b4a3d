package prebuilt

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/tool"
)

// ChatName is the name of the default agent's graph.
const ChatName = "chat"

// ChatOptions are what the chat graph works with.
type ChatOptions struct {
	Models *model.Registry
	Tools  *tool.Registry
	Call   *tool.Dispatcher
}

// The nodes of the chat graph.
const (
	nodeAgent = "agent"
	nodeTools = "tools"
)

// Chat compiles the default agent: the model answers or asks for tools, the
// tools run side by side, and the model reads their results, until it answers.
func Chat(o ChatOptions) (*graph.Graph, error) {
	c := chat{o}
	return graph.New(ChatName).
		Node(nodeAgent, c.agent).
		Node(nodeTools, c.tools).
		Edge(graph.Start, nodeAgent).
		Branch(nodeAgent, afterAgent, nodeTools, graph.End).
		Edge(nodeTools, nodeAgent).
		Compile()
}

func afterAgent(s graph.State) []string {
	if last, ok := s.Last(); ok && last.Role == agents.RoleAssistant && len(last.ToolCalls) > 0 {
		return []string{nodeTools}
	}
	return []string{graph.End}
}

type chat struct{ o ChatOptions }

func (c chat) agent(ctx context.Context, t *graph.Task) (graph.Command, error) {
	cfg := t.Assistant.Config.Defaults()
	entry, err := c.o.Models.Get(cfg.Model)
	if err != nil {
		return graph.Command{}, graph.Fail("The model " + cfg.Model + " of this assistant is not configured on this server.")
	}
	request := model.Request{
		Model: entry.ID, System: cfg.System(), Messages: toModel(t.State.Messages()),
		Params: model.Params{Temperature: cfg.Temperature, MaxTokens: cfg.MaxTokens},
	}
	for _, spec := range c.o.Tools.Specs(cfg.Usable(t.Scope.Role)) {
		request.Tools = append(request.Tools, model.ToolSpec{Name: spec.Name, Description: spec.Description, Schema: spec.Schema})
	}
	w := newWriter(t)
	calls := &callWriter{t: t, parent: w}
	answer, err := model.Collect(entry.Model.Stream(ctx, request), func(chunk model.Chunk) error {
		if chunk.Kind == model.ChunkText {
			w.write(chunk.Text)
		}
		calls.write(chunk)
		return nil
	})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return graph.Command{}, cause
		}
		return graph.Command{}, fmt.Errorf("asking model %s: %w", entry.ID, err)
	}
	m := w.end()
	m.Model = entry.ID
	m.Usage = &agents.TokenUsage{Input: answer.Usage.Input, Output: answer.Usage.Output}
	for _, call := range answer.Message.ToolCalls {
		args := call.Args
		if !json.Valid(args) {
			// The gate refuses it by the schema; stored state must be JSON.
			args = event.Data(string(args))
		}
		m.ToolCalls = append(m.ToolCalls, agents.ToolCall{ID: call.ID, Name: call.Name, Args: args})
	}
	t.EmitCustom(event.Usage, event.UsageValue{
		MessageID: string(m.ID), Model: entry.ID, Input: answer.Usage.Input, Output: answer.Usage.Output, DurationMS: m.DurationMS})
	if m.Text == "" && len(m.ToolCalls) == 0 {
		return graph.Command{}, graph.Fail("The model gave an empty answer.")
	}
	return graph.Command{Update: []graph.Write{graph.AddMessage(m)}}, nil
}

// callWriter tells watchers of tool calls while the model writes them.
type callWriter struct {
	t      *graph.Task
	parent *writer
	ids    []string
}

func (w *callWriter) write(c model.Chunk) {
	switch c.Kind {
	case model.ChunkToolStart:
		w.ids = append(w.ids, c.ID)
		w.parent.heard()
		w.t.Emit(event.ToolCallStart, event.ToolStartData{ToolCallID: c.ID, ToolCallName: c.Name, ParentMessageID: string(w.parent.id)})
	case model.ChunkToolArgs:
		w.t.Emit(event.ToolCallArgs, event.ToolArgsData{ToolCallID: w.ids[c.Index], Delta: c.Text})
	case model.ChunkToolEnd:
		w.t.Emit(event.ToolCallEnd, event.ToolEndData{ToolCallID: w.ids[c.Index]})
	default:
	}
}

// toModel gives the thread in the model's terms; system messages that clients
// put into a thread are read as the person's words, not as the operator's.
func toModel(messages []agents.Message) []model.Message {
	out := make([]model.Message, 0, len(messages))
	for _, m := range messages {
		switch m.Role {
		case agents.RoleAssistant:
			am := model.AssistantText(m.Text)
			if m.Text == "" {
				am.Content = nil
			}
			am.ID = string(m.ID)
			for _, c := range m.ToolCalls {
				am.ToolCalls = append(am.ToolCalls, model.ToolCall{ID: c.ID, Name: c.Name, Args: c.Args})
			}
			if !am.Empty() {
				out = append(out, am)
			}
		case agents.RoleTool:
			out = append(out, model.ToolResult(model.ToolCall{ID: m.ToolCallID, Name: m.Name}, m.Text, m.Status == agents.MessageFailed))
		default:
			um := model.UserText(m.Text)
			um.ID = string(m.ID)
			out = append(out, um)
		}
	}
	return out
}

// tools runs every call of the model's last message side by side and adds the
// results in the order of the calls.
func (c chat) tools(ctx context.Context, t *graph.Task) (graph.Command, error) {
	last, ok := t.State.Last()
	if !ok {
		return graph.Command{}, nil
	}
	cfg := t.Assistant.Config.Defaults()
	limits := tool.Limits{Allowed: cfg.Usable(t.Scope.Role), Timeout: time.Duration(cfg.ToolTimeoutSeconds) * time.Second}
	results := make([]agents.Message, len(last.ToolCalls))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, call := range last.ToolCalls {
		group.Go(func() error {
			m, err := c.call(groupCtx, t, limits, call)
			results[i] = m
			return err
		})
	}
	if err := group.Wait(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return graph.Command{}, cause
		}
		return graph.Command{}, err
	}
	return graph.Command{Update: graph.AddMessages(results...)}, nil
}

func (c chat) call(ctx context.Context, t *graph.Task, limits tool.Limits, call agents.ToolCall) (agents.Message, error) {
	began := t.Clock.Now()
	result, err := c.o.Call.Call(ctx, limits, tool.Invocation{
		Scope: t.Scope, AssistantID: string(t.Assistant.ID), ThreadID: string(t.Thread), RunID: string(t.Run), Node: t.Node,
		Step: t.Step, Attempt: t.Attempt, CallID: call.ID, IdempotencyKey: string(t.Thread) + ":" + call.ID, Clock: t.Clock,
	}, call.Name, call.Args)
	if err != nil {
		return agents.Message{}, err
	}
	now := t.Clock.Now()
	m := agents.Message{
		ID: agents.MessageID(t.NewID()), Role: agents.RoleTool, Name: call.Name, ToolCallID: call.ID, Text: result.Content,
		Summary: result.Title, Data: result.Data, Run: t.Run, DurationMS: now.Sub(began).Milliseconds(), CreatedAt: now,
	}
	if result.Failed {
		m.Status = agents.MessageFailed
	}
	t.Emit(event.ToolCallResult, event.ToolResultData{
		MessageID: string(m.ID), ToolCallID: call.ID, Name: call.Name, Content: m.Text, Role: string(agents.RoleTool),
		Summary: m.Summary, Failed: result.Failed, Data: m.Data, DurationMS: m.DurationMS,
	})
	return m, nil
}
